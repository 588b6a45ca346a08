"""The shares as matrices over windows of the image, exact in float32.

A matrix (old, new) would be nearly all zeros. Instead the new pixels stand in groups, each of which needs only a window
of the old ones: (groups, window, group), about an eighth of the work.

Pillow's shares of 8-bit images are whole numbers of 22 bits, which a product in float32 would round. Each is split into
a coarse and a fine one, so that every sum stays below 2²⁴, where float32 counts exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from phlox.core import RangeError
from phlox.models.preprocessing._filters import shares

BITS = 22  # of the fraction in Pillow's shares
_GROUPS = 8  # measured: more cost more to compile than they save
_EXACT = 2**24  # float32 counts up to here


@dataclass(frozen=True, eq=False)
class Windows:
    """One axis resized: ``starts`` and ``width`` of the windows, and a matrix for each, (groups, width, columns).

    With ``shift`` the first half of the columns is coarse and the second fine: coarse · 2^shift + fine.
    """

    starts: tuple[int, ...]
    width: int
    matrices: np.ndarray
    new: int
    shift: int | None


@lru_cache(maxsize=64)
def windows(method: str, old: int, new: int, antialias: bool, whole: bool) -> Windows:
    """The windows of one axis: for 8-bit images where ``whole``, else for floats."""
    first, share = shares(method, old, new, antialias)
    parts, shift = _halves(share, old, new) if whole else ([share], None)
    size = -(-new // _GROUPS)
    groups = [slice(i, min(i + size, new)) for i in range(0, new, size)]
    ends = np.minimum(first + share.shape[1], old)
    width = int(max(ends[g].max() - first[g].min() for g in groups))
    starts = tuple(int(min(first[g].min(), old - width)) for g in groups)
    matrices = np.zeros((len(groups), width, len(parts), size), np.float32 if whole else np.float64)
    for i, (group, start) in enumerate(zip(groups, starts, strict=True)):
        for j, part in enumerate(parts):
            _lay(matrices[i, :, j], first[group] - start, part[group])
    return Windows(starts, width, matrices.reshape(len(groups), width, -1), new, shift)


def _lay(matrix: np.ndarray, first: np.ndarray, share: np.ndarray) -> None:
    """Put the shares (pixels, taps) into a matrix (window, pixels); taps beyond its end are zeros, and left out."""
    rows = first[:, None] + np.arange(share.shape[1])
    columns = np.broadcast_to(np.arange(len(share))[:, None], rows.shape)
    there = rows < len(matrix)
    matrix[rows[there], columns[there]] = share[there]


def _halves(share: np.ndarray, old: int, new: int) -> tuple[list[np.ndarray], int]:
    """The shares as whole numbers, coarse and fine, and the shift between them."""
    whole = np.trunc(share * 2**BITS + np.copysign(0.5, share))
    for shift in (8, 7, 6):
        coarse = np.rint(whole / 2**shift)
        parts = [coarse, whole - coarse * 2**shift]
        if all(255 * np.abs(part).sum(axis=1).max() < _EXACT for part in parts):
            return parts, shift
    raise RangeError(
        "a size that 8-bit images can be resized to in one step",
        got=f"{old} pixels to {new}",
        fix="resize in two steps, or give floats",
        where="resize",
    )
