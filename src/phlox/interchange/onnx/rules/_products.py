"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

from phlox.interchange.onnx._build import cast, merged, reshape, squeeze, transpose, unsqueeze
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import computed_in

RULES = Rules()


@RULES.on("dot_general")
def _dot_general(graph: Graph, step: Step, x: Value, y: Value) -> Value:
    """Axes of the left as batch, free, contracted; of the right as batch, contracted, free; then MatMul."""
    (from_x, from_y), (batch_x, batch_y) = step["dimension_numbers"]
    wide = computed_in(step.dtype)
    x, y = cast(graph, x, wide), cast(graph, y, wide)
    free_x, free_y = _others(x, from_x, batch_x), _others(y, from_y, batch_y)
    shape = [x.shape[i] for i in (*batch_x, *free_x)] + [y.shape[i] for i in free_y]
    if not from_x:
        return cast(graph, _outer(graph, x, y, (batch_x, free_x), (batch_y, free_y)), step.dtype)
    n, m = len(batch_x), len(free_x)
    left = merged(graph, transpose(graph, x, [*batch_x, *free_x, *from_x]), n + m, x.rank)
    right = merged(graph, transpose(graph, y, [*batch_y, *from_y, *free_y]), n, n + len(from_y))
    right = merged(graph, right, n + 1, right.rank) if free_y else right
    result = _stacked(graph, left, right, n) if n else _plain(graph, left, right)
    return cast(graph, reshape(graph, result, shape), step.dtype)


def _others(x: Value, *used: Sequence[int]) -> list[int]:
    return [i for i in range(x.rank) if not any(i in axes for axes in used)]


def _plain(graph: Graph, left: Value, right: Value) -> Value:
    """(…, k) times (k,) or (k, n)."""
    return graph.op("MatMul", left, right, shape=(*left.shape[:-1], *right.shape[1:]))


def _stacked(graph: Graph, left: Value, right: Value, n: int) -> Value:
    """``n`` axes of matrices, where a side without free axes is a vector."""
    left = unsqueeze(graph, left, [n]) if left.rank == n + 1 else merged(graph, left, n, left.rank - 1)
    vector = right.rank == n + 1
    right = unsqueeze(graph, right, [n + 1]) if vector else right
    y = graph.op("MatMul", left, right, shape=(*left.shape[:-1], right.shape[-1]))
    return squeeze(graph, y, [n + 1]) if vector else y


Axes = tuple[Sequence[int], Sequence[int]]  # of the batch, and free ones


def _outer(graph: Graph, x: Value, y: Value, of_x: Axes, of_y: Axes) -> Value:
    """Nothing is contracted: each with each."""
    n, m, k = len(of_x[0]), len(of_x[1]), len(of_y[1])
    left = unsqueeze(graph, transpose(graph, x, [*of_x[0], *of_x[1]]), range(n + m, n + m + k))
    right = unsqueeze(graph, transpose(graph, y, [*of_y[0], *of_y[1]]), range(n, n + m))
    shape = (*left.shape[: n + m], *right.shape[n + m :])
    return graph.op("Mul", left, right, shape=shape)
