"""Checks of constructor arguments, refused where they are given."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from phlox.core import RangeError

Sizes = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]


def check_size(layer: str, name: str, value: int, *, least: int = 1) -> int:
    """A whole number of at least ``least``, as an int."""
    try:
        size = operator.index(value)
    except TypeError:
        size = None
    if size is None or size < least or isinstance(value, bool):
        fix = f"give {name} a value of {least} or more"
        if isinstance(value, float):
            fix = "round it, or divide by // in place of /"
        raise RangeError(f"{name} to be a whole number of at least {least}", got=repr(value), fix=fix, where=layer)
    return size


def check_probability(layer: str, name: str, value: float) -> float:
    """A probability in [0, 1]."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise RangeError(
            f"{name} in [0, 1]",
            got=repr(value),
            fix="give the share of elements to drop as a fraction, such as 0.5",
            where=layer,
        )
    return float(value)


def check_share(layer: str, name: str, value: float, meaning: str) -> float:
    """A fraction in [0, 1]."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise RangeError(f"{name} in [0, 1]", got=repr(value), fix=f"give {meaning} as a fraction", where=layer)
    return float(value)


def check_positive(layer: str, name: str, value: float) -> float:
    """A number above zero."""
    if isinstance(value, bool) or not value > 0:
        raise RangeError(f"{name} above 0", got=repr(value), fix="give a small number, such as 1e-5", where=layer)
    return float(value)


def sizes_of(layer: str, name: str, value: Sizes) -> tuple[int, ...]:
    """One size for each of 1 to 3 spatial axes."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if not 1 <= len(sizes) <= 3:
        fix = "give the spatial axes only, such as (3, 3); channels and batch are not among them"
        raise RangeError(f"{name} for 1, 2 or 3 spatial axes", got=repr(value), fix=fix, where=layer)
    return tuple(check_size(layer, name, s) for s in sizes)


def per_axis(layer: str, name: str, value: Sizes, rank: int, *, least: int = 1) -> tuple[int, ...]:
    """A number for every spatial axis, from one or as many."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank:
        fix = f"give one number for all, or a tuple of {rank}"
        raise RangeError(f"one {name}, or one for each of {rank} spatial axes", got=repr(value), fix=fix, where=layer)
    return tuple(check_size(layer, name, s, least=least) for s in sizes)


def padding_of(layer: str, value: Padding, rank: int) -> Any:
    """Padding in a hashable form; what it means is decided, and checked, where it is applied."""
    if isinstance(value, (int, str)):
        return value
    pairs = tuple(p if isinstance(p, int) else tuple(p) for p in value)
    if len(pairs) != rank:
        fix = f"give one number for all, {rank} numbers or (low, high) pairs, or a name such as 'SAME'"
        raise RangeError(f"padding for each of {rank} spatial axes", got=repr(value), fix=fix, where=layer)
    return pairs
