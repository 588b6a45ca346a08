"""Orders that a seed decides, and groups of equal labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, describe, is_key
from phlox.data._observations import getobs, numobs

Seed = Any  # a whole number, or a JAX key


def generator(seed: Seed, where: str) -> np.random.Generator:
    """The generator that a whole number or a JAX key stands for; there is no other source of chance."""
    if is_key(seed):
        return np.random.default_rng(np.asarray(jax.random.key_data(seed)).ravel().tolist())
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        fix = "give a whole number such as seed=0, or a key such as jax.random.key(0)"
        raise RangeError("seed to be a whole number of at least 0, or a key", got=repr(seed), fix=fix, where=where)
    return np.random.default_rng(int(seed))


def order(count: int, seed: Seed | None, where: str) -> np.ndarray:
    """The numbers 0 … count − 1 in an order by the seed, or as they are."""
    return np.arange(count) if seed is None else generator(seed, where).permutation(count)


def shuffleobs(data: Any, *, seed: Seed) -> Any:
    """The observations of data in an order that the seed decides: the same one on every machine.

    Arguments:
        data: what ``numobs`` can count.
        seed: a whole number, or a JAX key.

    >>> import numpy as np, phlox as px
    >>> x, y = px.data.shuffleobs((np.arange(5), np.arange(5) * 10), seed=0)
    >>> bool((y == x * 10).all()), sorted(x.tolist())
    (True, [0, 1, 2, 3, 4])
    """
    return getobs(data, generator(seed, "shuffleobs").permutation(numobs(data)))


def one_label_each(labels: Any, count: int, name: str, where: str) -> np.ndarray:
    """Labels as numbers 0, 1, … in the order in which each first appears."""
    array = np.asarray(labels)
    if array.shape != (count,):
        fix = "give one label for each observation"
        raise ShapeError(f"{name} of shape ({count},)", got=describe(array), fix=fix, where=where)
    _, first, number = np.unique(array, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def group_indices(labels: Any) -> dict[Any, np.ndarray]:
    """Where each label stands, labels in the order in which they first appear.

    >>> import phlox as px
    >>> {k: v.tolist() for k, v in px.data.group_indices(["b", "a", "b"]).items()}
    {'b': [0, 2], 'a': [1]}
    """
    array = np.asarray(labels)
    number = one_label_each(array, len(array), "labels", "group_indices")
    found = (np.flatnonzero(number == n) for n in range(number.max(initial=-1) + 1))
    return {array[where[0]].item(): where for where in found}


def groupobs(data: Any, by: Any) -> dict[Any, Any]:
    """The observations of data by their label.

    Arguments:
        data: what ``numobs`` can count.
        by: one label for each observation, or a function from observation to label.

    >>> import numpy as np, phlox as px
    >>> {k: v.tolist() for k, v in px.data.groupobs(np.arange(5), lambda n: int(n) % 2).items()}
    {0: [0, 2, 4], 1: [1, 3]}
    """
    labels = [by(getobs(data, i)) for i in range(numobs(data))] if isinstance(by, Callable) else by
    one_label_each(labels, numobs(data), "by", "groupobs")
    return {label: getobs(data, where) for label, where in group_indices(labels).items()}


def oversample(data: Any, labels: Any, *, seed: Seed | None = None, fraction: float = 1.0) -> tuple[Any, np.ndarray]:
    """Data and labels with rare labels repeated, until each has ``fraction`` of the most frequent one's number.

    All observations stay; each of a label is repeated as often as any other, or once more, by the seed's choice.

    Arguments:
        data: what ``numobs`` can count.
        labels: one for each observation.
        seed: shuffles the result, and chooses what is repeated once more; None keeps the order and takes the first.
        fraction: in (0, 1].

    Raises:
        RangeError: a fraction out of range. ShapeError: not one label for each observation.

    >>> import numpy as np, phlox as px
    >>> x, y = px.data.oversample(np.arange(5), np.array([0, 0, 0, 0, 1]))
    >>> x.tolist(), y.tolist()
    ([0, 1, 2, 3, 4, 4, 4, 4], [0, 0, 0, 0, 1, 1, 1, 1])
    """
    if isinstance(fraction, bool) or not 0 < fraction <= 1:
        fix = "give 1.0 for equal numbers"
        raise RangeError("fraction in (0, 1]", got=repr(fraction), fix=fix, where="oversample")
    number = one_label_each(labels, numobs(data), "labels", "oversample")
    least = int(np.ceil(fraction * np.bincount(number).max(initial=0) - 1e-9))
    return _drawn(data, labels, number, lambda count: max(count, least), seed, "oversample")


def undersample(data: Any, labels: Any, *, seed: Seed | None = None) -> tuple[Any, np.ndarray]:
    """Data and labels with as many observations of each label as the rarest one has.

    Arguments:
        data: what ``numobs`` can count.
        labels: one for each observation.
        seed: shuffles the result, and chooses what stays; None keeps the order and the first of each.

    Raises:
        ShapeError: not one label for each observation.

    >>> import numpy as np, phlox as px
    >>> x, y = px.data.undersample(np.arange(5), np.array([0, 0, 0, 1, 1]))
    >>> x.tolist(), y.tolist()
    ([0, 1, 3, 4], [0, 0, 1, 1])
    """
    number = one_label_each(labels, numobs(data), "labels", "undersample")
    counts = np.bincount(number)
    return _drawn(data, labels, number, lambda _: int(counts.min()), seed, "undersample")


def _drawn(
    data: Any, labels: Any, number: np.ndarray, wanted: Callable[[int], int], seed: Seed | None, where: str
) -> tuple[Any, np.ndarray]:
    rng = None if seed is None else generator(seed, where)
    chosen: list[np.ndarray] = []
    for label in range(number.max(initial=-1) + 1):
        members = np.flatnonzero(number == label)
        members = members if rng is None else rng.permutation(members)
        chosen.append(np.resize(members, wanted(len(members))))  # again and again from the start
    index = np.concatenate(chosen) if chosen else np.arange(0)
    index = np.sort(index) if rng is None else rng.permutation(index)
    return getobs(data, index), np.asarray(labels)[index]
