"""The cores of this machine, shared out to processes."""

from __future__ import annotations

import os
from collections.abc import Sequence

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Where libraries look for how many threads to start."""


def cores() -> list[int]:
    """The cores that this process may use; none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def share_of(all_cores: Sequence[int], number: int, processes: int) -> list[int]:
    """The cores of one process: each has as many, and no core is of two where there are enough.

    >>> share_of([0, 1, 2, 3, 4], 1, 2), share_of([0, 1], 3, 4)
    ([2, 3], [1])
    """
    if not all_cores:
        return []
    each = len(all_cores) // processes
    return list(all_cores[number * each : (number + 1) * each]) if each else [all_cores[number % len(all_cores)]]
