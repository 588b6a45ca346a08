"""Numbers in 8 bits and fewer, and what computes with them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, library, wide
from phlox.interchange.onnx_reading.operators._convolutions import convolved
from phlox.interchange.onnx_reading.operators._table import OPERATORS


def _spread(call: Call, x: Any, scale: Any, rank: int, shape: Any) -> Any:
    """A scale or zero beside the array: one for all, for each place of an axis, or for each block."""
    if (
        scale is None
        or np.ndim(scale) == 0
        or (np.ndim(scale) == 1 and scale.shape[0] == 1 and not call.get("block_size", 0))
    ):
        return scale if scale is None else scale.reshape(())
    axis = call.axis(call.get("axis", 1), rank)
    block = call.get("block_size", 0)
    if block:
        return library(scale).repeat(scale, block, axis)[tuple(slice(n) for n in shape)]
    return scale.reshape([-1 if a == axis else 1 for a in range(rank)])


def quantised(x: Any, scale: Any, zero: Any, dtype: Any) -> Any:
    """``round(x / scale) + zero``, kept within the dtype."""
    y = x / scale
    if not jnp.issubdtype(dtype, jnp.integer):
        end = float(jnp.finfo(dtype).max)
        return jnp.clip(wide(y), -end, end).astype(dtype)
    bounds = jnp.iinfo(dtype)
    whole = jnp.round(wide(y)) + (0 if zero is None else zero.astype(np.float32))
    return jnp.clip(whole, float(bounds.min), float(bounds.max)).astype(jnp.int32).astype(dtype)


def dequantised(x: Any, scale: Any, zero: Any) -> Any:
    """``(x - zero) scale``."""
    if not jnp.issubdtype(x.dtype, jnp.integer):
        return x.astype(scale.dtype) * scale
    whole = x.astype(jnp.int32) - (0 if zero is None else zero.astype(jnp.int32))
    return whole.astype(scale.dtype) * scale


def _target(call: Call, zero: Any) -> Any:
    if zero is not None:
        return zero.dtype
    import onnx

    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(call.get("output_dtype", 0) or onnx.TensorProto.UINT8))


@OPERATORS.on("QuantizeLinear", since=10)
@OPERATORS.on("QuantizeLinear", domain="com.microsoft")
def _quantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    x, scale = constant(x), constant(scale)
    s, z = (_spread(call, x, a, x.ndim, x.shape) for a in (scale, zero))
    return quantised(x, s, None if z is None else constant(z), _target(call, zero))


@OPERATORS.on("DequantizeLinear", since=10)
@OPERATORS.on("DequantizeLinear", domain="com.microsoft")
def _dequantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    x, scale = constant(x), constant(scale)
    s, z = (_spread(call, x, a, x.ndim, x.shape) for a in (scale, zero))
    y = dequantised(x, s, None if z is None else constant(z))
    return y if not call.get("output_dtype", 0) else y.astype(_target(call, None))


@OPERATORS.on("DynamicQuantizeLinear", since=11)
def dynamic(call: Call, x: Any) -> Any:
    """By the smallest and the largest number of the array, zero among them."""
    x = constant(x)
    low, high = jnp.minimum(x.min(), 0), jnp.maximum(x.max(), 0)
    scale = (high - low) / 255
    scale = jnp.where(scale == 0, np.ones((), x.dtype), scale)
    zero = jnp.clip(jnp.round(-low / scale), 0, 255)
    y = jnp.clip(jnp.round(x / scale) + zero, 0, 255)
    return y.astype(jnp.uint8), scale, zero.astype(jnp.uint8)


def _whole(x: Any, zero: Any, beside: Any = None) -> Any:
    zero = constant(zero).astype(jnp.int32)
    return constant(x).astype(jnp.int32) - (zero if beside is None or not zero.ndim else zero.reshape(beside))


@OPERATORS.on("QLinearMatMul", since=10)
def _q_matmul(call: Call, *inputs: Any) -> Any:
    """Each array with its scale and its zero; so the result."""
    a, sa, za, b, sb, zb, sy, zy = inputs

    def rows(s: Any, rank: int) -> Any:
        return constant(s)[:, None] if np.ndim(s) == 1 and s.shape[0] > 1 and rank > 1 else constant(s)

    total = jnp.matmul(_whole(a, rows(za, a.ndim)), _whole(b, zb))
    factor = rows(sa, a.ndim).astype(jnp.float32) * constant(sb).astype(jnp.float32) / constant(sy).astype(jnp.float32)
    return _fitted(total.astype(jnp.float32) * factor, zy)


def _fitted(y: Any, zero: Any) -> Any:
    bounds = jnp.iinfo(zero.dtype)
    y = jnp.round(y) + constant(zero).astype(jnp.float32)
    return jnp.clip(y, bounds.min, bounds.max).astype(jnp.int32).astype(zero.dtype)


@OPERATORS.on("QLinearConv", since=10)
def _q_conv(call: Call, *inputs: Any) -> Any:
    """Each array with its scale and its zero; so the result; the bias is in whole numbers."""
    x, sx, zx, w, sw, zw, sy, zy, bias = call.filled(inputs, 9)
    column = [-1] + [1] * (w.ndim - 2)
    total = convolved(call, _whole(x, zx), _whole(w, zw, [-1] + [1] * (w.ndim - 1)))
    total = total if bias is None else total + constant(bias).reshape(column)
    scale = constant(sx) * constant(sw) / constant(sy)
    return _fitted(total.astype(jnp.float32) * (scale.reshape(column) if scale.ndim else scale), zy)
