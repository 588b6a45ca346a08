"""Softmax and its relatives, with masks: shifted by the maximum, summed in float32 at least."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import DtypeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import axes_of, in_range, real, widen

__all__ = ["gumbel_softmax", "log_softmax", "logsumexp", "softmax", "softmin"]

Axis = int | tuple[int, ...]


@answering
def softmax(x: ArrayLike, axis: Axis = -1, *, where: ArrayLike | None = None) -> Array:
    """Turn scores into probabilities: ``y_i = exp(x_i) / sum_j exp(x_j)``, the sum along ``axis``.

    Masked entries get probability 0 and gradient 0; where a mask leaves nothing, all entries are 0.

    Shapes:
        x: any, real; where: boolean, broadcasts to x; y: as x.

    Arguments:
        axis: the axis (or axes) that sum to 1.
        where: True at the entries that take part.

    Raises:
        ShapeError: no such axis, or a mask that does not broadcast. DtypeError: a mask that is not boolean.

    >>> softmax(jnp.array([0.0, 0.0, 9.0]), where=jnp.array([True, True, False])).tolist()
    [0.5, 0.5, 0.0]

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs" (1990).
    """
    array = real(x, "softmax")
    axes = axes_of("softmax", array, axis)
    if where is None:
        return jax.nn.softmax(widen(array), axes).astype(array.dtype)
    kept, wide = _mask("softmax", where, array), widen(array)
    top = _top(wide, axes, kept)
    weights = jnp.where(kept, jnp.exp(jnp.where(kept, wide, top) - top), 0.0)
    total = jnp.sum(weights, axes, keepdims=True)
    return (weights / jnp.where(total == 0.0, 1.0, total)).astype(array.dtype)


@answering
def softmin(x: ArrayLike, axis: Axis = -1, *, where: ArrayLike | None = None) -> Array:
    """Turn costs into probabilities: ``y = softmax(-x)``.

    Shapes, arguments and errors: as ``softmax``.

    >>> softmin(jnp.array([1.0, 1.0])).tolist()
    [0.5, 0.5]

    Source: the definition.
    """
    return softmax(-real(x, "softmin"), axis, where=where)


@answering
def log_softmax(x: ArrayLike, axis: Axis = -1, *, where: ArrayLike | None = None) -> Array:
    """Logarithm of the softmax, without underflow: ``y_i = x_i - log(sum_j exp(x_j))``.

    Masked entries are minus infinity, and their gradient is 0.

    Shapes, arguments and errors: as ``softmax``.

    >>> [round(v, 4) for v in log_softmax(jnp.array([0.0, 0.0])).tolist()]
    [-0.6931, -0.6931]

    Source: the logarithm of the definition in ``softmax``.
    """
    array = real(x, "log_softmax")
    axes = axes_of("log_softmax", array, axis)
    if where is None:
        return jax.nn.log_softmax(widen(array), axes).astype(array.dtype)
    kept, wide = _mask("log_softmax", where, array), widen(array)
    top = _top(wide, axes, kept)
    shifted = jnp.where(kept, wide, top) - top
    total = jnp.sum(jnp.where(kept, jnp.exp(shifted), 0.0), axes, keepdims=True)
    return jnp.where(kept, shifted - jnp.log(jnp.where(total == 0.0, 1.0, total)), -jnp.inf).astype(array.dtype)


@answering
def logsumexp(x: ArrayLike, axis: Axis = -1, *, keepdims: bool = False, where: ArrayLike | None = None) -> Array:
    """Smooth maximum: ``y = log(sum_i exp(x_i))``, the sum along ``axis``; minus infinity where a mask leaves nothing.

    Shapes:
        x: any, real; where: boolean, broadcasts to x; y: x without ``axis`` (of size 1 with ``keepdims``).

    Arguments:
        axis: the axis (or axes) to sum along.
        keepdims: keep the summed axes with size 1.
        where: True at the entries that take part.

    Raises:
        ShapeError: no such axis, or a mask that does not broadcast. DtypeError: a mask that is not boolean.

    >>> round(logsumexp(jnp.array([1000.0, 1000.0])).item(), 3)
    1000.693

    Source: the definition, shifted by the maximum.
    """
    array = real(x, "logsumexp")
    axes = axes_of("logsumexp", array, axis)
    wide = widen(array)
    if where is None:
        return jax.nn.logsumexp(wide, axes, keepdims=keepdims).astype(array.dtype)
    kept = _mask("logsumexp", where, array)
    top = _top(wide, axes, kept)
    total = jnp.sum(jnp.where(kept, jnp.exp(jnp.where(kept, wide, top) - top), 0.0), axes, keepdims=True)
    empty = total == 0.0
    y = jnp.where(empty, -jnp.inf, top + jnp.log(jnp.where(empty, 1.0, total)))
    return (y if keepdims else jnp.squeeze(y, axes)).astype(array.dtype)


@answering
def gumbel_softmax(key: Array, logits: ArrayLike, tau: ArrayLike = 1.0, *, hard: bool = False, axis: int = -1) -> Array:
    """Draw a relaxed one-hot sample: ``y = softmax((logits + g) / tau)``, g standard Gumbel noise.

    Shapes:
        logits: any, real; y: as logits.

    Arguments:
        key: a JAX random key.
        tau: temperature, above 0; near 0 the draws are near one-hot.
        hard: return exact one-hot vectors, with the gradient of the soft ones (straight through).
        axis: the axis of the categories.

    Raises:
        RangeError: ``tau`` not above 0. ShapeError: no such axis.

    >>> y = gumbel_softmax(jax.random.key(0), jnp.zeros(3), hard=True)
    >>> sorted(y.tolist())
    [0.0, 0.0, 1.0]

    Source: Jang et al. (arXiv:1611.01144); Maddison et al. (arXiv:1611.00712).
    """
    in_range("gumbel_softmax", "tau", tau, 0.0, math.inf, open_low=True)
    array = real(logits, "gumbel_softmax")
    (axis,) = axes_of("gumbel_softmax", array, axis)
    wide = widen(array)
    soft = jax.nn.softmax((wide + jax.random.gumbel(key, wide.shape, wide.dtype)) / tau, axis)
    if hard:
        chosen = jax.nn.one_hot(jnp.argmax(soft, axis), array.shape[axis], axis=axis, dtype=soft.dtype)
        soft = chosen + (soft - jax.lax.stop_gradient(soft))
    return soft.astype(array.dtype)


def _mask(name: str, where: ArrayLike, x: Array) -> Array:
    kept = jnp.asarray(where)
    if kept.dtype != jnp.bool_:
        fix = "pass where=mask.astype(bool), True at what takes part"
        raise DtypeError("a boolean mask", got=describe(kept), fix=fix, where=name)
    try:
        fits = jnp.broadcast_shapes(kept.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        expected = f"a mask that broadcasts to {list(x.shape)}"
        raise ShapeError(expected, got=describe(kept), fix="give the mask the shape of x, or size 1", where=name)
    return jnp.broadcast_to(kept, x.shape)


def _top(x: Array, axes: tuple[int, ...], kept: Array) -> Array:
    """The largest kept value along ``axes``, a finite constant: what the exponents are shifted by."""
    top = jnp.max(jax.lax.stop_gradient(jnp.where(kept, x, -jnp.inf)), axes, keepdims=True, initial=-jnp.inf)
    return jnp.where(jnp.isfinite(top), top, 0.0)
