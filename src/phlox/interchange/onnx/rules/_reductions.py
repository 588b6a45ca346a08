"""Reductions over axes, and running ones along an axis."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from phlox.interchange.onnx._build import cast, computed, expand, negated, number
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import BOOL, INT32, INT64, computed_in, highest, lowest

RULES = Rules()


def _over(graph: Graph, kind: str, x: Value, step: Step) -> Value:
    """Reduce in a dtype that readers have."""
    if not step["axes"]:
        return x
    wide = cast(graph, x, computed_in(x.dtype))
    return graph.op(kind, wide, graph.ints(step["axes"]), shape=step.shape, keepdims=0)


def _reduce(kind: str, graph: Graph, step: Step, x: Value) -> Value:
    return cast(graph, _over(graph, kind, x, step), step.dtype)


for _name, _kind in {
    "reduce_sum": "ReduceSum",
    "reduce_prod": "ReduceProd",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
}.items():
    RULES.on(_name)(partial(_reduce, _kind))


def _reduce_flags(kind: str, graph: Graph, step: Step, x: Value) -> Value:
    if x.dtype != BOOL:
        raise step.refusal("bits of whole numbers", "reduce flags, or sum")
    y = _over(graph, kind, cast(graph, x, INT32), step)
    odd = graph.op("Mod", y, number(graph, y, 2)) if step.kind == "reduce_xor" else y
    return negated(graph, graph.op("Equal", odd, number(graph, y, 0), dtype=BOOL))


for _name, _kind in {"reduce_and": "ReduceMin", "reduce_or": "ReduceMax", "reduce_xor": "ReduceSum"}.items():
    RULES.on(_name)(partial(_reduce_flags, _kind))


def _place(kind: str, graph: Graph, step: Step, x: Value) -> Value:
    """Where an extreme stands; the first of equals."""
    (axis,) = step["axes"]
    wide = cast(graph, x, computed_in(x.dtype))
    y = graph.op(kind, wide, shape=step.shape, dtype=INT64, axis=axis, keepdims=0)
    return cast(graph, y, step.dtype)


RULES.on("argmax")(partial(_place, "ArgMax"))
RULES.on("argmin")(partial(_place, "ArgMin"))


@RULES.on("cumsum")
def _cumsum(graph: Graph, step: Step, x: Value) -> Value:
    axis = graph.constant(np.int64(step["axis"]))
    y = graph.op("CumSum", cast(graph, x, computed_in(x.dtype)), axis, reverse=int(step["reverse"]))
    return cast(graph, y, x.dtype)


def _running(kind: str, start: Any, graph: Graph, step: Step, x: Value) -> Value:
    """A running reduction that ONNX has no operator for, as a loop."""
    axis, wide = step["axis"], cast(graph, x, computed_in(x.dtype))
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    first = expand(graph, graph.constant(np.asarray(start(wide.dtype), wide.dtype)), rest)
    body = graph.child("running")
    so_far, row = body.input("so_far", rest, wide.dtype), body.input("row", rest, wide.dtype)
    new = _logaddexp(body, so_far, row) if kind == "LogAddExp" else computed(body, kind, so_far, row)
    body.finish([new, new])
    along = {"scan_input_axes": [axis], "scan_output_axes": [axis]}
    backwards = {f"scan_{end}_directions": [int(step["reverse"])] for end in ("input", "output")}
    outs = [(rest, wide.dtype), (x.shape, wide.dtype)]
    _, y = graph.ops("Scan", [first, wide], outs, body=body, num_scan_inputs=1, **along, **backwards)
    return cast(graph, y, x.dtype)


def _logaddexp(graph: Graph, x: Value, y: Value) -> Value:
    """log(exp(x) + exp(y)) by the larger of the two, which is −∞ where both are."""
    high = graph.op("Max", x, y)
    gap = graph.op("Neg", graph.op("Abs", graph.op("Sub", x, y)))
    more = graph.op("Log", graph.op("Add", graph.op("Exp", gap), number(graph, x, 1)))
    empty = graph.op("Equal", high, number(graph, x, -np.inf), dtype=BOOL)
    return graph.op("Where", empty, high, graph.op("Add", high, more), dtype=x.dtype)


RULES.on("cumprod")(partial(_running, "Mul", lambda dtype: 1))
RULES.on("cummax")(partial(_running, "Max", lowest))
RULES.on("cummin")(partial(_running, "Min", highest))
RULES.on("cumlogsumexp")(partial(_running, "LogAddExp", lowest))
