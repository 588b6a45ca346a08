"""Sorting and the largest elements, by TopK, which gives equals in their order."""

from __future__ import annotations

from phlox.interchange.onnx._build import cast
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._sizes import extent
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import INT64, computed_in

RULES = Rules()


@RULES.on("sort")
def _sort(graph: Graph, step: Step, *xs: Value) -> list[Value]:
    """Ascending by the first arrays; by the last of them first, each sort keeping what it finds equal in order."""
    axis = step["dimension"] % xs[0].rank
    arrays = list(xs)
    for i in reversed(range(step["num_keys"])):
        values, places = _ranked(graph, arrays[i], arrays[i].shape[axis], axis, largest=0)
        arrays = [values if j == i else _taken(graph, x, places, axis) for j, x in enumerate(arrays)]
    return arrays


@RULES.on("top_k")
def _top_k(graph: Graph, step: Step, x: Value) -> list[Value]:
    axis = step.params.get("axis", -1) % x.rank
    values, places = _ranked(graph, x, step["k"], axis, largest=1)
    return [values, cast(graph, places, step.outs[1].dtype)]


def _ranked(graph: Graph, x: Value, k: object, axis: int, *, largest: int) -> tuple[Value, Value]:
    wide = cast(graph, x, computed_in(x.dtype))
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    outs = [(shape, wide.dtype), (shape, INT64)]
    values, places = graph.ops("TopK", [wide, extent(graph, k)], outs, axis=axis, largest=largest, sorted=1)
    return cast(graph, values, x.dtype), places


def _taken(graph: Graph, x: Value, places: Value, axis: int) -> Value:
    return graph.op("GatherElements", x, places, shape=places.shape, axis=axis)
