"""Cross-validation: pairs of training and validation data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.data._observations import getobs, numobs, whole
from phlox.data._shuffling import Seed, generator, one_label_each, order
from phlox.data._splits import fold_edges


def kfolds(
    data: Any, k: int = 5, *, seed: Seed | None = None, stratify: Any = None, groups: Any = None
) -> Iterator[tuple[Any, Any]]:
    """Pairs of training and validation data; every observation is in one of the k validation parts.

    Arguments:
        data: what ``numobs`` can count; of a whole number the parts are arrays of indices.
        k: how many pairs.
        seed: shuffles what goes into which fold, by a whole number or a JAX key; None makes folds of neighbours.
        stratify: one label for each observation: every fold has the same shares of labels, to one observation each.
        groups: one label for each observation: no group is in two folds. Each group goes into what is then the
            smallest fold, from the largest group down, or in an order by the seed.

    Raises:
        RangeError: k below 2, or above the number of observations, of groups, or of the most frequent label; both
            ``stratify`` and ``groups``.
        ShapeError: not one label for each observation.

    >>> import numpy as np, phlox as px
    >>> for train, valid in px.data.kfolds(np.arange(5), 2):
    ...     train.tolist(), valid.tolist()
    ([3, 4], [0, 1, 2])
    ([0, 1, 2], [3, 4])
    """
    count, k = numobs(data), whole("kfolds", "k", k, 2)
    if stratify is not None and groups is not None:
        fix = "give one of them; a group may hold several labels"
        raise RangeError("stratify or groups", got="both", fix=fix, where="kfolds")
    if stratify is not None:
        number = one_label_each(stratify, count, "stratify", "kfolds")
        _enough(k, int(np.bincount(number).max(initial=0)), "observations of the most frequent label")
        fold = _stratified_folds(number, k, seed)
    elif groups is not None:
        number = one_label_each(groups, count, "groups", "kfolds")
        _enough(k, int(number.max(initial=-1)) + 1, "groups")
        fold = _grouped_folds(number, k, seed)
    else:
        _enough(k, count, "observations")
        fold = np.empty(count, int)
        fold[order(count, seed, "kfolds")] = np.repeat(np.arange(k), np.diff(fold_edges(count, k)))
    return (_pair(data, fold != f, fold == f) for f in range(k))


def _enough(k: int, there: int, of_what: str) -> None:
    if k > there:
        raise RangeError(f"k of at most {there} {of_what}", got=str(k), fix="make fewer folds", where="kfolds")


def _pair(data: Any, train: np.ndarray, valid: np.ndarray) -> tuple[Any, Any]:
    return getobs(data, np.flatnonzero(train)), getobs(data, np.flatnonzero(valid))


def _stratified_folds(number: np.ndarray, k: int, seed: Seed | None) -> np.ndarray:
    """Deal the observations, sorted by label, to the folds one by one: that says how many of each a fold gets."""
    rng = None if seed is None else generator(seed, "kfolds")
    ordered, labels = np.sort(number), number.max(initial=-1) + 1
    dealt = np.array([np.bincount(ordered[f::k], minlength=labels) for f in range(k)])
    fold = np.empty(len(number), int)
    for label in range(labels):
        share = np.repeat(np.arange(k), dealt[:, label])
        fold[number == label] = share if rng is None else rng.permutation(share)
    return fold


def _grouped_folds(number: np.ndarray, k: int, seed: Seed | None) -> np.ndarray:
    sizes = np.bincount(number)
    at = np.argsort(-sizes, kind="stable") if seed is None else order(len(sizes), seed, "kfolds")
    fold_of, filled = np.empty(len(sizes), int), np.zeros(k, int)
    for group in at:
        fold_of[group] = np.argmin(filled)
        filled[fold_of[group]] += sizes[group]
    return fold_of[number]


def time_series_folds(
    data: Any, k: int = 5, *, size: int | None = None, gap: int = 0, longest: int | None = None
) -> Iterator[tuple[Any, Any]]:
    """Pairs of training and validation data in which training is always before validation.

    The k validation parts stand one behind the other at the end of data; all before one is its training part.

    Arguments:
        data: what ``numobs`` can count, in the order of time.
        k: how many pairs.
        size: observations of a validation part; by default data is cut in k + 1.
        gap: how many observations between the two are left out.
        longest: at most so many observations of training, the latest.

    Raises:
        RangeError: a number below its least, or too few observations.

    >>> import phlox as px
    >>> [(t.tolist(), v.tolist()) for t, v in px.data.time_series_folds(6, 2)]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    where, count = "time_series_folds", numobs(data)
    k, gap = whole(where, "k", k), whole(where, "gap", gap, 0)
    size = max(1, count // (k + 1)) if size is None else whole(where, "size", size)
    longest = count if longest is None else whole(where, "longest", longest)
    if count - k * size - gap < 1:
        needs, fix = k * size + gap + 1, "make fewer or smaller folds, or a smaller gap"
        raise RangeError(f"at least {needs} observations", got=str(count), fix=fix, where=where)
    starts = [count - (k - i) * size for i in range(k)]
    return ((getobs(data, slice(max(0, s - gap - longest), s - gap)), getobs(data, slice(s, s + size))) for s in starts)


def leave_p_out(data: Any, p: int = 1) -> Iterator[tuple[Any, Any]]:
    """Pairs of training and validation data, one for each choice of p observations to leave out.

    There are n! / (p! (n − p)!) of them; ``kfolds(data, n // p)`` leaves each observation out once.

    Raises:
        RangeError: p below 1, or nothing left.

    >>> import phlox as px
    >>> [v.tolist() for _, v in px.data.leave_p_out(3, 2)]
    [[0, 1], [0, 2], [1, 2]]
    """
    count, p = numobs(data), whole("leave_p_out", "p", p)
    if p >= count:
        fix = "leave fewer out"
        raise RangeError(f"p below the {count} observations", got=str(p), fix=fix, where="leave_p_out")

    def pairs() -> Iterator[tuple[Any, Any]]:
        for out in itertools.combinations(range(count), p):
            valid = np.isin(np.arange(count), out)
            yield _pair(data, ~valid, valid)

    return pairs()
