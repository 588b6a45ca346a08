"""Pieces that many rules write: casts, broadcasts, axes put in and taken out, arithmetic that readers have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phlox.interchange.onnx._graph import Graph, Size, Value
from phlox.interchange.onnx._sizes import broadcast, extents, is_symbolic, product, same
from phlox.interchange.onnx._types import BOOL, INT64, computed_in, element

LAST = np.iinfo(np.int64).max
FIRST = np.iinfo(np.int64).min


def cast(graph: Graph, x: Value, dtype: Any) -> Value:
    """An array in another dtype; itself where it has it."""
    if np.dtype(x.dtype) == np.dtype(dtype):
        return x
    return graph.op("Cast", x, dtype=np.dtype(dtype), to=element(dtype))


def computed(graph: Graph, kind: str, *xs: Value, dtype: Any = None, **attributes: Any) -> Value:
    """Arithmetic on operands of one dtype, done in one that readers have; ``dtype`` is the result's if another."""
    wide = computed_in(xs[0].dtype)
    shape = broadcast(*(x.shape for x in xs))
    given = [cast(graph, x, wide) for x in xs]
    y = graph.op(kind, *given, shape=shape, dtype=wide if dtype is None else dtype, **attributes)
    return cast(graph, y, xs[0].dtype if dtype is None else dtype)


def number(graph: Graph, x: Value, value: Any) -> Value:
    """A number in the dtype of an array."""
    return graph.constant(np.asarray(value).astype(x.dtype))


def negated(graph: Graph, x: Value) -> Value:
    """The logical opposite."""
    return graph.op("Not", x, dtype=BOOL)


def unsqueeze(graph: Graph, x: Value, axes: Sequence[int]) -> Value:
    """Axes of one element put in; ``axes`` are places in the result."""
    if not axes:
        return x
    rest = iter(x.shape)
    shape = [1 if i in axes else next(rest) for i in range(x.rank + len(axes))]
    return graph.op("Unsqueeze", x, graph.ints(axes), shape=shape)


def squeeze(graph: Graph, x: Value, axes: Sequence[int]) -> Value:
    """Axes of one element taken out."""
    if not axes:
        return x
    shape = [n for i, n in enumerate(x.shape) if i not in axes]
    return graph.op("Squeeze", x, graph.ints(axes), shape=shape)


def transpose(graph: Graph, x: Value, perm: Sequence[int]) -> Value:
    """Axes in another order."""
    if list(perm) == list(range(x.rank)):
        return x
    return graph.op("Transpose", x, shape=[x.shape[i] for i in perm], perm=[int(i) for i in perm])


def reshape(graph: Graph, x: Value, shape: Sequence[Size]) -> Value:
    """The same elements in another shape; at most one size that is not known is left for the reader to find."""
    if same(x.shape, shape):
        return x
    symbolic = [i for i, n in enumerate(shape) if is_symbolic(n)]
    known = [n for n in shape if not is_symbolic(n)]
    if 0 in known:
        return graph.op("Reshape", x, extents(graph, shape), shape=shape, allowzero=1)
    if len(symbolic) == 1:
        sizes = graph.ints([-1 if i in symbolic else n for i, n in enumerate(shape)])
        return graph.op("Reshape", x, sizes, shape=shape)
    return graph.op("Reshape", x, extents(graph, shape), shape=shape)


def merged(graph: Graph, x: Value, first: int, end: int) -> Value:
    """Axes ``first`` to ``end`` (exclusive) as one."""
    if end - first == 1:
        return x
    return reshape(graph, x, (*x.shape[:first], product(x.shape[first:end]), *x.shape[end:]))


def expand(graph: Graph, x: Value, shape: Sequence[Size]) -> Value:
    """Broadcast to a shape, whose last axes are those of the array."""
    return x if same(x.shape, shape) else graph.op("Expand", x, extents(graph, shape), shape=shape)


def filled(graph: Graph, value: Any, shape: Sequence[Size]) -> Value:
    """A shape full of one number."""
    return expand(graph, graph.constant(value), shape)


def sliced(
    graph: Graph, x: Value, starts: Sequence[Size], ends: Sequence[Size], axes: Sequence[int], steps: Sequence[int],
    shape: Sequence[Size],
) -> Value:  # fmt: skip
    """A part of an array along some axes."""
    if not axes:
        return x
    bounds = (extents(graph, starts), extents(graph, ends))
    return graph.op("Slice", x, *bounds, graph.ints(axes), graph.ints(steps), shape=shape)


def part(graph: Graph, x: Value, axis: int, start: Size, end: Size) -> Value:
    """Elements ``start`` to ``end`` along one axis."""
    shape = (*x.shape[:axis], end - start, *x.shape[axis + 1 :])
    return x if same(x.shape, shape) else sliced(graph, x, [start], [end], [axis], [1], shape)


def reversed_(graph: Graph, x: Value, axes: Sequence[int]) -> Value:
    """Elements in the opposite order along some axes."""
    n = len(axes)
    return sliced(graph, x, [LAST] * n, [FIRST] * n, axes, [-1] * n, x.shape)


def concatenated(graph: Graph, xs: Sequence[Value], axis: int, shape: Sequence[Size]) -> Value:
    """Arrays joined along an axis; those without elements are left out."""
    some = [x for x in xs if is_symbolic(x.shape[axis]) or x.shape[axis] != 0]
    xs = some or xs[:1]
    return xs[0] if len(xs) == 1 else graph.op("Concat", *xs, shape=shape, axis=axis)


def counted(graph: Graph, size: Size, dtype: Any = INT64) -> Value:
    """The numbers 0, 1, … below a size."""
    if not is_symbolic(size):
        return graph.constant(np.arange(size, dtype=np.int64).astype(dtype))
    zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
    end = squeeze(graph, extents(graph, [size]), [0])
    return cast(graph, graph.op("Range", zero, end, one, shape=(size,)), dtype)


def clipped(graph: Graph, x: Value, low: Any, high: Value) -> Value:
    """Whole numbers moved into a range."""
    return graph.op("Max", graph.op("Min", x, high), number(graph, x, low), shape=x.shape)
