"""Other frameworks, imported where a test wants them: a peer that is not installed is skipped, and counted."""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import os
import shutil
import tempfile
import warnings
from typing import Any

import pytest

from kit import oracle


def peer(module: str) -> Any:
    """A module of a peer; PyTorch is the tests' oracle and must be there in CI."""
    root = module.partition(".")[0]
    if root == "torch":
        oracle("torch")
    elif importlib.util.find_spec(root) is None:
        pytest.skip(f"{root} is not installed")
    return _imported(module)


@functools.cache
def _imported(module: str) -> Any:
    if module.startswith("keras"):
        os.environ["KERAS_BACKEND"] = "jax"
        if "KERAS_HOME" not in os.environ:  # it writes its settings there
            os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-")
            atexit.register(shutil.rmtree, os.environ["KERAS_HOME"], ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they deprecate among themselves is not ours
        return importlib.import_module(module)
