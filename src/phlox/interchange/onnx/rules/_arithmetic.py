"""Elementwise arithmetic."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from phlox.interchange.onnx._build import cast, computed, negated, number
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import BOOL, is_float
from phlox.interchange.onnx.rules._logic import where

RULES = Rules()

_SAME = {
    "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "neg": "Neg", "abs": "Abs", "sign": "Sign",
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf", "sin": "Sin",
    "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
    "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "floor": "Floor", "ceil": "Ceil",
}  # fmt: skip


def _plainly(kind: str, graph: Graph, step: Step, *xs: Value) -> Value:
    return computed(graph, kind, *xs)


for _name, _kind in _SAME.items():
    RULES.on(_name)(partial(_plainly, _kind))


@RULES.on("max")
def _max(graph: Graph, step: Step, x: Value, y: Value) -> Value:
    return graph.op("Or", x, y, shape=step.shape) if x.dtype == BOOL else computed(graph, "Max", x, y)


@RULES.on("min")
def _min(graph: Graph, step: Step, x: Value, y: Value) -> Value:
    return graph.op("And", x, y, shape=step.shape) if x.dtype == BOOL else computed(graph, "Min", x, y)


@RULES.on("div")
def _div(graph: Graph, step: Step, x: Value, y: Value) -> Value:
    if is_float(x.dtype):
        return computed(graph, "Div", x, y)
    zero, safe = _guarded(graph, y)
    return where(graph, zero, cast(graph, graph.constant(-1, np.int64), x.dtype), computed(graph, "Div", x, safe))


@RULES.on("rem")
def _rem(graph: Graph, step: Step, x: Value, y: Value) -> Value:
    if is_float(x.dtype):
        return computed(graph, "Mod", x, y, fmod=1)  # the sign of the dividend, as C has it
    zero, safe = _guarded(graph, y)
    return where(graph, zero, x, computed(graph, "Mod", x, safe, fmod=1))


def _guarded(graph: Graph, y: Value) -> tuple[Value, Value]:
    """Where a whole number is zero, and one in place of zeros: readers divide as the processor does, which faults."""
    zero = computed(graph, "Equal", y, number(graph, y, 0), dtype=BOOL)
    return zero, where(graph, zero, number(graph, y, 1), y)


@RULES.on("pow")
def _pow(graph: Graph, step: Step, x: Value, y: Value) -> Value:
    return computed(graph, "Pow", x, cast(graph, y, x.dtype))


@RULES.on("integer_pow")
def _integer_pow(graph: Graph, step: Step, x: Value) -> Value:
    n = step["y"]
    if n == 0:
        return computed(graph, "Add", computed(graph, "Mul", x, number(graph, x, 0)), number(graph, x, 1))
    y = _power(graph, x, abs(n))
    return y if n > 0 else computed(graph, "Div", number(graph, x, 1), y)


def _power(graph: Graph, x: Value, n: int) -> Value:
    """By repeated squaring."""
    if n == 1:
        return x
    half = _power(graph, x, n // 2)
    square = computed(graph, "Mul", half, half)
    return computed(graph, "Mul", square, x) if n % 2 else square


@RULES.on("square")
def _square(graph: Graph, step: Step, x: Value) -> Value:
    return computed(graph, "Mul", x, x)


@RULES.on("rsqrt")
def _rsqrt(graph: Graph, step: Step, x: Value) -> Value:
    return graph.op("Reciprocal", graph.op("Sqrt", x))


@RULES.on("cbrt")
def _cbrt(graph: Graph, step: Step, x: Value) -> Value:
    root = graph.op("Pow", graph.op("Abs", x), number(graph, x, 1 / 3))
    return graph.op("Mul", graph.op("Sign", x), root)


@RULES.on("exp2")
def _exp2(graph: Graph, step: Step, x: Value) -> Value:
    return graph.op("Pow", number(graph, x, 2), x, shape=x.shape)


@RULES.on("expm1")
def _expm1(graph: Graph, step: Step, x: Value) -> Value:
    """exp(x) − 1 = tanh(x / 2) (exp(x) + 1), which keeps its digits near zero."""
    half = graph.op("Tanh", graph.op("Mul", x, number(graph, x, 0.5)))
    large = graph.op("Add", graph.op("Exp", x), number(graph, x, 1))
    return graph.op("Mul", half, large)


@RULES.on("log1p")
def _log1p(graph: Graph, step: Step, x: Value) -> Value:
    """log(1 + x), near zero by its series: 1 + x would lose the digits of x."""
    third = graph.op("Mul", x, number(graph, x, 1 / 3))
    inner = graph.op("Mul", x, graph.op("Sub", number(graph, x, 0.5), third, shape=x.shape))
    series = graph.op("Mul", x, graph.op("Sub", number(graph, x, 1), inner, shape=x.shape))
    log = graph.op("Log", graph.op("Add", x, number(graph, x, 1)))
    small = graph.op("Less", graph.op("Abs", x), number(graph, x, 0.01), dtype=BOOL)
    return graph.op("Where", small, series, log, dtype=x.dtype)


@RULES.on("erfc")
def _erfc(graph: Graph, step: Step, x: Value) -> Value:
    return graph.op("Sub", number(graph, x, 1), graph.op("Erf", x), shape=x.shape)


@RULES.on("atan2")
def _atan2(graph: Graph, step: Step, y: Value, x: Value) -> Value:
    """atan(y / x), half a turn further where x is negative; a quarter where it is zero."""
    zero = number(graph, x, 0)
    left = graph.op("Less", x, zero, dtype=BOOL)
    below = graph.op("Less", y, zero, dtype=BOOL)
    turn = graph.op("Where", below, number(graph, x, -np.pi), number(graph, x, np.pi), dtype=x.dtype)
    ratio = graph.op("Atan", graph.op("Div", y, x, shape=step.shape))
    angle = graph.op("Add", ratio, graph.op("Where", left, turn, zero, shape=step.shape, dtype=x.dtype))
    flat, still = (graph.op("Equal", v, zero, dtype=BOOL) for v in (x, y))
    origin = graph.op("And", flat, still, shape=step.shape)
    return graph.op("Where", origin, zero, angle, dtype=x.dtype)


@RULES.on("round")
def _round(graph: Graph, step: Step, x: Value) -> Value:
    if int(step["rounding_method"]) == 1:  # to even
        return graph.op("Round", x)
    away = graph.op("Floor", graph.op("Add", graph.op("Abs", x), number(graph, x, 0.5)))
    return graph.op("Mul", graph.op("Sign", x), away)


@RULES.on("is_finite")
def _is_finite(graph: Graph, step: Step, x: Value) -> Value:
    infinite = graph.op("IsInf", x, dtype=BOOL)
    return negated(graph, graph.op("Or", infinite, graph.op("IsNaN", x, dtype=BOOL)))


@RULES.on("clamp")
def _clamp(graph: Graph, step: Step, low: Value, x: Value, high: Value) -> Value:
    return computed(graph, "Min", computed(graph, "Max", x, low), high)


@RULES.on("convert_element_type")
def _convert(graph: Graph, step: Step, x: Value) -> Value:
    if step.dtype == BOOL and not is_float(x.dtype):
        return negated(graph, computed(graph, "Equal", x, number(graph, x, 0), dtype=BOOL))
    return cast(graph, x, step.dtype)


@RULES.on("reduce_precision")
def _reduce_precision(graph: Graph, step: Step, x: Value) -> Value:
    bits = (step["exponent_bits"], step["mantissa_bits"])
    named: dict[Any, str] = {(5, 10): "float16", (8, 7): "bfloat16", (8, 23): "float32", (11, 52): "float64"}
    if bits not in named:
        raise step.refusal(f"{bits[0]} bits of exponent, {bits[1]} of mantissa", "round to float16 or bfloat16")
    return cast(graph, cast(graph, x, named[bits]), x.dtype)
