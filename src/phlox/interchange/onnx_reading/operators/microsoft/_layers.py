"""Of com.microsoft: layers in one operator."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading._layout import plain
from phlox.interchange.onnx_reading.operators._convolutions import conv
from phlox.interchange.onnx_reading.operators._norms import layer_norm, rms_norm
from phlox.interchange.onnx_reading.operators._products import gemm
from phlox.interchange.onnx_reading.operators._table import HERE_MICROSOFT, OPERATORS
from phlox.nn import functional as F

_HERE = HERE_MICROSOFT


@OPERATORS.on("Gelu", domain=_HERE)
def _gelu(call: Call, x: Any) -> Any:
    return F.gelu(constant(x))


@OPERATORS.on("BiasGelu", domain=_HERE)
def _bias_gelu(call: Call, x: Any, bias: Any) -> Any:
    return F.gelu(constant(x) + bias)


@OPERATORS.on("FastGelu", domain=_HERE)
def _fast_gelu(call: Call, x: Any, bias: Any = None) -> Any:
    return F.gelu(constant(x) if bias is None else constant(x) + bias, "tanh")


@OPERATORS.on("QuickGelu", domain=_HERE)
def _quick_gelu(call: Call, x: Any) -> Any:
    return x * jax.nn.sigmoid(constant(x) * np.asarray(call.get("alpha", 1.702), x.dtype))


@OPERATORS.on("FusedMatMul", "TransposeMatMul", domain=_HERE)
def _fused_matmul(call: Call, a: Any, b: Any) -> Any:
    a = jnp.swapaxes(a, -1, -2) if call.get("transA", 0) else a
    b = jnp.swapaxes(b, -1, -2) if call.get("transB", 0) else b
    return jnp.matmul(a, b) * np.asarray(call.get("alpha", 1.0), a.dtype)


@OPERATORS.on("SimplifiedLayerNormalization")  # of the standard's domain, though the standard does not have it
def _simplified(call: Call, x: Any, scale: Any) -> Any:
    return rms_norm(call, x, scale)


@OPERATORS.on("SkipLayerNormalization", domain=_HERE)
def _skip_norm(call: Call, x: Any, skip: Any, scale: Any, shift: Any = None, bias: Any = None) -> Any:
    total = constant(x) + skip if bias is None else constant(x) + skip + bias
    y, mean, root = layer_norm(call.with_attributes(axis=-1, epsilon=call.get("epsilon", 1e-12)), total, scale, shift)
    return y, mean, root, total


@OPERATORS.on("SkipSimplifiedLayerNormalization", domain=_HERE)
def _skip_rms(call: Call, x: Any, skip: Any, scale: Any, bias: Any = None) -> Any:
    total = constant(x) + skip if bias is None else constant(x) + skip + bias
    return rms_norm(call.with_attributes(axis=-1, epsilon=call.get("epsilon", 1e-12)), total, scale), None, None, total


_CURVES = {
    "Relu": lambda x, a, b: jnp.maximum(x, 0),
    "Tanh": lambda x, a, b: jnp.tanh(x),
    "Sigmoid": lambda x, a, b: jax.nn.sigmoid(x),
    "LeakyRelu": lambda x, a, b: jnp.where(x < 0, x * a, x),
    "Clip": lambda x, a, b: jnp.clip(x, a, b),
    "HardSigmoid": lambda x, a, b: jnp.clip(x * a + b, 0, 1),
}


def _activated(call: Call, y: Any, *numbers: float) -> Any:
    """The activation that a fused operator ends with, if it has one."""
    name = call.get("activation", "")
    if not name:
        return y
    if name not in _CURVES:
        raise call.refusal(f"activations among {', '.join(_CURVES)}", name, "write it with one of these")
    a, b = (np.asarray(n, y.dtype) for n in (*numbers, 0.0, 0.0)[:2])
    return _CURVES[name](y, a, b)


@OPERATORS.on("FusedConv", domain=_HERE)
def _fused_conv(call: Call, x: Any, w: Any, bias: Any = None, more: Any = None) -> Any:
    """A convolution, a sum with an array of its result's sizes, an activation."""
    y = plain(conv(call, x, w, bias))
    return _activated(call, y if more is None else y + more, *(call.get("activation_params") or ()))


@OPERATORS.on("FusedGemm", domain=_HERE)
def _fused_gemm(call: Call, a: Any, b: Any, c: Any = None) -> Any:
    return _activated(call, gemm(call, a, b, c), call.get("activation_alpha", 0.0), call.get("activation_beta", 0.0))


@OPERATORS.on("Inverse", domain=_HERE)
def _inverse(call: Call, x: Any) -> Any:
    return jnp.linalg.inv(constant(x))
