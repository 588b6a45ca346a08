"""What every loss shares: refuse unlike shapes, compute in float32 at least, weight, reduce."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from phlox.core import DtypeError, RangeError, ShapeError, describe

Reduction = Literal["mean", "sum", "none"]


def floating(x: ArrayLike, name: str, where: str) -> jax.Array:
    """Return ``x`` as an array; refuse what is not floating, which is most often swapped arguments."""
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise DtypeError(
            f"a floating {name}",
            got=describe(array),
            fix="pass the prediction first and the target second, or convert with .astype(float).",
            where=where,
        )
    return array


def real(x: ArrayLike, name: str, where: str) -> jax.Array:
    """Return ``x`` as an array of booleans, integers or floats; refuse complex numbers."""
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        fix = "compare real and imaginary parts, or magnitudes."
        raise DtypeError(f"a real {name}", got=describe(array), fix=fix, where=where)
    return array


def widen(*arrays: jax.Array) -> tuple[tuple[jax.Array, ...], Any]:
    """Cast to the dtype the arithmetic runs in (float32 at least); also return the dtype of the result.

    The result has the promoted dtype of the floating arrays; integers and booleans follow them.
    """
    dtype = jnp.result_type(*[a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating)])
    wide = jnp.promote_types(dtype, jnp.float32)
    return tuple(a.astype(wide) for a in arrays), dtype


def same_shape(where: str, **arrays: jax.Array) -> None:
    """Refuse arrays whose shapes differ: a loss never broadcasts one argument against another."""
    names, values = list(arrays), list(arrays.values())
    first = values[0]
    for name, value in zip(names[1:], values[1:], strict=True):
        if value.shape == first.shape:
            continue
        if value.size == first.size:
            fix = f"reshape one of them; both have {value.size} elements: {name}.reshape({first.shape})."
        else:
            fix = f"losses do not broadcast; make {name} the shape {first.shape}."
        raise ShapeError(
            f"{names[0]} and {name} of one shape",
            got=f"{describe(first)} and {describe(value)}",
            fix=fix,
            where=where,
        )


def matched(
    prediction: ArrayLike, target: ArrayLike, where: str, *, names: tuple[str, str] = ("prediction", "target")
) -> tuple[jax.Array, jax.Array, Any]:
    """Return prediction and target of one shape in the wide dtype, and the dtype of the result."""
    p, t = floating(prediction, names[0], where), real(target, names[1], where)
    same_shape(where, **{names[0]: p, names[1]: t})
    (p, t), dtype = widen(p, t)
    return p, t, dtype


def traced(x: object) -> bool:
    """Whether ``x`` is a value that JAX is tracing, which cannot be looked at."""
    return isinstance(x, Tracer)


def concrete(x: ArrayLike) -> np.ndarray | None:
    """Return the values of ``x`` where they are known, None inside a trace or on other hosts."""
    if traced(x) or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return None
    return np.asarray(x)


def check_values(x: ArrayLike, ok: Any, expected: str, *, where: str, fix: str) -> None:
    """Refuse ``x`` where its values are known and ``ok(values)`` is false somewhere (NaN passes)."""
    values = concrete(x)
    if values is None:
        return
    bad = values[~(ok(values) | np.isnan(values))] if values.dtype.kind not in "biu" else values[~ok(values)]
    if bad.size:
        raise RangeError(expected, got=f"{describe(values)} with {bad.flat[0]}", fix=fix, where=where)


def check_option(name: str, value: Any, ok: Any, interval: str, where: str) -> None:
    """Refuse a keyword whose value lies outside its interval; callers let a traced value pass."""
    if not ok:
        raise RangeError(f"{name} {interval}", got=describe(value), fix=f"choose {name} {interval}.", where=where)


def above_zero(name: str, value: Any, where: str) -> None:
    """Refuse an option that is not above zero."""
    check_option(name, value, traced(value) or value > 0, "above 0", where)


def not_negative(name: str, value: Any, where: str) -> None:
    """Refuse an option below zero."""
    check_option(name, value, traced(value) or value >= 0, "of at least 0", where)


def in_unit(name: str, value: Any, where: str) -> None:
    """Refuse an option outside 0 … 1."""
    check_option(name, value, traced(value) or 0 <= value <= 1, "within [0, 1]", where)


def example_weight(weight: ArrayLike, shape: tuple[int, ...], dtype: Any, where: str) -> jax.Array:
    """Return the weights, lined up with the leading axes of ``shape`` and spread over the rest."""
    w = real(weight, "weight", where)
    if w.shape != shape[: w.ndim]:
        raise ShapeError(
            f"weight of the loss's leading axes, a beginning of {shape}",
            got=describe(w),
            fix="give one weight per example, or one per element of the loss.",
            where=where,
        )
    return jnp.broadcast_to(w.astype(dtype).reshape(w.shape + (1,) * (len(shape) - w.ndim)), shape)


def reduced(
    loss: jax.Array,
    dtype: Any,
    reduction: Reduction,
    weight: ArrayLike | None,
    where: str,
    *,
    norm: jax.Array | None = None,
) -> jax.Array:
    """Weight and reduce a loss: mean is Σ weight·loss / Σ weight·norm, and 0 where nothing counts.

    ``norm`` is what one element adds to the denominator before ``weight`` (1 unless given): class
    weights of the targets, 0 at ignored places.
    """
    if reduction not in ("mean", "sum", "none"):
        fix = 'choose reduction="mean", "sum" or "none".'
        raise RangeError('reduction "mean", "sum" or "none"', got=describe(reduction), fix=fix, where=where)
    if weight is not None:
        w = example_weight(weight, loss.shape, loss.dtype, where)
        loss = loss * w
        norm = w if norm is None else norm * w
    if reduction == "none":
        return loss.astype(dtype)
    if reduction == "sum":
        return jnp.sum(loss).astype(dtype)
    if loss.size == 0:
        fix = 'skip the empty batch, or use reduction="sum".'
        raise ShapeError("at least one element to take a mean over", got=describe(loss), fix=fix, where=where)
    if norm is None:
        return (jnp.sum(loss) / loss.size).astype(dtype)
    total, count = _sums(loss, norm)
    return (total / jnp.where(count == 0, 1, count)).astype(dtype)


def _sums(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both sums, of arrays of one shape in one operation: each costs as much as a small model's layer."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return jnp.sum(a), jnp.sum(b)
    both = jnp.sum(jnp.stack([a, b]), axis=tuple(range(1, a.ndim + 1)))
    return both[0], both[1]
