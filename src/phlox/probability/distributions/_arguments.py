"""What distributions are made of: numbers or arrays in a range, of shapes that broadcast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, RangeError, ShapeError, describe
from phlox.core._compat import Tracer


class Rule(NamedTuple):
    """The range of an argument."""

    text: str
    holds: Callable[[Any], Any]
    fix: str


REAL = Rule("a number", lambda v: v == v, "")
POSITIVE = Rule("above 0", lambda v: v > 0, "pass it through px.softplus or jnp.exp")
UNIT = Rule("in [0, 1]", lambda v: (v >= 0) & (v <= 1), "pass it through px.sigmoid")


def arranged(where: str, rules: Mapping[str, Rule], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as floats and floating arrays, each in its range, all of shapes that broadcast."""
    values = {name: _number(where, name, value) for name, value in given.items()}
    for name, value in values.items():
        _check_range(where, name, value, rules[name])
    try:
        np.broadcast_shapes(*(np.shape(v) for v in values.values()))
    except ValueError:
        got = ", ".join(f"{name} {describe(v)}" for name, v in values.items())
        fix = "give a number, or an array for each element of the other"
        raise ShapeError("arguments whose shapes broadcast", got=got, fix=fix, where=where) from None
    return values


def _number(where: str, name: str, value: Any) -> Any:
    """A Python number as a float, which stays as it is; all else as an array, which trains unless it is frozen."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        raise DtypeError(f"{name} as a number or an array", got=repr(value), fix=f"write {name}=1.0", where=where)
    if isinstance(value, (int, float)):
        return float(value)
    array = value if isinstance(value, jax.Array) else jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        fix = "take its real part"
        raise DtypeError(f"{name} as a real array", got=describe(array), fix=fix, where=where)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.float32)


def _check_range(where: str, name: str, value: Any, rule: Rule) -> None:
    """Refuse what is out of range, where the values are known; NaN passes."""
    if rule is REAL or isinstance(value, Tracer) or (isinstance(value, jax.Array) and not value.is_fully_addressable):
        return
    known = np.asarray(value)
    wrong = known[~(np.asarray(rule.holds(known)) | np.isnan(known))]
    if wrong.size:
        got = repr(value) if isinstance(value, float) else f"{describe(value)} with {wrong.flat[0]}"
        raise RangeError(f"{name} {rule.text}", got=got, fix=rule.fix, where=where)


def wide(value: Any) -> Any:
    """An argument as NumPyro computes with it: of 16 bits as float32."""
    if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating):
        return value.astype(jnp.promote_types(value.dtype, jnp.float32))
    return value
