"""Normalisations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, wide
from phlox.interchange.onnx_reading._layout import laid, last, ordered, plain
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.nn import functional as F


def _column(x: Any, rank: int) -> Any:
    """One number for each channel, beside the axes of space."""
    return constant(x).reshape(-1, *[1] * (rank - 2))


def _standard(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    mean = jnp.mean(x, axes, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + np.asarray(eps, x.dtype))


@OPERATORS.on("BatchNormalization", any_order=True)
def _batch_norm(call: Call, x: Any, *numbers: Any) -> Any:
    """By the statistics of the file; channels last."""
    scale, bias, mean, var = (constant(plain(a)) for a in numbers)
    if not call.get("spatial", 1):
        raise call.refusal("statistics for each channel", "spatial=0", "convert the file to version 9 or later")
    if call.get("training_mode", 0) if call.version >= 14 else call.wants(1):
        return _batch_norm_training(call, constant(plain(x)), scale, bias, mean, var)
    order = last(x.ndim) if x.ndim > 1 else (0,)
    array = constant(ordered(x, order))
    flat = array if x.ndim > 1 else array[:, None]
    return laid(F.batch_norm(flat, mean, var, scale, bias, eps=call.get("epsilon", 1e-5)).reshape(array.shape), order)


def _batch_norm_training(call: Call, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    axes = (0, *range(2, x.ndim))
    now, spread = jnp.mean(x, axes), jnp.var(x, axes)
    keep = np.asarray(call.get("momentum", 0.9), x.dtype)
    y = _standard(x, axes, call.get("epsilon", 1e-5)) * _column(scale, x.ndim) + _column(bias, x.ndim)
    return y, mean * keep + now * (1 - keep), var * keep + spread * (1 - keep)


@OPERATORS.on("InstanceNormalization", any_order=True)
def _instance_norm(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    return _grouped(call, x, x.shape[1], scale, bias)


def _grouped(call: Call, x: Any, groups: int, scale: Any, bias: Any) -> Any:
    """Each example over space and over so many parts of its channels."""
    array, scale, bias = constant(ordered(x, last(x.ndim))), constant(plain(scale)), constant(plain(bias))
    y = F.group_norm(array, groups, scale, bias, eps=call.get("epsilon", 1e-5))
    return laid(y, last(x.ndim))


@OPERATORS.on("GroupNormalization", any_order=True)
def _group_norm(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    """Scales are for groups before version 21, for channels since."""
    groups = call["num_groups"]
    if call.version < 21:
        scale, bias = (jnp.repeat(plain(a), x.shape[1] // groups) for a in (scale, bias))
    return _grouped(call, x, groups, scale, bias)


@OPERATORS.on("LayerNormalization")
def _layer_norm(call: Call, x: Any, scale: Any, bias: Any = None) -> Any:
    """Over the last axes; by Phlox's own form where nobody reads the statistics."""
    sizes = x.shape[call.axis(call.get("axis", -1), x.ndim) :]
    fits = all(a is None or np.shape(a) == sizes for a in (scale, bias))
    if not fits or call.wants(1) or call.wants(2):
        return layer_norm(call, x, scale, bias)
    x, scale, bias = (a if a is None else constant(a) for a in (x, scale, bias))
    return F.layer_norm(x, sizes, scale, bias, eps=call.get("epsilon", 1e-5))


def layer_norm(call: Call, x: Any, scale: Any, bias: Any = None) -> tuple[Any, Any, Any]:
    """The result, the mean and what it was multiplied with; in float32 for narrow numbers."""
    axes = tuple(range(call.axis(call.get("axis", -1), x.ndim), x.ndim))
    full = wide(constant(x))
    mean = jnp.mean(full, axes, keepdims=True)
    var = jnp.mean(jnp.square(full - mean), axes, keepdims=True)
    root = jax.lax.rsqrt(var + np.asarray(call.get("epsilon", 1e-5), full.dtype))
    y = ((full - mean) * root).astype(x.dtype) * scale
    return (y if bias is None else y + bias), mean, root


@OPERATORS.on("RMSNormalization")
def rms_norm(call: Call, x: Any, scale: Any) -> Any:
    """By the root of the mean square alone."""
    axes = tuple(range(call.axis(call.get("axis", -1), x.ndim), x.ndim))
    full = wide(constant(x))
    square = jnp.mean(jnp.square(full), axes, keepdims=True)
    root = jax.lax.rsqrt(square + np.asarray(call.get("epsilon", 1e-5), full.dtype))
    return (full * root).astype(x.dtype) * scale


@OPERATORS.on("LpNormalization")
def _lp_norm(call: Call, x: Any) -> Any:
    axis, p = call.get("axis", -1), call.get("p", 2)
    x = constant(x)
    size = jnp.sum(jnp.abs(x) ** p, axis, keepdims=True) ** np.asarray(1 / p, x.dtype)
    return jnp.where(size == 0, np.zeros((), x.dtype), x / jnp.where(size == 0, np.ones((), x.dtype), size))


@OPERATORS.on("MeanVarianceNormalization")
def _mean_variance(call: Call, x: Any) -> Any:
    axes = tuple(call.get("axes") or [0, 2, 3])
    x = constant(x)
    return (x - jnp.mean(x, axes, keepdims=True)) / (jnp.std(x, axes, keepdims=True) + np.asarray(1e-9, x.dtype))


@OPERATORS.on("LRN")
def _lrn(call: Call, x: Any) -> Any:
    """By the squares of neighbouring channels."""
    size = call["size"]
    before = (size - 1) // 2
    x = constant(x)
    widths = [(0, 0), (before, size - 1 - before)] + [(0, 0)] * (x.ndim - 2)
    window = (1, size, *[1] * (x.ndim - 2))
    total = jax.lax.reduce_window(x * x, np.zeros((), x.dtype), jax.lax.add, window, (1,) * x.ndim, widths)
    alpha, beta, bias = (
        np.asarray(call.get(n, d), x.dtype) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return x / (bias + alpha / np.asarray(size, x.dtype) * total) ** beta
