"""Arrays that JAX's CPU takes as they lie, where it would copy others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_BYTES = 64  # what XLA's buffers begin at a multiple of


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An array of any values, at a multiple of 64 bytes; of Python objects wherever it may lie."""
    if dtype.hasobject:
        return np.empty(shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + _BYTES, np.uint8)
    start = -room.ctypes.data % _BYTES
    return room[start : start + size].view(dtype).reshape(shape)
