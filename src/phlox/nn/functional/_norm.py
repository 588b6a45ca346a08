"""Normalisation of features: batch, layer, group, instance and root mean square.

Statistics are float32 at least. The variance is the corrected two-pass one (Chan, Golub & LeVeque,
"Algorithms for computing the sample variance", 1983): deviations from a first mean are averaged and
squared in one pass, so that a mean of 1e4 over a million values costs no digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.nn.functional._bounds import rectified
from phlox.nn.functional._moments import centre
from phlox.nn.functional._numeric import (
    axes_of,
    beside,
    in_range,
    min_rank,
    real,
    result_dtype,
    vector,
    vector_or_none,
    widen,
)
from phlox.nn.functional.kernels._layer_norm import layer_norm_kernel
from phlox.nn.functional.kernels._norm import batch_norm_kernel

__all__ = [
    "batch_norm",
    "batch_norm_train",
    "group_norm",
    "instance_norm",
    "instance_norm_train",
    "layer_norm",
    "moments",
    "rms_norm",
]


@answering
def moments(
    x: ArrayLike, axis: int | Sequence[int], *, keepdims: bool = False, axis_name: str | None = None
) -> tuple[Array, Array]:
    """Mean and biased variance along ``axis``: ``m = sum(x) / n``, ``v = sum((x - m)**2) / n``.

    Shapes:
        x: any, real; m, v: x without ``axis`` (of size 1 with ``keepdims``), float32 at least.

    Arguments:
        axis: the axis (or axes) to average.
        keepdims: keep the averaged axes with size 1.
        axis_name: also average over this mapped axis (``vmap``, ``shard_map``), equal parts each.

    Raises:
        ShapeError: no such axis.

    >>> [m.item() for m in moments(jnp.array([1.0, 3.0]), 0)]
    [2.0, 1.0]

    Source: Chan, Golub & LeVeque, "Algorithms for computing the sample variance" (1983).
    """
    array = widen(real(x, "moments"))
    axes = axes_of("moments", array, axis)
    mean, var, _ = centre(array, axes, axis_name)
    return (mean, var) if keepdims else (jnp.squeeze(mean, axes), jnp.squeeze(var, axes))


@answering
def batch_norm_train(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis_name: str | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise each channel by the batch's own statistics: ``y = (x - m) / sqrt(v + eps) * scale + bias``.

    m and v are the mean and the biased variance over all axes but the last.

    Shapes:
        x: (batch, *space, channels), real; scale, bias: (channels,) or None;
        returns y: as x, the batch mean (channels,), the unbiased variance (channels,), for the running statistics.

    Arguments:
        eps: added to the variance, at least 0.
        axis_name: take the statistics over this mapped axis too (synchronised batch norm).

    Raises:
        ShapeError: fewer than two axes, a parameter that is not (channels,), one value per channel only.
        RangeError: ``eps`` below 0.

    >>> y, mean, var = batch_norm_train(jnp.array([[1.0], [3.0]]), eps=0.0)
    >>> y.ravel().tolist(), mean.tolist(), var.tolist()
    ([-1.0, 1.0], [2.0], [2.0])

    Source: Ioffe & Szegedy, "Batch normalization" (arXiv:1502.03167).
    """
    return normalise_batch(x, scale, bias, eps, axis_name)


def normalise_batch(
    x: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    eps: float,
    axis_name: str | None = None,
    relu: bool = False,
) -> tuple[Array, Array, Array]:
    """``batch_norm_train``, with ReLU in the same pass if asked."""
    name = "batch_norm_train"
    array, scale, bias = _prepare(name, x, scale, bias, eps, 2, "an input of shape (batch, ..., channels)")
    axes = tuple(range(array.ndim - 1))
    parts = 1 if axis_name is None else lax.axis_size(axis_name)
    count = parts * math.prod(array.shape[:-1])
    if count < 2:
        fix = "train on more than one example, or freeze the layer so that it uses its running statistics"
        raise ShapeError("more than one value per channel", got=describe(array), fix=fix, where=name)
    found = None if axis_name else batch_norm_kernel(array, scale, bias, eps, relu)
    if found is None:
        mean, var, centred = centre(widen(array), axes, axis_name)
        y = _affine(centred * lax.rsqrt(var + eps), scale, bias, array)
        found = rectified(y) if relu else y, jnp.squeeze(mean, axes), jnp.squeeze(var, axes)
    y, mean, var = found
    return y, mean, var * (count / (count - 1))


@answering
def batch_norm(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> Array:
    """Normalise each channel by given statistics: ``y = (x - mean) / sqrt(var + eps) * scale + bias``.

    Shapes:
        x: (batch, *space, channels), real; mean, var: (channels,); scale, bias: (channels,) or None; y: as x.

    Arguments:
        eps: added to the variance, at least 0.

    Raises:
        ShapeError: fewer than two axes, or a parameter that is not (channels,). RangeError: ``eps`` below 0.

    >>> batch_norm(jnp.array([[5.0]]), jnp.array([1.0]), jnp.array([4.0]), eps=0.0).tolist()
    [[2.0]]

    Source: Ioffe & Szegedy, "Batch normalization" (arXiv:1502.03167), inference.
    """
    array, scale, bias = _prepare("batch_norm", x, scale, bias, eps, 2, "an input of shape (batch, ..., channels)")
    channels = array.shape[-1]
    centre, spread = vector("batch_norm", "mean", mean, channels), vector("batch_norm", "var", var, channels)
    centre, spread = (beside(widen(v), array.ndim) for v in (centre, spread))
    return _affine((widen(array) - centre) * lax.rsqrt(spread + eps), scale, bias, array)


@answering
def layer_norm(
    x: ArrayLike,
    size: int | Sequence[int],
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> Array:
    """Normalise each example over its trailing axes: ``y = (x - m) / sqrt(v + eps) * scale + bias``.

    m and v are the mean and the biased variance over the axes of ``size``.

    Shapes:
        x: (..., *size), real; scale, bias: ``size`` or None; y: as x.

    Arguments:
        size: features, or the tuple of trailing sizes to normalise over.
        eps: added to the variance, at least 0.

    Raises:
        ShapeError: an input that does not end in ``size``, or a parameter of another shape.
        RangeError: ``eps`` below 0.

    >>> layer_norm(jnp.array([[1.0, 3.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0]]

    Source: Ba et al., "Layer normalization" (arXiv:1607.06450).
    """
    array, shape = _trailing("layer_norm", x, size, eps)
    scale, bias = _shaped("layer_norm", "scale", scale, shape), _shaped("layer_norm", "bias", bias, shape)
    y = layer_norm_kernel(array, scale, bias, eps) if len(shape) == 1 else None
    if y is not None:
        return y
    axes = tuple(range(array.ndim - len(shape), array.ndim))
    _, var, centred = centre(widen(array), axes)
    return _affine(centred * lax.rsqrt(var + eps), scale, bias, array)


@answering
def rms_norm(x: ArrayLike, size: int | Sequence[int], scale: ArrayLike | None = None, *, eps: float = 1e-6) -> Array:
    """Divide each example by its root mean square: ``y = x / sqrt(mean(x**2) + eps) * scale``.

    Shapes:
        x: (..., *size), real; scale: ``size`` or None; y: as x.

    Arguments:
        size: features, or the tuple of trailing sizes to average over.
        eps: added to the mean square, at least 0.

    Raises:
        ShapeError: an input that does not end in ``size``, or a scale of another shape. RangeError: ``eps`` below 0.

    >>> rms_norm(jnp.array([[3.0, 3.0]]), 2, eps=0.0).tolist()
    [[1.0, 1.0]]

    Source: Zhang & Sennrich, "Root mean square layer normalization" (arXiv:1910.07467).
    """
    array, shape = _trailing("rms_norm", x, size, eps)
    wide = widen(array)
    axes = tuple(range(array.ndim - len(shape), array.ndim))
    power = jnp.mean(jnp.square(wide), axes, keepdims=True)
    return _affine(wide * lax.rsqrt(power + eps), _shaped("rms_norm", "scale", scale, shape), None, array)


@answering
def group_norm(
    x: ArrayLike, groups: int, scale: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> Array:
    """Normalise each example over groups of channels: ``y = (x - m) / sqrt(v + eps) * scale + bias``.

    m and v are taken over all positions and the channels of one group (consecutive channels).

    Shapes:
        x: (batch, *space, channels), real; scale, bias: (channels,) or None; y: as x.

    Arguments:
        groups: how many groups, a divisor of channels.
        eps: added to the variance, at least 0.

    Raises:
        ShapeError: fewer than two axes, channels that do not split, or a parameter that is not (channels,).
        RangeError: ``eps`` below 0 or ``groups`` below 1.

    >>> group_norm(jnp.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]

    Source: Wu & He, "Group normalization" (arXiv:1803.08494).
    """
    array, scale, bias = _prepare("group_norm", x, scale, bias, eps, 2, "an input of shape (batch, ..., channels)")
    in_range("group_norm", "groups", groups, 1, math.inf)
    channels = array.shape[-1]
    if channels % groups:
        fix = f"choose a number of groups that divides {channels}"
        raise ShapeError(f"channels divisible by {groups}", got=describe(array), fix=fix, where="group_norm")
    split = widen(array).reshape(*array.shape[:-1], groups, channels // groups)
    _, var, centred = centre(split, (*range(1, array.ndim - 1), array.ndim))
    return _affine((centred * lax.rsqrt(var + eps)).reshape(array.shape), scale, bias, array)


@answering
def instance_norm(
    x: ArrayLike, scale: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> Array:
    """Normalise each channel of each example over space: ``y = (x - m) / sqrt(v + eps) * scale + bias``.

    Shapes:
        x: (batch, *space, channels), real; scale, bias: (channels,) or None; y: as x.

    Arguments:
        eps: added to the variance, at least 0.

    Raises:
        ShapeError: no space axis, one position only, or a parameter that is not (channels,).
        RangeError: ``eps`` below 0.

    >>> instance_norm(jnp.array([[[1.0], [3.0]]]), eps=0.0).ravel().tolist()
    [-1.0, 1.0]

    Source: Ulyanov et al., "Instance normalization" (arXiv:1607.08022).
    """
    return _instance("instance_norm", x, scale, bias, eps)[0]


@answering
def instance_norm_train(
    x: ArrayLike, scale: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """``instance_norm``, with the statistics that a running average takes.

    Shapes:
        as ``instance_norm``; returns y, and the mean and the unbiased variance of each channel, both averaged
        over the batch: (channels,). Inference with running statistics is ``batch_norm``.

    Arguments and errors: as ``instance_norm``.

    >>> _, mean, var = instance_norm_train(jnp.array([[[1.0], [3.0]]]))
    >>> mean.tolist(), var.tolist()
    ([2.0], [2.0])

    Source: Ulyanov et al., "Instance normalization" (arXiv:1607.08022).
    """
    y, mean, var = _instance("instance_norm_train", x, scale, bias, eps)
    count, space = math.prod(y.shape[1:-1]), tuple(range(1, y.ndim - 1))
    mean, var = jnp.squeeze(mean, space), jnp.squeeze(var, space)
    return y, jnp.mean(mean, 0), jnp.mean(var, 0) * (count / (count - 1))


def _instance(
    name: str, x: ArrayLike, scale: ArrayLike | None, bias: ArrayLike | None, eps: float
) -> tuple[Array, Array, Array]:
    array, scale, bias = _prepare(name, x, scale, bias, eps, 3, "an input of shape (batch, *space, channels)")
    if math.prod(array.shape[1:-1]) < 2:
        fix = "pass more than one position, or use layer_norm"
        raise ShapeError("more than one position in space", got=describe(array), fix=fix, where=name)
    mean, var, centred = centre(widen(array), tuple(range(1, array.ndim - 1)))
    return _affine(centred * lax.rsqrt(var + eps), scale, bias, array), mean, var


def _affine(y: Array, scale: Array | None, bias: Array | None, x: Array) -> Array:
    y = y if scale is None else y * beside(widen(scale), y.ndim)
    y = y if bias is None else y + beside(widen(bias), y.ndim)
    return y.astype(result_dtype(x, scale, bias))


def _prepare(
    name: str, x: ArrayLike, scale: ArrayLike | None, bias: ArrayLike | None, eps: float, rank: int, layout: str
) -> tuple[Array, Array | None, Array | None]:
    array = real(x, name)
    in_range(name, "eps", eps, 0.0, math.inf)
    min_rank(name, array, rank, layout)
    channels = array.shape[-1]
    scale, bias = vector_or_none(name, "scale", scale, channels), vector_or_none(name, "bias", bias, channels)
    return array, scale, bias


def _trailing(name: str, x: ArrayLike, size: int | Sequence[int], eps: float) -> tuple[Array, tuple[int, ...]]:
    array = real(x, name)
    in_range(name, "eps", eps, 0.0, math.inf)
    shape = (size,) if isinstance(size, int) else tuple(size)
    if not shape or array.shape[-len(shape) :] != shape:
        ending = ", ".join(["...", *map(str, shape)])
        fix = f"give the input trailing axes of size {list(shape)}, or normalise over its own"
        raise ShapeError(f"an input of shape ({ending})", got=describe(array), fix=fix, where=name)
    return array, shape


def _shaped(name: str, what: str, value: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
    if value is None:
        return None
    array = real(value, name)
    if array.shape != shape:
        fix = f"pass one number of {what} for each feature"
        raise ShapeError(f"{what} of shape {shape}", got=describe(array), fix=fix, where=name)
    return array
