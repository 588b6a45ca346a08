"""Until the readers are merged."""

# ruff: noqa
# pyright: basic
from contextlib import contextmanager
from safetensors.numpy import load_file
import os
from typing import Any


class A(dict):
    def shape(self, n: Any):
        return self[n].shape

    def dtype(self, n: Any):
        return self[n].dtype


@contextmanager
def read(folder: Any):
    yield A(load_file(os.path.join(folder, "model.safetensors")))
