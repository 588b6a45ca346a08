"""Freed memory that stays with the process, so that a compiled step does not pay for its buffers anew."""

from __future__ import annotations

import ctypes
import platform

# Options of mallopt, from glibc's malloc.h.
_ARENAS, _MAPPINGS, _TRIM, _TOP_PAD = -8, -4, -1, -2
_NEVER, _STRIDE = 2**31 - 1, 64 * 2**20


def keep_freed_memory() -> bool:
    """Let memory that is freed stay with the process, for the next step, on Linux with the GNU C library.

    By default every large buffer of a step on a CPU is memory that the system maps and clears page by page, and takes
    back after the step: a third to a half of a step's time where it holds many activations. With this, a process keeps
    what it once held (its peak stays the same), and all its threads allocate from one heap.

    Call it before the first computation: threads that JAX has started keep heaps of their own. It holds for the whole
    process, also for NumPy and PyTorch, and cannot be undone.

    Returns:
        Whether it took effect; False on other systems and other C libraries.

    >>> import phlox as px
    >>> px.keep_freed_memory() in (True, False)
    True

    Source: mallopt(3) of the Linux manual.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = {_ARENAS: 1, _MAPPINGS: 0, _TRIM: _NEVER, _TOP_PAD: _STRIDE}
    return all(mallopt(option, value) == 1 for option, value in options.items())
