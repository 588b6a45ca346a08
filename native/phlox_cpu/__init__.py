"""Fast kernels for JAX on x86-64 processors: oneDNN, called by XLA through its foreign-function interface.

Phlox finds this package by itself; there is nothing to call here but :func:`load`.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

__all__ = ["INTERFACE", "load", "targets"]

INTERFACE = 7  # of the targets, their attributes and the functions beside them; Phlox asks for the one it knows

_TARGETS = (
    "phlox_cpu_conv",
    "phlox_cpu_conv_bias",
    "phlox_cpu_conv_act",
    "phlox_cpu_conv_residual",
    "phlox_cpu_packed_map",
    "phlox_cpu_conv_input_gradient",
    "phlox_cpu_conv_weight_gradient",
    "phlox_cpu_batch_norm",
    "phlox_cpu_batch_norm_backward",
    "phlox_cpu_layer_norm",
    "phlox_cpu_layer_norm_backward",
    "phlox_cpu_max_pool",
    "phlox_cpu_max_pool_backward",
    "phlox_cpu_attention",
    "phlox_cpu_attention_half",
    "phlox_cpu_attention_backward",
    "phlox_cpu_slots",
    "phlox_cpu_lstm",
    "phlox_cpu_lstm_gradient",
    "phlox_cpu_gru",
    "phlox_cpu_gru_gradient",
    "phlox_cpu_adam",
    "phlox_cpu_product",
    "phlox_cpu_sums",
    "phlox_cpu_gelu",
    "phlox_cpu_gelu_backward",
    "phlox_cpu_integer_product",
    "phlox_cpu_integer_weights",
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
    # In a scope of its own: another package's OpenMP or oneDNN in the process (PyTorch brings both) is left alone, and
    # oneDNN finds the functions of OpenMP that it calls in this library, before libgomp's.
    mode = os.RTLD_NOW | os.RTLD_LOCAL | (0 if "PHLOX_CPU_SHARED_SCOPE" in os.environ else os.RTLD_DEEPBIND)
    library = ctypes.CDLL(str(Path(__file__).with_name("libphlox_cpu.so")), mode)
    for name in ("phlox_cpu_onednn_version", "phlox_cpu_instructions"):
        getattr(library, name).restype = ctypes.c_char_p
    return library
