"""Operators of com.microsoft: what exporters and quantisers write."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading.operators._norms import layer_norm, rms_norm
from phlox.interchange.onnx_reading.operators._quantised import dequantised, quantised
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_HERE = "com.microsoft"


@OPERATORS.on("Gelu", domain=_HERE)
def _gelu(call: Call, x: Any) -> Any:
    return jax.nn.gelu(constant(x), approximate=False)


@OPERATORS.on("BiasGelu", domain=_HERE)
def _bias_gelu(call: Call, x: Any, bias: Any) -> Any:
    return jax.nn.gelu(constant(x) + bias, approximate=False)


@OPERATORS.on("FastGelu", domain=_HERE)
def _fast_gelu(call: Call, x: Any, bias: Any = None) -> Any:
    return jax.nn.gelu(constant(x) if bias is None else constant(x) + bias, approximate=True)


@OPERATORS.on("QuickGelu", domain=_HERE)
def _quick_gelu(call: Call, x: Any) -> Any:
    return x * jax.nn.sigmoid(constant(x) * np.asarray(call.get("alpha", 1.702), x.dtype))


@OPERATORS.on("FusedMatMul", domain=_HERE)
def _fused_matmul(call: Call, a: Any, b: Any) -> Any:
    a = jnp.swapaxes(a, -1, -2) if call.get("transA", 0) else a
    b = jnp.swapaxes(b, -1, -2) if call.get("transB", 0) else b
    return jnp.matmul(a, b) * np.asarray(call.get("alpha", 1.0), a.dtype)


@OPERATORS.on("SimplifiedLayerNormalization", domain=_HERE)
@OPERATORS.on("SimplifiedLayerNormalization")
def _simplified(call: Call, x: Any, scale: Any) -> Any:
    return rms_norm(call, x, scale)


@OPERATORS.on("SkipLayerNormalization", domain=_HERE)
def _skip_norm(call: Call, x: Any, skip: Any, scale: Any, shift: Any = None, bias: Any = None) -> Any:
    total = constant(x) + skip if bias is None else constant(x) + skip + bias
    y, mean, root = layer_norm(_with(call, axis=-1, epsilon=call.get("epsilon", 1e-12)), total, scale, shift)
    return y, mean, root, total


@OPERATORS.on("SkipSimplifiedLayerNormalization", domain=_HERE)
def _skip_rms(call: Call, x: Any, skip: Any, scale: Any, bias: Any = None) -> Any:
    total = constant(x) + skip if bias is None else constant(x) + skip + bias
    return rms_norm(_with(call, axis=-1, epsilon=call.get("epsilon", 1e-12)), total, scale), None, None, total


def _with(call: Call, **attributes: Any) -> Call:
    return Call(call.node, {**call.attributes, **attributes}, call.version, call.run)


@OPERATORS.on("MatMulIntegerToFloat", domain=_HERE)
def _matmul_to_float(call: Call, *inputs: Any) -> Any:
    a, b, sa, sb, za, zb, bias = call.filled(inputs, 7)
    whole = [
        constant(x).astype(jnp.int32) - (0 if z is None else constant(z).astype(jnp.int32))
        for x, z in ((a, za), (b, zb))
    ]
    y = jnp.matmul(*whole).astype(jnp.float32) * sa * sb
    return y if bias is None else y + bias


@OPERATORS.on("DynamicQuantizeMatMul", domain=_HERE)
def _dynamic_matmul(call: Call, a: Any, b: Any, sb: Any, zb: Any = None, bias: Any = None) -> Any:
    dynamic = OPERATORS[("", "DynamicQuantizeLinear")][0][1]
    whole, sa, za = dynamic(call, a)
    return _matmul_to_float(call, whole, b, sa, sb, za, zb, bias)


def _between(function: Any) -> Any:
    """On floats between two quantised arrays: (x, scale, zero)… of inputs behind the output's scale and zero."""

    def operator(call: Call, *inputs: Any) -> Any:
        *parts, sy, zy = inputs
        xs = [dequantised(constant(x), constant(s), z) for x, s, z in zip(*[iter(parts)] * 3, strict=True)]
        return quantised(function(call, *xs), constant(sy), zy, zy.dtype)

    return operator


OPERATORS.on("QLinearAdd", domain=_HERE)(_between(lambda call, a, b: a + b))
OPERATORS.on("QLinearMul", domain=_HERE)(_between(lambda call, a, b: a * b))
OPERATORS.on("QLinearSigmoid", domain=_HERE)(_between(lambda call, x: jax.nn.sigmoid(x)))
OPERATORS.on("QLinearLeakyRelu", domain=_HERE)(
    _between(lambda call, x: jnp.where(x < 0, x * np.float32(call.get("alpha", 0.01)), x))
)


@OPERATORS.on("QLinearGlobalAveragePool", domain=_HERE)
def _q_average(call: Call, x: Any, sx: Any, zx: Any, sy: Any, zy: Any) -> Any:
    full = dequantised(constant(x), constant(sx), zx)
    axes = range(1, x.ndim - 1) if call.get("channels_last", 0) else range(2, x.ndim)
    return quantised(full.mean(tuple(axes), keepdims=True), constant(sy), zy, zy.dtype)


@OPERATORS.on("QLinearConcat", domain=_HERE)
def _q_concat(call: Call, sy: Any, zy: Any, *parts: Any) -> Any:
    xs = [dequantised(constant(x), constant(s), z) for x, s, z in zip(*[iter(parts)] * 3, strict=True)]
    return quantised(jnp.concatenate(xs, call["axis"]), constant(sy), zy, zy.dtype)
