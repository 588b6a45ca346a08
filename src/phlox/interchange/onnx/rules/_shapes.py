"""Rearrangements: shapes, axes, parts, and arrays of counted numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phlox.interchange.onnx._build import (
    cast,
    concatenated,
    counted,
    expand,
    part,
    reshape,
    reversed_,
    sliced,
    squeeze,
    transpose,
    unsqueeze,
)
from phlox.interchange.onnx._graph import Graph, Size, Value
from phlox.interchange.onnx._sizes import extents, is_symbolic, scalar
from phlox.interchange.onnx._step import Rules, Step

RULES = Rules()


@RULES.on("reshape")
def _reshape(graph: Graph, step: Step, x: Value) -> Value:
    order = step["dimensions"]
    return reshape(graph, x if order is None else transpose(graph, x, order), step.shape)


@RULES.on("expand_dims")
def _expand_dims(graph: Graph, step: Step, x: Value) -> Value:
    return unsqueeze(graph, x, sorted(step["dimensions"]))


@RULES.on("squeeze")
def _squeeze(graph: Graph, step: Step, x: Value) -> Value:
    return squeeze(graph, x, [d % x.rank for d in step["dimensions"]])


@RULES.on("transpose")
def _transpose(graph: Graph, step: Step, x: Value) -> Value:
    return transpose(graph, x, step["permutation"])


@RULES.on("rev")
def _rev(graph: Graph, step: Step, x: Value) -> Value:
    return reversed_(graph, x, step["dimensions"])


@RULES.on("broadcast_in_dim")
def _broadcast(graph: Graph, step: Step, x: Value) -> Value:
    shape, kept = step.shape, step["broadcast_dimensions"]
    new = [i for i in range(len(shape)) if i not in kept]
    return expand(graph, unsqueeze(graph, x, new) if x.rank else x, shape)


@RULES.on("tile")
def _tile(graph: Graph, step: Step, x: Value) -> Value:
    return graph.op("Tile", x, extents(graph, step["reps"]), shape=step.shape)


@RULES.on("concatenate")
def _concatenate(graph: Graph, step: Step, *xs: Value) -> Value:
    return concatenated(graph, xs, step["dimension"], step.shape)


@RULES.on("stack")
def _stack(graph: Graph, step: Step, *xs: Value) -> Value:
    axis = step["axis"] % (xs[0].rank + 1)
    return concatenated(graph, [unsqueeze(graph, x, [axis]) for x in xs], axis, step.shape)


@RULES.on("split")
def _split(graph: Graph, step: Step, x: Value) -> list[Value]:
    return _parts(graph, x, step["axis"], step["sizes"])


@RULES.on("unstack")
def _unstack(graph: Graph, step: Step, x: Value) -> list[Value]:
    axis = step["axis"] % x.rank
    return [squeeze(graph, y, [axis]) for y in _parts(graph, x, axis, [1] * len(step.outs))]


def _parts(graph: Graph, x: Value, axis: int, sizes: Sequence[Size]) -> list[Value]:
    if len(sizes) == 1:
        return [x]
    outs = [((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype) for n in sizes]
    return graph.ops("Split", [x, extents(graph, sizes)], outs, axis=axis)


@RULES.on("slice")
def _slice(graph: Graph, step: Step, x: Value) -> Value:
    starts, ends = step["start_indices"], step["limit_indices"]
    strides = step["strides"] or [1] * x.rank
    axes = [a for a in range(x.rank) if not (starts[a] == 0 and ends[a] == x.shape[a] and strides[a] == 1)]
    first, last, by = ([bounds[a] for a in axes] for bounds in (starts, ends, strides))
    return sliced(graph, x, first, last, axes, by, step.shape)


@RULES.on("iota")
def _iota(graph: Graph, step: Step) -> Value:
    shape, axis = step.shape, step["dimension"]
    numbers = counted(graph, shape[axis], step.dtype)
    return expand(graph, unsqueeze(graph, numbers, [i for i in range(len(shape)) if i != axis]), shape)


@RULES.on("dim_as_value")
def _dim_as_value(graph: Graph, step: Step) -> Value:
    return cast(graph, scalar(graph, step["dim"]), step.dtype)


@RULES.on("pad")
def _pad(graph: Graph, step: Step, x: Value, value: Value) -> Value:
    """Gaps within, then more at the ends; a negative amount takes away."""
    config = step["padding_config"]
    for axis, (_, _, gap) in enumerate(config):
        x = stuffed(graph, x, axis, gap, value)
    return edged(graph, x, [c[0] for c in config], [c[1] for c in config], value)


def stuffed(graph: Graph, x: Value, axis: int, gap: int, value: Value) -> Value:
    """``gap`` elements of ``value`` between any two along an axis."""
    if gap == 0:
        return x
    n, before, after = x.shape[axis], x.shape[:axis], x.shape[axis + 1 :]
    apart = unsqueeze(graph, x, [axis + 1])
    zeros = [0] * apart.rank
    wide = edged(graph, apart, zeros, [gap if i == axis + 1 else 0 for i in range(apart.rank)], value)
    long = reshape(graph, wide, (*before, n * (gap + 1), *after))
    return part(graph, long, axis, 0, n * (gap + 1) - gap)


def edged(graph: Graph, x: Value, low: Sequence[Size], high: Sequence[Size], value: Value) -> Value:
    """More elements before and after along each axis, fewer where the amount is negative."""
    for axis in range(x.rank):
        start, end = _taken(low[axis]), _taken(high[axis])
        x = part(graph, x, axis, start, x.shape[axis] - end)
    low, high = [_given(n) for n in low], [_given(n) for n in high]
    if all(not is_symbolic(n) and n == 0 for n in (*low, *high)):
        return x
    shape = [a + n + b for a, n, b in zip(low, x.shape, high, strict=True)]
    narrow = np.dtype(x.dtype).name in ("int16", "uint16")
    wide = np.dtype("int32") if narrow else x.dtype
    amounts = extents(graph, [*low, *high])
    y = graph.op("Pad", cast(graph, x, wide), amounts, cast(graph, value, wide), shape=shape, mode="constant")
    return cast(graph, y, x.dtype)


def _taken(amount: Size) -> int:
    return -amount if not is_symbolic(amount) and amount < 0 else 0


def _given(amount: Size) -> Size:
    return 0 if not is_symbolic(amount) and amount < 0 else amount
