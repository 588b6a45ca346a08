"""Which numbers go: exactly so many of the lowest scores, or so many in each group along what an output sums over."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def without_lowest(scores: Sequence[Array], count: int) -> list[Array]:
    """Masks, False at exactly ``count`` of the lowest of all scores together; of equal ones the first go."""
    flat = np.concatenate([one.ravel() for one in scores])
    kept = np.ones(flat.shape, bool)
    if count:
        highest = np.partition(flat, count - 1)[count - 1]
        below, equal = flat < highest, np.flatnonzero(flat == highest)
        kept[below] = False
        kept[equal[: count - np.count_nonzero(below)]] = False
    ends = np.cumsum([one.size for one in scores])[:-1]
    return [part.reshape(one.shape) for part, one in zip(np.split(kept, ends), scores, strict=True)]


def highest_of_each(scores: Array, keep: int, group: int, axis: int) -> Array:
    """A mask that keeps so many of the highest of each ``group`` neighbours along an axis; of equal ones the last."""
    moved = np.moveaxis(scores, axis, -1)
    grouped = moved.reshape(*moved.shape[:-1], -1, group)
    order = np.argsort(grouped, axis=-1, kind="stable")
    kept = np.ones(grouped.shape, bool)
    np.put_along_axis(kept, order[..., : group - keep], False, axis=-1)
    return np.moveaxis(kept.reshape(moved.shape), -1, axis)


def count_of(share: float, size: int) -> int:
    """How many of so many numbers a share is, to the nearest."""
    return round(share * size)


def layers_of(scores: Array, stacked: int) -> list[Array]:
    """The scores of each layer, where ``stacked`` axes in front are of several."""
    lead = math.prod(scores.shape[:stacked])
    return list(scores.reshape(lead, *scores.shape[stacked:]))
