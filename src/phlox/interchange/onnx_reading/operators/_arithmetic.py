"""One number at a time, and two."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import cast, constant, has_symbols, is_float, is_known, library
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_ELEMENTWISE = {
    "Abs": "abs", "Neg": "negative", "Ceil": "ceil", "Floor": "floor", "Sqrt": "sqrt", "Exp": "exp", "Log": "log",
    "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "arcsin", "Acos": "arccos", "Atan": "arctan", "Sinh": "sinh",
    "Cosh": "cosh", "Tanh": "tanh", "Asinh": "arcsinh", "Acosh": "arccosh", "Atanh": "arctanh", "Sign": "sign",
    "Round": "round",
}  # fmt: skip
_PAIRWISE = {"Add": "add", "Sub": "subtract", "Mul": "multiply"}


def _elementwise(function: str) -> Any:
    def operator(call: Call, x: Any) -> Any:
        return getattr(library(x), function)(x)

    return operator


def _pairwise(function: str) -> Any:
    def operator(call: Call, a: Any, b: Any) -> Any:
        return getattr(library(a, b), function)(a, b)

    return operator


for _kind, _function in _ELEMENTWISE.items():
    OPERATORS.elementwise(_kind)(_elementwise(_function))
for _kind, _function in _PAIRWISE.items():
    OPERATORS.elementwise(_kind)(_pairwise(_function))


@OPERATORS.elementwise("Div")
def _div(call: Call, a: Any, b: Any) -> Any:
    """Whole numbers are cut towards zero."""
    if is_float(a):
        return library(a, b).divide(a, b)
    if library(a, b) is np:
        return _cut(np.asarray(a), np.asarray(b))
    return jax.lax.div(*jnp.broadcast_arrays(constant(a), constant(b)))


def _cut(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if has_symbols(a) or has_symbols(b):
        return a // b
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype) if a.dtype.kind == "i" else a // b


@OPERATORS.elementwise("Mod")
def _mod(call: Call, a: Any, b: Any) -> Any:
    xp = library(a, b)
    return xp.fmod(a, b) if call.get("fmod", 0) else xp.mod(a, b)


@OPERATORS.elementwise("Pow")
def _pow(call: Call, a: Any, b: Any) -> Any:
    """In the dtype of the base, whatever the exponent is of."""
    if is_known(b) and not np.ndim(b) and float(b) in (2.0, 3.0):
        return a * a if float(b) == 2.0 else a * a * a
    xp = library(a, b)
    if is_float(a) or not is_float(b):
        return cast(xp.power(a, cast(b, a.dtype)), a.dtype)
    return cast(xp.power(cast(a, b.dtype), b), a.dtype)


@OPERATORS.elementwise("Reciprocal")
def _reciprocal(call: Call, x: Any) -> Any:
    return library(x).reciprocal(x)


@OPERATORS.elementwise("Erf")
def _erf(call: Call, x: Any) -> Any:
    return jax.lax.erf(constant(x))


def _folded(function: str) -> Any:
    def operator(call: Call, *xs: Any) -> Any:
        found = xs[0]
        for x in xs[1:]:
            found = getattr(library(found, x), function)(found, x)
        return found

    return operator


for _kind, _function in {"Max": "maximum", "Min": "minimum", "Sum": "add"}.items():
    OPERATORS.elementwise(_kind)(_folded(_function))


@OPERATORS.elementwise("Mean")
def _mean(call: Call, *xs: Any) -> Any:
    return _folded("add")(call, *xs) / np.asarray(len(xs), xs[0].dtype)


@OPERATORS.elementwise("Clip")
def _clip(call: Call, x: Any, low: Any = None, high: Any = None) -> Any:
    """Bounds were attributes before version 11; the upper one wins."""
    low, high = (call.get(n) if b is None else b for n, b in (("min", low), ("max", high)))
    xp = library(x, low, high)
    if low is not None:
        x = xp.maximum(x, xp.asarray(low).astype(x.dtype))
    return x if high is None else xp.minimum(x, xp.asarray(high).astype(x.dtype))


@OPERATORS.on("Dropout", any_order=True)
def _dropout(call: Call, x: Any, ratio: Any = None, training: Any = None) -> Any:
    """Off, as in inference."""
    if training is not None and bool(call.known(training, "the mode of training")):
        ratio = 0.5 if ratio is None else float(call.known(ratio, "the ratio"))
        if ratio:
            raise call.refusal("dropout that is off", "training_mode", "export the model in its inference form")
    return (x, library(x).ones(x.shape, bool)) if call.wants(1) else x
