"""Memory for a copy: pages of its own, filled as they come.

Of new memory the system gives a page when it is first touched, one interruption each. Asked for a block at a time, just
before that is written, the pages come together, in as many threads as ask, and lie in the cache still. NumPy would ask
for huge pages, which a busy machine takes seconds to clear.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from phlox.core import aligned

_LARGE = 2**20  # bytes
_BLOCK = 2**20  # bytes: what the second cache of a core holds
_POPULATE_WRITE = 23  # Linux's MADV_POPULATE_WRITE; a system without it says so, and gives pages one by one


def own_copy(array: np.ndarray) -> np.ndarray:
    """A contiguous array's numbers in memory that nothing else has, which JAX takes as it lies."""
    if array.nbytes < _LARGE or not hasattr(mmap, "MAP_PRIVATE"):
        own = aligned(array.shape, array.dtype)
        np.copyto(own, array)
        return own
    pages = mmap.mmap(-1, array.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    words, source = np.frombuffer(pages, np.uint8), array.reshape(-1).view(np.uint8)
    for start in range(0, array.nbytes, _BLOCK):
        block = words[start : start + _BLOCK]
        _populate(block.ctypes.data, block.nbytes)
        np.copyto(block, source[start : start + _BLOCK])
    return words.view(array.dtype).reshape(array.shape)


def _madvise() -> Callable[[int, int, int], Any]:
    """The system's advice about memory, which other threads need not wait for as they do for ``mmap.madvise``."""
    if not sys.platform.startswith("linux"):
        return lambda start, size, advice: None
    call = ctypes.CDLL(None).madvise
    call.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return call


_ADVISE = _madvise()


def _populate(start: int, size: int) -> None:
    """Have pages from an address at which one begins."""
    _ADVISE(start, math.ceil(size / mmap.PAGESIZE) * mmap.PAGESIZE, _POPULATE_WRITE)
