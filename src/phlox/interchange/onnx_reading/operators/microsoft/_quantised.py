"""Of com.microsoft: arithmetic between quantised arrays, and weights of a few bits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading._layout import plain
from phlox.interchange.onnx_reading.operators._quantised import dequantised, dynamic, quantised
from phlox.interchange.onnx_reading.operators._table import HERE_MICROSOFT, OPERATORS

_HERE = HERE_MICROSOFT


def _whole(x: Any, zero: Any) -> Any:
    return constant(x).astype(jnp.int32) - (0 if zero is None else constant(zero).astype(jnp.int32))


@OPERATORS.on("MatMulIntegerToFloat", domain=_HERE)
def _matmul_to_float(call: Call, *inputs: Any) -> Any:
    a, b, sa, sb, za, zb, bias = call.filled(inputs, 7)
    y = jnp.matmul(_whole(a, za), _whole(b, zb)).astype(jnp.float32) * sa * sb
    return y if bias is None else y + bias


@OPERATORS.on("DynamicQuantizeMatMul", domain=_HERE)
def _dynamic_matmul(call: Call, a: Any, b: Any, sb: Any, zb: Any = None, bias: Any = None) -> Any:
    whole, sa, za = dynamic(call, a)
    return _matmul_to_float(call, whole, b, sa, sb, za, zb, bias)


@OPERATORS.on("QGemm", domain=_HERE)
def _gemm(call: Call, *inputs: Any) -> Any:
    """The bias is in whole numbers, of which one is ``alpha`` times both scales; floats where no scale is given."""
    a, sa, za, b, sb, zb, c, sy, zy = call.filled(inputs, 9)
    a, b = _whole(a, za), _whole(b, zb)
    total = jnp.matmul(a.T if call.get("transA", 0) else a, b.T if call.get("transB", 0) else b)
    total = total if c is None else total + constant(c)
    y = total.astype(jnp.float32) * (constant(sa) * constant(sb) * np.float32(call.get("alpha", 1.0)))
    return y if sy is None else quantised(y, constant(sy), zy, zy.dtype)


def _between(function: Any) -> Any:
    """On floats between two quantised arrays: (x, scale, zero)… of inputs behind the output's scale and zero."""

    def operator(call: Call, *inputs: Any) -> Any:
        *parts, sy, zy = inputs
        xs = [dequantised(constant(x), constant(s), z) for x, s, z in zip(*[iter(parts)] * 3, strict=True)]
        return quantised(function(call, *xs), constant(sy), zy, zy.dtype)

    return operator


def _pooled(call: Call, x: Any) -> Any:
    if call.get("channels_last", 0):
        raise call.refusal("channels first", "channels_last=1", "quantise the model without layout transforms")
    operator = OPERATORS.find("", "AveragePool", call.version)
    assert operator is not None
    return plain(operator(call, x))


_FUNCTIONS = {
    "QLinearAdd": lambda call, a, b: a + b,
    "QLinearMul": lambda call, a, b: a * b,
    "QLinearSigmoid": lambda call, x: jax.nn.sigmoid(x),
    "QLinearLeakyRelu": lambda call, x: jnp.where(x < 0, x * np.float32(call.get("alpha", 0.01)), x),
    "QLinearAveragePool": _pooled,
    "QLinearSoftmax": lambda call, x: jax.nn.softmax(x, call.get("axis", -1)),
}
for _kind, _function in _FUNCTIONS.items():
    OPERATORS.on(_kind, domain=_HERE)(_between(_function))


@OPERATORS.on("QLinearWhere", domain=_HERE)
def _where(call: Call, which: Any, *inputs: Any) -> Any:
    return _between(lambda call, a, b: jnp.where(which, a, b))(call, *inputs)


@OPERATORS.on("QLinearGlobalAveragePool", domain=_HERE)
def _global_average(call: Call, x: Any, sx: Any, zx: Any, sy: Any, zy: Any) -> Any:
    full = dequantised(constant(x), constant(sx), zx)
    axes = range(1, x.ndim - 1) if call.get("channels_last", 0) else range(2, x.ndim)
    return quantised(full.mean(tuple(axes), keepdims=True), constant(sy), zy, zy.dtype)


@OPERATORS.on("QLinearConcat", domain=_HERE)
def _concat(call: Call, sy: Any, zy: Any, *parts: Any) -> Any:
    xs = [dequantised(constant(x), constant(s), z) for x, s, z in zip(*[iter(parts)] * 3, strict=True)]
    return quantised(jnp.concatenate(xs, call["axis"]), constant(sy), zy, zy.dtype)


@OPERATORS.on("MatMulNBits", domain=_HERE)
def _few_bits(call: Call, x: Any, packed: Any, scales: Any, zeros: Any = None, order: Any = None, *more: Any) -> Any:
    """A matrix (out, blocks, bytes) of numbers of ``bits`` bits, with a scale for each block of a row."""
    (bias,) = call.filled(more, 1)[:1]
    bits, rows, columns, block = call.get("bits", 4), call["N"], call["K"], call["block_size"]
    if bits not in (2, 4, 8) or (order is not None and order.size):
        raise call.refusal("2, 4 or 8 bits in their order", f"bits={bits}, or g_idx", "quantise it anew without g_idx")
    count = -(-columns // block)
    numbers = _unpacked(constant(packed).reshape(rows, count, -1), bits)[:, :, :block]
    scale = constant(scales).reshape(rows, count, 1)
    numbers = numbers.astype(scale.dtype) - _zeros(zeros, bits, rows, count).astype(scale.dtype)
    w = (numbers * scale).reshape(rows, -1)[:, :columns]
    y = jnp.matmul(constant(x), w.T.astype(x.dtype))
    return y if bias is None else y + bias


def _zeros(zeros: Any, bits: int, rows: int, count: int) -> Any:
    """What stands for zero in each block: the middle, unless it is given, packed or not."""
    if zeros is None:
        return np.full((1, 1, 1), 2 ** (bits - 1), np.int32)
    zeros = constant(zeros)
    found = _unpacked(zeros.reshape(rows, -1), bits)[:, :count] if zeros.dtype == jnp.uint8 else zeros
    return found.reshape(rows, count, 1)


def _unpacked(x: Any, bits: int) -> Any:
    """Numbers of a few bits out of bytes along the last axis, the low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((x[..., None] >> shifts) & np.uint8(2**bits - 1)).reshape(*x.shape[:-1], -1)
