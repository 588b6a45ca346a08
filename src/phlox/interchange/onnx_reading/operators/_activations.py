"""The curves of layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, library, wide
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.nn import functional as F

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)


@OPERATORS.elementwise("Relu")
def _relu(call: Call, x: Any) -> Any:
    return library(x).maximum(x, np.zeros((), x.dtype))


@OPERATORS.elementwise("LeakyRelu")
def _leaky(call: Call, x: Any) -> Any:
    return jnp.where(x < 0, x * np.asarray(call.get("alpha", 0.01), x.dtype), x)


@OPERATORS.elementwise("PRelu")
def _prelu(call: Call, x: Any, slope: Any) -> Any:
    return jnp.where(x < 0, x * slope, x)


@OPERATORS.elementwise("Elu")
def _elu(call: Call, x: Any) -> Any:
    return jnp.where(x < 0, np.asarray(call.get("alpha", 1.0), x.dtype) * jnp.expm1(_below(x)), x)


def _below(x: Any) -> Any:
    """The part below zero, so that no gradient passes through an infinite power."""
    return jnp.minimum(x, 0)


@OPERATORS.elementwise("Celu")
def _celu(call: Call, x: Any) -> Any:
    alpha = np.asarray(call.get("alpha", 1.0), x.dtype)
    return jnp.maximum(x, 0) + alpha * jnp.expm1(_below(x) / alpha)


@OPERATORS.elementwise("Selu")
def _selu(call: Call, x: Any) -> Any:
    alpha, gamma = (np.asarray(call.get(n, d), x.dtype) for n, d in zip(("alpha", "gamma"), _SELU, strict=True))
    return gamma * jnp.where(x > 0, x, alpha * jnp.expm1(_below(x)))


@OPERATORS.elementwise("Sigmoid")
def _sigmoid(call: Call, x: Any) -> Any:
    return jax.nn.sigmoid(constant(x))


@OPERATORS.elementwise("HardSigmoid")
def _hard_sigmoid(call: Call, x: Any) -> Any:
    return jnp.clip(np.asarray(call.get("alpha", 0.2), x.dtype) * x + np.asarray(call.get("beta", 0.5), x.dtype), 0, 1)


@OPERATORS.elementwise("HardSwish")
def _hard_swish(call: Call, x: Any) -> Any:
    return x * jnp.clip(x / 6 + 0.5, 0, 1).astype(x.dtype)


@OPERATORS.elementwise("Swish")
def _swish(call: Call, x: Any) -> Any:
    return x * jax.nn.sigmoid(constant(np.asarray(call.get("alpha", 1.0), x.dtype) * x))


@OPERATORS.elementwise("Mish")
def _mish(call: Call, x: Any) -> Any:
    return x * jnp.tanh(jax.nn.softplus(x))


@OPERATORS.elementwise("Softplus")
def _softplus(call: Call, x: Any) -> Any:
    return jax.nn.softplus(constant(x))


@OPERATORS.elementwise("Softsign")
def _softsign(call: Call, x: Any) -> Any:
    return x / (1 + jnp.abs(x))


@OPERATORS.elementwise("ThresholdedRelu")
def _thresholded(call: Call, x: Any) -> Any:
    return jnp.where(x > np.asarray(call.get("alpha", 1.0), x.dtype), x, np.zeros((), x.dtype))


@OPERATORS.elementwise("Shrink")
def _shrink(call: Call, x: Any) -> Any:
    bias, edge = (np.asarray(call.get(n, d), x.dtype) for n, d in (("bias", 0.0), ("lambd", 0.5)))
    return jnp.where(x < -edge, x + bias, jnp.where(x > edge, x - bias, np.zeros((), x.dtype)))


@OPERATORS.elementwise("Gelu")
def _gelu(call: Call, x: Any) -> Any:
    return F.gelu(constant(x), call.get("approximate", "none"))


@OPERATORS.elementwise("SwiGLU")
def _swiglu(call: Call, gate: Any, up: Any) -> Any:
    return _swish(call, gate) * up


# --- along an axis ----------------------------------------------------------------------------------------


def _along(call: Call, x: Any, function: Any) -> Any:
    """Along one axis; before version 13 along all from it on."""
    if call.version >= 13 or call.node.domain:
        return function(x, call.get("axis", -1))
    axis = call.axis(call.get("axis", 1), max(x.ndim, 1))
    flat = x.reshape(*x.shape[:axis], -1)
    return function(flat, -1).reshape(x.shape)


@OPERATORS.on("Softmax")
def _softmax(call: Call, x: Any) -> Any:
    return _along(call, constant(x), lambda x, axis: jax.nn.softmax(wide(x), axis).astype(x.dtype))


@OPERATORS.on("LogSoftmax")
def _log_softmax(call: Call, x: Any) -> Any:
    return _along(call, constant(x), lambda x, axis: jax.nn.log_softmax(wide(x), axis).astype(x.dtype))


@OPERATORS.on("Hardmax")
def _hardmax(call: Call, x: Any) -> Any:
    def one(x: Any, axis: int) -> Any:
        return jax.nn.one_hot(jnp.argmax(x, axis), x.shape[axis], dtype=x.dtype, axis=axis)

    return _along(call, constant(x), one)
