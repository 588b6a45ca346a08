"""What is given, refused where it does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, RangeError, ShapeError, StateError, describe, shown
from phlox.core._compat import Tracer


def positive(where: str, name: str, value: Any) -> float:
    """A finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        fix = f"give a number, such as {name}=1.0"
        raise RangeError(f"{name} above 0", got=repr(value), fix=fix, where=where)
    return float(value)


def share(where: str, name: str, value: Any) -> float:
    """A fraction above 0 and below 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        fix = f"give a fraction, such as {name}=0.9"
        raise RangeError(f"{name} between 0 and 1", got=repr(value), fix=fix, where=where)
    return float(value)


def choice(where: str, name: str, value: Any, among: tuple[str, ...]) -> str:
    """One of several names."""
    if value not in among:
        names = " or ".join(map(repr, among))
        raise RangeError(f"{name} {names}", got=repr(value), fix="choose one of them", where=where)
    return value


def floats(where: str | None, **arrays: Any) -> tuple[jax.Array, ...]:
    """Arrays in their common floating dtype, of 32 bits or more; integers and booleans follow.

    Raises:
        DtypeError: complex numbers, or no floating array among them.
    """
    given = {name: jnp.asarray(v) for name, v in arrays.items()}
    dtypes = [v.dtype for v in given.values()]
    inexact = [d for d in dtypes if jnp.issubdtype(d, jnp.inexact)]
    if not inexact or any(jnp.issubdtype(d, jnp.complexfloating) for d in inexact):
        got = ", ".join(f"{name} {describe(v)}" for name, v in given.items())
        raise DtypeError("floating arrays", got=got, fix="convert them with .astype(float)", where=where)
    wide = jnp.promote_types(jnp.result_type(*inexact), jnp.float32)
    return tuple(v.astype(wide) for v in given.values())


def alike(where: str, **arrays: jax.Array) -> None:
    """Refuse arrays whose shapes differ: nothing is broadcast against a target.

    Raises:
        ShapeError: unlike shapes.
    """
    if len({v.shape for v in arrays.values()}) > 1:
        got = ", ".join(f"{name} {describe(v)}" for name, v in arrays.items())
        fix = "reshape them, as nothing is broadcast here"
        raise ShapeError(f"{' and '.join(arrays)} of one shape", got=got, fix=fix, where=where)


def with_last_axis(where: str | None, axis: str, x: jax.Array, target: jax.Array) -> None:
    """Refuse an array that is not like the target with one axis more behind.

    Raises:
        ShapeError: another shape.
    """
    if x.ndim < 1 or x.shape[:-1] != target.shape or x.shape[-1] == 0:
        expected = f"({', '.join(map(str, (*target.shape, axis)))}) for a target {describe(target)}"
        raise ShapeError(expected, got=describe(x), fix=f"put the {axis} along the last axis", where=where)


def classes_of(where: str, target: Any, classes: int, kind: str = "classes") -> jax.Array:
    """Integer classes from 0 to ``classes`` - 1.

    Raises:
        DtypeError: targets that are no integers.
        RangeError: others than those classes, where values are known.
    """
    target = jnp.asarray(target)
    if not jnp.issubdtype(target.dtype, jnp.integer):
        fix = "give the number of each; of one-hot rows: target.argmax(-1)"
        raise DtypeError(f"integer {kind}", got=describe(target), fix=fix, where=where)
    expected = f"{kind} from 0 to {classes - 1}"
    refuse_values(where, target, lambda v: (v >= 0) & (v < classes), expected, f"number the {kind} from 0")
    return target


def refuse_values(where: str | None, x: Any, good: Callable[[np.ndarray], Any], expected: str, fix: str) -> None:
    """Refuse values that are not ``good(values)``, where they are known.

    Raises:
        RangeError: such a value.
    """
    if isinstance(x, Tracer):
        return
    values = np.asarray(x)
    bad = values[~good(values)]
    if bad.size:
        raise RangeError(expected, got=f"{describe(x)} with {bad.flat[0]}", fix=fix, where=where)


def known(where: str, what: str, *arrays: Any) -> tuple[np.ndarray, ...]:
    """Arrays as NumPy's, for what is found on the host.

    Raises:
        StateError: arrays that are being traced.
    """
    if any(isinstance(v, Tracer) for v in arrays):
        fix = "call it outside of px.jit and px.grad; what it found is part of the model from then on"
        raise StateError(f"values that are known, to find {what}", got="arrays that are being traced", fix=fix,
                         where=where)  # fmt: skip
    return tuple(np.asarray(v) for v in arrays)


def fitted(layer: Any, value: Any, name: str, method: str) -> Any:
    """What an earlier call found.

    Raises:
        StateError: there was none.
    """
    if value is None:
        fix = f"call {method} with examples that no training has seen"
        raise StateError(f"{name}, which {method} finds", got="none yet", fix=fix, where=type(layer).__name__)
    return value


def check_open_unit(where: str, name: str, value: Any) -> float:
    """A number between 0 and 1, both left out."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise RangeError(f"{name} in (0, 1)", got=repr(value), fix=f"give a share, such as {name}=0.9", where=where)
    return float(value)


def check_one_of(where: str, name: str, value: Any, names: tuple[str, ...]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in names:
        several = ", ".join(f'"{n}"' for n in names)
        raise RangeError(f"{name} among {several}", got=shown(value), fix=f'write {name}="{names[0]}"', where=where)
    return value
