"""Keys for what is no array: two attributes are the same exactly when type and value are."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np


class _Identity:
    """Equality by identity, for objects that cannot be hashed; keeps the object alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def static_key(value: Any) -> Any:
    """A hashable key, so that 1, True and 1.0 differ, as do 0.0 and -0.0, and NaN equals itself."""
    kind = type(value)
    if kind in (float, complex):
        return kind, repr(value)
    if isinstance(value, np.generic):
        return kind, value.dtype.str, value.tobytes()
    if kind in (set, frozenset):
        return kind, frozenset(map(static_key, value))
    if kind in (list, tuple):
        return kind, tuple(map(static_key, value))
    if kind is dict:
        return kind, tuple((static_key(k), static_key(v)) for k, v in value.items())
    if kind is slice:
        return kind, value.start, value.stop, value.step
    if kind is functools.partial:
        return kind, static_key(value.func), static_key(value.args), static_key(value.keywords)
    try:
        hash(value)
    except TypeError:
        return kind, _Identity(value)
    return kind, value
