"""Checks of constructor arguments, refused where they are given."""

from __future__ import annotations

import operator

from phlox.core import RangeError


def check_size(layer: str, name: str, value: int, *, least: int = 1) -> int:
    """A whole number of at least ``least``, as an int."""
    try:
        size = operator.index(value)
    except TypeError:
        size = None
    if size is None or size < least or isinstance(value, bool):
        raise RangeError(f"{name} to be a whole number of at least {least}", got=repr(value), where=layer)
    return size


def check_probability(layer: str, name: str, value: float) -> float:
    """A probability in [0, 1]."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise RangeError(
            f"{name} in [0, 1]", got=repr(value), fix="p is the share of elements to drop, as a fraction", where=layer
        )
    return float(value)


def check_positive(layer: str, name: str, value: float) -> float:
    """A number above zero."""
    if isinstance(value, bool) or not value > 0:
        raise RangeError(f"{name} above 0", got=repr(value), where=layer)
    return float(value)
