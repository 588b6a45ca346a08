"""Comparisons, choices, flags and bits."""

from __future__ import annotations

from functools import partial

import numpy as np

from phlox.interchange.onnx._build import cast, computed, negated
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._sizes import broadcast, same
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import BOOL

RULES = Rules()

_COMPARED = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}


def _compare(kind: str, graph: Graph, step: Step, x: Value, y: Value) -> Value:
    return computed(graph, kind, x, y, dtype=BOOL)


for _name, _kind in _COMPARED.items():
    RULES.on(_name)(partial(_compare, _kind))


@RULES.on("ne")
def _ne(graph: Graph, step: Step, x: Value, y: Value) -> Value:
    return negated(graph, computed(graph, "Equal", x, y, dtype=BOOL))


def _bits(flags: str, whole: str, graph: Graph, step: Step, *xs: Value) -> Value:
    return graph.op(flags if xs[0].dtype == BOOL else whole, *xs, shape=step.shape)


for _name, _kinds in {
    "and": ("And", "BitwiseAnd"),
    "or": ("Or", "BitwiseOr"),
    "xor": ("Xor", "BitwiseXor"),
    "not": ("Not", "BitwiseNot"),
}.items():
    RULES.on(_name)(partial(_bits, *_kinds))


def _shift(graph: Graph, x: Value, n: Value, direction: str) -> Value:
    """Shift bits as ONNX can: without a sign, in 32 or 64 of them."""
    wide = np.dtype("uint64" if np.dtype(x.dtype).itemsize == 8 else "uint32")
    unsigned = np.dtype("u" + np.dtype(x.dtype).name.removeprefix("u"))
    bits = cast(graph, cast(graph, x, unsigned), wide)
    moved = graph.op("BitShift", bits, cast(graph, n, wide), direction=direction)
    beyond = graph.constant(np.array(8 * np.dtype(x.dtype).itemsize), n.dtype)
    gone = computed(graph, "GreaterOrEqual", n, beyond, dtype=BOOL)
    zero, whole = graph.constant(np.zeros((), np.int64)), cast(graph, moved, np.int64)
    kept = graph.op("Where", gone, zero, whole, shape=moved.shape, dtype=np.int64)
    return cast(graph, cast(graph, kept, unsigned), x.dtype)


@RULES.on("shift_left")
def _left(graph: Graph, step: Step, x: Value, n: Value) -> Value:
    return _shift(graph, x, n, "LEFT")


@RULES.on("shift_right_logical")
def _right(graph: Graph, step: Step, x: Value, n: Value) -> Value:
    return _shift(graph, x, n, "RIGHT")


@RULES.on("shift_right_arithmetic")
def _right_with_sign(graph: Graph, step: Step, x: Value, n: Value) -> Value:
    """A negative number is turned into its complement before and after, so that ones come in from the left."""
    signed = cast(graph, x, np.dtype(x.dtype).name.removeprefix("u"))
    zero, ones = (graph.constant(k, np.int64) for k in (0, -1))
    negative = computed(graph, "Less", signed, graph.constant(0, signed.dtype), dtype=BOOL)
    mask = cast(graph, graph.op("Where", negative, ones, zero, dtype=np.int64), x.dtype)
    return graph.op("BitwiseXor", _shift(graph, graph.op("BitwiseXor", x, mask), n, "RIGHT"), mask)


@RULES.on("select_n")
def _select(graph: Graph, step: Step, which: Value, *cases: Value) -> Value:
    if which.dtype == BOOL:
        return where(graph, which, cases[1], cases[0])
    chosen = cases[0]
    for i, case in enumerate(cases[1:], 1):
        reached = computed(graph, "GreaterOrEqual", which, graph.constant(i, which.dtype), dtype=BOOL)
        chosen = where(graph, reached, case, chosen)
    return chosen


def where(graph: Graph, flags: Value, x: Value, y: Value) -> Value:
    """``x`` where a flag is set, else ``y``."""
    shape = broadcast(flags.shape, x.shape, y.shape)
    if flags.known is not None and not flags.known.any() and same(y.shape, shape):
        return y
    if x.dtype == BOOL:
        on = graph.op("And", flags, x, shape=shape)
        return graph.op("Or", on, graph.op("And", negated(graph, flags), y, shape=shape), shape=shape)
    narrow = np.dtype(x.dtype).name in ("int8", "int16", "uint16", "uint32", "uint64")
    wide = np.dtype("int64") if narrow else x.dtype
    y = graph.op("Where", flags, cast(graph, x, wide), cast(graph, y, wide), shape=shape, dtype=wide)
    return cast(graph, y, x.dtype)
