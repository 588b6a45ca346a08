"""Comparisons, flags, bits."""

from __future__ import annotations

from typing import Any

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import library
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_PAIRWISE = {
    "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor", "Equal": "equal", "Less": "less",
    "Greater": "greater", "LessOrEqual": "less_equal", "GreaterOrEqual": "greater_equal", "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
}  # fmt: skip


def _pairwise(function: str) -> Any:
    def operator(call: Call, a: Any, b: Any) -> Any:
        return getattr(library(a, b), function)(a, b)

    return operator


for _kind, _function in _PAIRWISE.items():
    OPERATORS.elementwise(_kind)(_pairwise(_function))


@OPERATORS.elementwise("Not")
def _not(call: Call, x: Any) -> Any:
    return library(x).logical_not(x)


@OPERATORS.elementwise("BitwiseNot")
def _bitwise_not(call: Call, x: Any) -> Any:
    return library(x).bitwise_not(x)


@OPERATORS.elementwise("BitShift")
def _shift(call: Call, a: Any, b: Any) -> Any:
    xp = library(a, b)
    return (xp.left_shift if call["direction"] == "LEFT" else xp.right_shift)(a, b)


@OPERATORS.elementwise("IsNaN")
def _is_nan(call: Call, x: Any) -> Any:
    return library(x).isnan(x)


@OPERATORS.elementwise("IsInf")
def _is_inf(call: Call, x: Any) -> Any:
    xp = library(x)
    high, low = call.get("detect_positive", 1), call.get("detect_negative", 1)
    return xp.isinf(x) & (((x > 0) & bool(high)) | ((x < 0) & bool(low)))


@OPERATORS.elementwise("Where")
def _where(call: Call, which: Any, a: Any, b: Any) -> Any:
    return library(which, a, b).where(which, a, b)
