"""Fast kernels for JAX on x86-64 processors: oneDNN, called by XLA through its foreign-function interface.

Phlox finds this package by itself; there is nothing to call here but :func:`load`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["INTERFACE", "load", "targets"]

INTERFACE = 3  # of the targets, their attributes and the functions beside them; Phlox asks for the one it knows

_TARGETS = (
    "phlox_cpu_conv",
    "phlox_cpu_conv_bias",
    "phlox_cpu_conv_input_gradient",
    "phlox_cpu_conv_weight_gradient",
    "phlox_cpu_batch_norm",
    "phlox_cpu_batch_norm_backward",
    "phlox_cpu_max_pool",
    "phlox_cpu_max_pool_backward",
    "phlox_cpu_attention",
    "phlox_cpu_attention_backward",
    "phlox_cpu_lstm",
    "phlox_cpu_lstm_gradient",
    "phlox_cpu_gru",
    "phlox_cpu_gru_gradient",
    "phlox_cpu_adam",
)


def targets() -> dict[str, Any]:
    """The functions of the library that XLA may call, by name.

    Raises:
        OSError: as :func:`load`.
    """
    return {name: getattr(load(), name) for name in _TARGETS}


@functools.cache
def load() -> ctypes.CDLL:
    """The library of kernels, with oneDNN below it; loaded once.

    Raises:
        OSError: a part is missing, and the message names it (most often libgomp, GCC's OpenMP: apt install libgomp1).
    """
    with _sleeping_threads():
        # In their own scope: another package's OpenMP or oneDNN in the process (PyTorch brings both) is left alone.
        mode = os.RTLD_NOW | os.RTLD_LOCAL | (0 if "PHLOX_CPU_SHARED_SCOPE" in os.environ else os.RTLD_DEEPBIND)
        ctypes.CDLL(str(_onednn()), mode)
        library = ctypes.CDLL(str(Path(__file__).with_name("libphlox_cpu.so")), mode)
        library.phlox_cpu_threads()
    for name in ("phlox_cpu_onednn_version", "phlox_cpu_instructions"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def _onednn() -> Path:
    for file in importlib.metadata.files("onednn-cpu-gomp") or ():
        if file.name == "libdnnl.so.3":
            return Path(str(file.locate())).resolve()
    raise OSError("libdnnl.so.3 of the package onednn-cpu-gomp is missing: pip install --force-reinstall phlox-cpu")


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    """OpenMP reads its settings once, when it is loaded: its idle threads sleep instead of spinning beside XLA's."""
    before = {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    if not any(before.values()):
        os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
