"""State of any form as JSON beside arrays, and back as it was: JSON alone turns tuples into lists and numbers as keys
into text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import StructureError, is_key

_TUPLE, _DICT, _ARRAY, _KEY, _NUMBER, _PATH = "__tuple__", "__dict__", "__array__", "__key__", "__number__", "__path__"
_MARKS = frozenset((_TUPLE, _DICT, _ARRAY, _KEY, _NUMBER, _PATH))


def encoded(value: Any, arrays: dict[str, Any], at: str, where: str) -> Any:
    """A value as JSON holds it; its arrays, random keys as their data, go into ``arrays`` by where they were.

    Arguments:
        value: numbers, text, None, arrays, random keys, paths, and lists, tuples and dicts of these.
        arrays: takes the arrays in.
        at: where the value is.
        where: who speaks in errors.

    Raises:
        StructureError: anything else, which would not come back as it was.

    >>> arrays = {}
    >>> kept = encoded({1: (2.5, np.ones(2))}, arrays, "seen", "Checkpoint")
    >>> kept, decoded(kept, arrays)
    ({'__dict__': [[1, {'__tuple__': [2.5, {'__array__': ['seen/1/1', 'numpy']}]}]]}, {1: (2.5, array([1., 1.]))})
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, (jax.Array, np.ndarray)):
        while at in arrays:  # of {"a/b": …, "a": {"b": …}}, or of {1: …, "1": …}
            at += "'"
        arrays[at] = jax.random.key_data(value) if is_key(value) else value
        if is_key(value):
            return {_KEY: [at, str(jax.random.key_impl(value))]}
        return {_ARRAY: [at, "jax" if isinstance(value, jax.Array) else "numpy"]}
    if isinstance(value, np.generic):
        return {_NUMBER: [value.dtype.str, value.item()]} if value.dtype.kind in "biufU" else _refuse(value, at, where)
    if isinstance(value, Path):
        return {_PATH: str(value)}
    if kind is list or kind is tuple:
        items = [encoded(v, arrays, f"{at}/{n}", where) for n, v in enumerate(value)]
        return items if kind is list else {_TUPLE: items}
    if kind is dict:
        if all(type(name) is str for name in value) and not _MARKS & value.keys():
            return {name: encoded(v, arrays, f"{at}/{name}", where) for name, v in value.items()}
        pairs = [
            [encoded(n, arrays, f"{at}/name {i}", where), encoded(v, arrays, f"{at}/{n}", where)]
            for i, (n, v) in enumerate(value.items())
        ]
        return {_DICT: pairs}
    return _refuse(value, at, where)


def decoded(value: Any, arrays: dict[str, Any]) -> Any:
    """What ``encoded`` was given."""
    if isinstance(value, list):
        return [decoded(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), None) if len(value) == 1 else None
    held: Any = value.get(mark) if mark in _MARKS else None
    if mark == _TUPLE:
        return tuple(decoded(v, arrays) for v in held)
    if mark == _DICT:
        return {decoded(n, arrays): decoded(v, arrays) for n, v in held}
    if mark == _KEY:
        return jax.random.wrap_key_data(jnp.asarray(arrays[held[0]]), impl=held[1])
    if mark == _ARRAY:
        if isinstance(arrays[held[0]], jax.Array):  # it was read to where it is to lie
            return arrays[held[0]]
        return jnp.array(arrays[held[0]]) if held[1] == "jax" else np.array(arrays[held[0]])
    if mark == _NUMBER:
        return np.dtype(held[0]).type(held[1])
    if mark == _PATH:
        return Path(held)
    return {name: decoded(v, arrays) for name, v in value.items()}


def _refuse(value: Any, at: str, where: str) -> Any:
    raise StructureError(
        "state that is arrays and JSON: numbers, text, None, and lists, tuples and dicts of them",
        got=f"{type(value).__name__} {str(value)[:60]!r} at {at}",
        fix="let the callback's state() return what it holds in such a form, and restore() make it again",
        where=where,
    )
