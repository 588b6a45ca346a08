"""Data in two parts or more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.data._observations import getobs, numobs, whole
from phlox.data._shuffling import Seed, generator, one_label_each, order


def splitobs(
    data: Any,
    at: float | Sequence[float] = 0.8,
    *,
    seed: Seed | None = None,
    stratify: Any = None,
    groups: Any = None,
) -> tuple[Any, ...]:
    """Data in parts of given shares; the last part is what is left.

    Arguments:
        data: what ``numobs`` can count; of a whole number the parts are arrays of indices.
        at: the share of each part but the last, as a fraction in (0, 1) or a whole number of observations.
        seed: shuffles first, by a whole number or a JAX key; None keeps the order.
        stratify: one label for each observation: every part has the same shares of labels, as nearly as whole
            numbers go.
        groups: one label for each observation: a group is never in two parts, and each cut is at most half a group
            off the share.

    Raises:
        RangeError: shares out of range, or beyond the data; both ``stratify`` and ``groups``.
        ShapeError: not one label for each observation.

    >>> import numpy as np, phlox as px
    >>> (x, y), (x_test, y_test) = px.data.splitobs((np.arange(5), np.arange(5) * 10), 0.6)
    >>> x.tolist(), y_test.tolist()
    ([0, 1, 2], [30, 40])
    >>> [len(part) for part in px.data.splitobs(10, (0.5, 0.3), seed=0)]
    [5, 3, 2]
    """
    count = numobs(data)
    cuts = _cuts(at, count)
    if stratify is not None and groups is not None:
        fix = "give one of them; a group may hold several labels"
        raise RangeError("stratify or groups", got="both", fix=fix, where="splitobs")
    if stratify is not None:
        parts = _stratified(one_label_each(stratify, count, "stratify", "splitobs"), cuts, seed)
    elif groups is not None:
        parts = _grouped(one_label_each(groups, count, "groups", "splitobs"), cuts, seed)
    else:
        parts = np.split(order(count, seed, "splitobs"), cuts)
    if seed is None and stratify is None and groups is None:  # slices of NumPy arrays take no memory
        edges = [0, *cuts, count]
        return tuple(getobs(data, slice(a, b)) for a, b in itertools.pairwise(edges))
    return tuple(getobs(data, part) for part in parts)


def _cuts(at: float | Sequence[float], count: int) -> list[int]:
    """Where one part ends and the next begins."""
    shares = list(at) if isinstance(at, (Sequence, np.ndarray)) else [at]
    for share in shares:
        is_whole = isinstance(share, (int, np.integer)) and not isinstance(share, bool)
        if isinstance(share, bool) or not (0 < share < 1 or (is_whole and share >= 1)):
            fix = "give 0.8 for four fifths, 100 for a hundred, (0.7, 0.2) for three parts"
            raise RangeError("shares in (0, 1) or whole numbers", got=repr(at), fix=fix, where="splitobs")
    sizes = [s if isinstance(s, (int, np.integer)) else s * count for s in shares]
    ends = np.cumsum(sizes)
    if len(ends) and ends[-1] > count * (1 + 1e-9):
        fix = "leave something for the last part: it is what remains, and is not listed"
        raise RangeError(f"shares of {count} observations together", got=repr(at), fix=fix, where="splitobs")
    return [int(np.floor(end + 0.5)) for end in ends]


def _stratified(number: np.ndarray, cuts: list[int], seed: Seed | None) -> list[np.ndarray]:
    """Each part takes of each label its share of what is left, by largest remainders."""
    rng = None if seed is None else generator(seed, "splitobs")
    members = [np.flatnonzero(number == n) for n in range(number.max(initial=-1) + 1)]
    members = members if rng is None else [rng.permutation(m) for m in members]
    left = np.array([len(m) for m in members])
    taken = np.zeros_like(left)
    parts = []
    for size in np.diff([0, *cuts, len(number)]):
        take = _apportioned(int(size), left - taken)
        part = np.concatenate([m[a : a + b] for m, a, b in zip(members, taken, take, strict=True)] or [left])
        parts.append(np.sort(part) if rng is None else rng.permutation(part))
        taken = taken + take
    return parts


def _apportioned(size: int, left: np.ndarray) -> np.ndarray:
    """``size`` in whole numbers proportional to what is left, each less than 1 off."""
    share = size * left / max(left.sum(), 1)
    take = np.floor(share + 1e-9).astype(int)
    most = np.argsort(-(share - take), kind="stable")[: size - take.sum()]
    take[most] += 1
    return take


def _grouped(number: np.ndarray, cuts: list[int], seed: Seed | None) -> list[np.ndarray]:
    """Groups in order, each in the part where its middle lies."""
    sizes = np.bincount(number)
    at = order(len(sizes), seed, "splitobs")
    middle = np.cumsum(sizes[at]) - sizes[at] / 2
    part_of = np.empty(len(sizes), int)
    part_of[at] = np.searchsorted(cuts, middle, side="right")
    parts = [np.flatnonzero(part_of[number] == p) for p in range(len(cuts) + 1)]
    return parts if seed is None else [p[order(len(p), seed, "splitobs")] for p in parts]


def chunk(data: Any, n: int | None = None, *, size: int | None = None) -> list[Any]:
    """Data in ``n`` parts of nearly equal size, or in parts of ``size`` of which the last may be smaller.

    Raises:
        RangeError: not one of ``n`` and ``size``, or one below 1.

    >>> import phlox as px
    >>> px.data.chunk([1, 2, 3, 4, 5], 2), px.data.chunk([1, 2, 3, 4, 5], size=2)
    ([[1, 2, 3], [4, 5]], [[1, 2], [3, 4], [5]])
    """
    if (n is None) == (size is None):
        got, fix = f"n={n}, size={size}", "give the number of parts, or size="
        raise RangeError("n or size", got=got, fix=fix, where="chunk")
    count = numobs(data)
    if size is not None:
        edges = list(range(0, count, whole("chunk", "size", size))) + [count]
    else:
        edges = fold_edges(count, whole("chunk", "n", n))
    return [getobs(data, slice(a, b)) for a, b in itertools.pairwise(edges)]


def fold_edges(count: int, k: int) -> list[int]:
    """Where k nearly equal parts begin and end; the first ones are the larger."""
    return [i * (count // k) + min(i, count % k) for i in range(k + 1)]
