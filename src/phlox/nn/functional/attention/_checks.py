"""The checks of attention: shapes, masks, windows and lengths, each refused where it is given."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from phlox.core import DtypeError, RangeError, ShapeError, describe
from phlox.nn.functional._numeric import in_range, is_concrete

Window = int | Sequence[int | None] | None


def check_heads(where: str, q: Array, k: Array, v: Array) -> None:
    """Refuse queries, keys and values that do not fit one another."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim != 4:
            fix = "split the features into heads: x.reshape(batch, time, heads, -1)"
            raise ShapeError(f"{name} of shape (batch, time, heads, size)", got=describe(x), fix=fix, where=where)
    batch, keys, shared, _ = k.shape
    if v.shape[:3] != (batch, keys, shared):
        fix = "give values the batch, time and heads of the keys"
        raise ShapeError(f"v of shape ({batch}, {keys}, {shared}, size)", got=describe(v), fix=fix, where=where)
    if q.shape[0] != batch or q.shape[3] != k.shape[3]:
        fix = "give queries and keys one batch and one size of a head"
        expected = f"q of shape ({batch}, time, heads, {k.shape[3]})"
        raise ShapeError(expected, got=describe(q), fix=fix, where=where)
    if shared == 0 or q.shape[2] % shared:
        fix = f"give q a multiple of {shared} heads; each head of k serves as many of q"
        raise ShapeError(f"heads of q divisible by the {shared} of k", got=describe(q), fix=fix, where=where)


def four_axes(where: str, name: str, value: Any, full: tuple[int, int, int, int]) -> Array:
    """A mask or bias with all four axes, each the full size or 1."""
    x = jnp.asarray(value)
    batch, heads, rows, keys = full
    _check_kind(where, name, x)
    expected = f"{name} of shape ({rows}, {keys}) or ({batch}, {heads}, {rows}, {keys}), where any may be 1"
    if x.ndim not in (2, 4):
        fix = f"give it four axes: {name}[:, None] if it has a batch axis, {name}[None] if it has heads"
        raise ShapeError(expected, got=describe(x), fix=fix, where=where)
    x = x if x.ndim == 4 else x[None, None]
    if any(size not in (1, whole) for size, whole in zip(x.shape, full, strict=True)):
        fix = f"a mask of keys alone, (batch, keys), needs {name}[:, None, None, :], or is kv_lengths"
        raise ShapeError(expected, got=describe(value), fix=fix, where=where)
    return x


def _check_kind(where: str, name: str, x: Array) -> None:
    """Refuse a mask of integers, which would be added to scores, and a bias of booleans, which would hide nothing."""
    if name == "mask" and x.dtype != jnp.bool_ and not jnp.issubdtype(x.dtype, jnp.floating):
        fix = "write mask.astype(bool), True where a query sees a key"
        raise DtypeError("mask of booleans, or of floats that are added", got=describe(x), fix=fix, where=where)
    if name == "bias" and x.dtype == jnp.bool_:
        fix = "pass it as mask=, True where a query sees a key"
        raise DtypeError("bias of floats that are added", got=describe(x), fix=fix, where=where)


def check_lengths(where: str | None, name: str, value: Any, batch: int, most: int) -> Array | None:
    """Lengths as integers in [0, most], one for each example; values that are traced pass unseen."""
    if value is None:
        return None
    x = jnp.asarray(value)
    if x.shape != (batch,) or not jnp.issubdtype(x.dtype, jnp.integer):
        fix = "give one whole number for each example"
        raise ShapeError(f"{name} of shape ({batch},), integers", got=describe(x), fix=fix, where=where)
    known = np.asarray(x) if is_concrete(x) and isinstance(most, int) else np.zeros(0)
    if known.size and (known.min() < 0 or known.max() > most):
        fix = "count what is real, without the padding"
        got = f"{name} from {known.min()} to {known.max()}"
        raise RangeError(f"{name} in [0, {most}]", got=got, fix=fix, where=where)
    return x.astype(jnp.int32)


def window_of(where: str, window: Window) -> tuple[int | None, int | None]:
    """How many keys are seen to the left and to the right; None is all."""
    sides = (window, window) if window is None or isinstance(window, int) else tuple(window)
    try:
        sizes = tuple(None if s is None else operator.index(s) for s in sides)
    except TypeError:
        sizes = ()
    if len(sizes) != 2 or any(s is not None and s < 0 for s in sizes):
        fix = "give one number, or (left, right); 0 is the own position alone"
        raise RangeError("window of 0 or more positions to either side", got=repr(window), fix=fix, where=where)
    return sizes[0], sizes[1]


def check_options(where: str, *, soft_cap: Any, dropout: Any, key: Any, chunk: Any) -> None:
    """Refuse numbers outside their range."""
    in_range(where, "dropout", dropout, 0.0, 1.0)
    if dropout and key is None:
        fix = "pass key=jax.random.key(0), a new one at each call"
        raise RangeError("a random key for dropout", got=f"dropout={dropout} and no key", fix=fix, where=where)
    if soft_cap is not None:
        in_range(where, "soft_cap", soft_cap, 0.0, float("inf"), open_low=True)
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        fix = "give a whole number of queries, such as 256"
        raise RangeError("chunk of at least 1 query", got=repr(chunk), fix=fix, where=where)
