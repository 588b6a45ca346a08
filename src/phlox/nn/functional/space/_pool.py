"""Pooling over sliding windows of 1 to 3 spatial axes, channels last."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.core import DtypeError, RangeError, answering, describe
from phlox.nn.functional._bounds import largest
from phlox.nn.functional._numeric import copied
from phlox.nn.functional.kernels._kernels import whole_wanted
from phlox.nn.functional.kernels._pool import max_pool_kernel
from phlox.nn.functional.space._padding import pad_spatial
from phlox.nn.functional.space._window import Padding, Sizes, Window, known, plan_window, spatial_sizes

__all__ = ["global_max_pool", "global_mean_pool", "lp_pool", "max_pool", "mean_pool"]

# Up to this many positions along an axis a window is reduced by a chain of elementwise operations, which XLA fuses;
# its own windowed reductions are slower, and their gradients (select-and-scatter) 10 to 30 times so on a CPU.
_LONGEST_CHAIN = 16


@answering
def max_pool(
    x: jax.Array,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """Take the largest element of every window; the gradient goes to the first of equal ones, in row-major order.

    Formula: ``y[n, p, c] = max_k x[n, stride·p + dilation·k - low, c]``, padding never being the largest.

    Shapes: ``x`` (batch, *space, channels) → (batch, *space', channels), with
    ``space' = (space + low + high - dilation·(window - 1) - 1) // stride + 1``.

    Arguments:
        window: elements; one int, or one per spatial axis.
        stride: elements from window to window; by default the window, so that they do not overlap.
        padding: as in :func:`conv`, below the window's extent.
        dilation: elements from one position of the window to the next.
        ceil_mode: round the number of windows up, the last one reaching over the edge, provided that it starts inside.

    Raises:
        ShapeError: ``x`` has not 1 to 3 spatial axes, or the window exceeds the padded input.
        RangeError: a window, stride or dilation below 1; padding below 0 or not below the window.
        DtypeError: ``x`` is complex.

    >>> max_pool(jnp.array([1.0, 3.0, 2.0, 0.0, 5.0]).reshape(1, 5, 1), 2).ravel().tolist()
    [3.0, 2.0]

    Source: Riesenhuber & Poggio 1999, Hierarchical models of object recognition in cortex.
    """
    x = ordered(x, "max_pool")
    plan = plan_pool(x, window, stride, padding, dilation, ceil_mode, "max_pool")
    y = _overlapping(x, plan)
    return _max_over(x, plan) if y is None else y


@answering
def mean_pool(
    x: jax.Array,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: float | None = None,
) -> jax.Array:
    """Average every window.

    Formula: ``y[n, p, c] = 1/|window| Σ_k x[n, stride·p + k - low, c]``, summed in float32 at least.

    Shapes: ``x`` (batch, *space, channels) → (batch, *space', channels), with
    ``space' = (space + low + high - window) // stride + 1``.

    Arguments:
        window, stride, padding, ceil_mode: as in :func:`max_pool`.
        count_include_pad: whether the zeros of the padding count in the average. What ``ceil_mode`` adds never does.
        divisor_override: divide every sum by this number instead, not 0.

    Raises:
        ShapeError: ``x`` has not 1 to 3 spatial axes, or the window exceeds the padded input.
        RangeError: a window or stride below 1; padding below 0 or not below the window; a divisor of 0.

    >>> mean_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2).ravel().tolist()
    [2.0, 1.0]

    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition.
    """
    x = jnp.asarray(x)
    plan = plan_pool(x, window, stride, padding, 1, ceil_mode, "mean_pool")
    given = plan_window(x, window, stride, padding, 1, "mean_pool").padding
    dtype = _float_dtype(x.dtype)
    total = _sum_over(x.astype(jnp.promote_types(dtype, jnp.float32)), plan)
    if divisor_override is not None:
        return (total / _divisor(divisor_override)).astype(dtype)
    for axis in range(plan.rank):
        total = total / _count(plan, given[axis], axis, count_include_pad, total)
    return total.astype(dtype)


def _divisor(number: float) -> float:
    if isinstance(number, bool) or number == 0:
        fix = "leave it out to divide by the window's elements"
        raise RangeError("a divisor_override that is not 0", got=repr(number), fix=fix, where="mean_pool")
    return number


@answering
def lp_pool(
    x: jax.Array,
    p: float,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> jax.Array:
    """Take the p-norm of every window; ``p=1`` sums magnitudes, ``p=inf`` is the largest one.

    Formula: ``y = (Σ_k |x_k|^p)^(1/p)``, with a gradient of 0 where the norm is 0. (PyTorch leaves out the absolute
    value, which differs for negative ``x`` unless ``p`` is even, and has gradient NaN at 0.)

    Shapes: as :func:`mean_pool`.

    Arguments:
        p: the norm's exponent, at least 1.
        window, stride, padding, ceil_mode: as in :func:`mean_pool`; padding adds zeros, and so does ``ceil_mode``.

    Raises:
        RangeError: ``p`` below 1, and as :func:`mean_pool`.
        ShapeError: as :func:`mean_pool`.

    >>> lp_pool(jnp.array([3.0, -4.0]).reshape(1, 2, 1), 2, 2).ravel().tolist()
    [5.0]

    Source: Sermanet et al. 2012, Convolutional neural networks applied to house numbers (arXiv:1204.3968).
    """
    x = jnp.asarray(x)
    if not p >= 1:
        raise RangeError("p of at least 1", got=repr(p), fix="use p=2 for the Euclidean norm", where="lp_pool")
    plan = plan_pool(x, window, stride, padding, 1, ceil_mode, "lp_pool")
    dtype = _float_dtype(x.dtype)
    size = jnp.abs(x.astype(jnp.promote_types(dtype, jnp.float32)))
    if math.isinf(p):
        return _max_over(size, plan).astype(dtype)
    total = _sum_over(size**p, plan)
    norm = jnp.where(total > 0, jnp.where(total > 0, total, 1) ** (1 / p), 0)
    return norm.astype(dtype)


@answering
def global_max_pool(x: jax.Array, *, keepdims: bool = True) -> jax.Array:
    """Take the largest element over all spatial axes; the gradient goes to the first of equal ones.

    Formula: ``y[n, c] = max_p x[n, p, c]``.

    Shapes: ``x`` (batch, *space, channels) → (batch, 1, …, channels), or (batch, channels) without ``keepdims``.

    Arguments:
        keepdims: keep every spatial axis, of size 1.

    Raises:
        ShapeError: ``x`` has not 1 to 3 spatial axes.
        DtypeError: ``x`` is complex.

    >>> global_max_pool(jnp.array([1.0, 3.0, 2.0]).reshape(1, 3, 1)).tolist()
    [[[3.0]]]

    Source: Oquab et al. 2015, Is object localization for free?
    """
    x = ordered(x, "global_max_pool")
    rank = len(spatial_sizes(x, "global_max_pool"))
    y = first_max(lax.collapse(x, 1, rank + 1), 1)
    return jnp.expand_dims(y, tuple(range(1, rank + 1))) if keepdims else y


@answering
def global_mean_pool(x: jax.Array, *, keepdims: bool = True) -> jax.Array:
    """Average over all spatial axes, in float32 at least.

    Formula: ``y[n, c] = mean_p x[n, p, c]``.

    Shapes: ``x`` (batch, *space, channels) → (batch, 1, …, channels), or (batch, channels) without ``keepdims``.

    Arguments:
        keepdims: keep every spatial axis, of size 1.

    Raises:
        ShapeError: ``x`` has not 1 to 3 spatial axes.

    >>> global_mean_pool(jnp.array([1.0, 3.0, 2.0]).reshape(1, 3, 1), keepdims=False).tolist()
    [[2.0]]

    Source: Lin et al. 2014, Network in network (arXiv:1312.4400).
    """
    x = jnp.asarray(x)
    axes = tuple(range(1, len(spatial_sizes(x, "global_mean_pool")) + 1))
    dtype = _float_dtype(x.dtype)
    return jnp.mean(x, axes, dtype=jnp.promote_types(dtype, jnp.float32), keepdims=keepdims).astype(dtype)


def ordered(x: Any, where: str) -> jax.Array:
    """``x`` as an array whose elements have an order."""
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise DtypeError("real numbers, which have an order", got=describe(x), fix="pool jnp.abs(x)", where=where)
    return x


def plan_pool(
    x: jax.Array,
    window: Sizes,
    stride: Sizes | None,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool,
    where: str,
) -> Window:
    """The window of a pool, with what ``ceil_mode`` adds at the high side included in its padding."""
    plan = plan_window(x, window, stride, padding, dilation, where)
    if any(max(pair) >= e for pair, e in zip(plan.padding, plan.span, strict=True) if all(map(known, pair))):
        raise RangeError(
            f"padding below the window's extent {plan.span}, so that no window lies outside the input",
            got=repr(padding),
            fix="pad less, or use a larger window",
            where=where,
        )
    if not ceil_mode:
        return plan
    pairs = []
    for n, e, s, (lo, hi) in zip(plan.inputs, plan.span, plan.stride, plan.padding, strict=True):
        outputs = -((e - n - lo - hi) // s) + 1
        outputs -= (outputs - 1) * s >= n + lo
        pairs.append((lo, hi + max(0, (outputs - 1) * s + e - n - lo - hi)))
    return dataclasses.replace(plan, padding=tuple(pairs))


def lowest(dtype: Any) -> Any:
    """The smallest value of a dtype, which loses every comparison."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return np.array(-np.inf, dtype)
    return np.array(False) if dtype == jnp.bool_ else np.array(jnp.iinfo(dtype).min, dtype)


def pad_lowest(x: jax.Array, window: Window) -> jax.Array:
    if not any(map(any, window.padding)):
        return x
    return lax.pad(x, lowest(x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in window.padding), (0, 0, 0)])


def beats(challenger: jax.Array, holder: jax.Array) -> jax.Array:
    """Where a later element replaces an earlier one as the largest: when greater, or NaN."""
    more = challenger > holder
    return more | (challenger != challenger) if jnp.issubdtype(challenger.dtype, jnp.inexact) else more


@functools.partial(jax.jit, static_argnames=("window",), inline=True)
def _max_over(x: jax.Array, window: Window) -> jax.Array:
    """The largest of each window, one axis after the other from the last, so that ties go to the row-major first."""
    if whole_wanted():
        return _windowed(x, window, lowest(x.dtype), lax.max)
    x = pad_lowest(x, window)
    window = window.inside()
    for axis in reversed(range(window.rank)):
        if window.size[axis] > _LONGEST_CHAIN:
            x = first_max(_windows(x, window, axis), axis + 2)
            continue
        best = window.along(x, axis, 0)
        for offset in range(1, window.size[axis]):
            other = window.along(x, axis, offset)
            best = jnp.where(beats(other, best), other, best)
        x = best
    return x


_overlapping = max_pool_kernel(_max_over)


def _windowed(x: jax.Array, window: Window, start: Any, combine: Any) -> jax.Array:
    """The windows reduced by JAX's own operation."""
    size, stride, dilation = ((1, *n, 1) for n in (window.size, window.stride, window.dilation))
    padding = [(0, 0), *window.padding, (0, 0)]
    return lax.reduce_window(x, start, combine, size, stride, padding, window_dilation=dilation)


def _windows(x: jax.Array, window: Window, axis: int) -> jax.Array:
    """The windows along one spatial axis as an axis of their own, after it."""
    size, stride = window.size[axis], window.stride[axis]
    if window.tiles:
        return x.reshape(*x.shape[: axis + 1], -1, size, *x.shape[axis + 2 :])
    starts = np.arange(window.outputs[axis]) * stride
    members = starts[:, None] + np.arange(size) * window.dilation[axis]
    return copied(functools.partial(jnp.take, indices=members, axis=axis + 1), x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def first_max(x: jax.Array, axis: int) -> jax.Array:
    """The largest element along an axis; all of the tangent is that of the first of equal ones."""
    return largest(x, axis)


@first_max.defjvp
def _(axis: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, Any]:
    (x,), (t,) = primals, tangents
    y = first_max(x, axis)
    if t.dtype == jax.dtypes.float0:
        return y, np.zeros(y.shape, jax.dtypes.float0)
    chosen = lax.broadcasted_iota(jnp.int32, x.shape, axis) == jnp.argmax(x, axis, keepdims=True)
    return y, jnp.sum(jnp.where(chosen, t, 0), axis)


def _float_dtype(dtype: Any) -> Any:
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.promote_types(dtype, jnp.float32)


@functools.partial(jax.jit, static_argnames=("window",), inline=True)
def _sum_over(x: jax.Array, window: Window) -> jax.Array:
    """The sum of each window, one axis after the other."""
    if whole_wanted():
        return _windowed(x, window, np.zeros((), x.dtype), lax.add)
    x = pad_spatial(x, window.padding, "zeros", "pool")
    window = window.inside()
    for axis in reversed(range(window.rank)):
        if window.size[axis] > _LONGEST_CHAIN:
            x = _long_sum(x, window, axis)
            continue
        total = window.along(x, axis, 0)
        for offset in range(1, window.size[axis]):
            total = total + window.along(x, axis, offset)
        x = total
    return x


def _long_sum(x: jax.Array, window: Window, axis: int) -> jax.Array:
    if window.tiles:
        return _windows(x, window, axis).sum(axis + 2)
    size, stride = [1] * x.ndim, [1] * x.ndim
    size[axis + 1], stride[axis + 1] = window.size[axis], window.stride[axis]
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, size, stride, "VALID")


def _count(plan: Window, given: tuple[int, int], axis: int, include_pad: bool, like: jax.Array) -> Any:
    """How many elements each window averages along one axis: one number where they agree."""
    (lo, hi), n, size = given, plan.inputs[axis], plan.size[axis]
    if plan.padding[axis] == given and (include_pad or not (lo or hi)):
        return size
    np_or_jnp: Any = np if known(n) else jnp
    starts = np_or_jnp.arange(plan.outputs[axis]) * plan.stride[axis] - lo
    first, last = (-lo, n + hi) if include_pad else (0, n)
    counts = np_or_jnp.minimum(starts + size, last) - np_or_jnp.maximum(starts, first)
    return jnp.asarray(counts, like.dtype).reshape(*(1,) * (axis + 1), -1, *(1,) * (plan.rank - axis))
