"""Elements and windows read or written where indices say.

A gather reads windows of an operand. Its axes are of two sorts: those that are read whole, and those that an index, a
batch or a narrower window says something about. The latter are brought to the front, and a grid of indices over them,
with an axis for each batch axis and each narrower window, is what GatherND and ScatterND take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from phlox.interchange.onnx._build import (
    cast,
    clipped,
    concatenated,
    counted,
    expand,
    number,
    part,
    squeeze,
    transpose,
    unsqueeze,
)
from phlox.interchange.onnx._graph import Graph, Size, Value
from phlox.interchange.onnx._sizes import extent
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import BOOL, INT64, highest, is_float, lowest
from phlox.interchange.onnx.rules._logic import where
from phlox.interchange.onnx.rules._shapes import edged

RULES = Rules()


@dataclass(frozen=True)
class _Plan:
    """How windows lie in an operand, for a gather and a scatter alike."""

    shape: tuple[Size, ...]  # of the operand
    sizes: tuple[Size, ...]  # of a window
    mapped: tuple[int, ...]  # the axis that each index is of
    batching: dict[int, int]  # axes of the operand that go along with one of the indices
    collapsed: tuple[int, ...]  # axes of one element that the result lacks
    batch: tuple[Size, ...]  # of the indices

    @property
    def indexed(self) -> list[int]:
        """The axes that are not read whole."""
        gone = {*self.collapsed, *self.batching}
        return [d for d, n in enumerate(self.sizes) if d in gone or n != self.shape[d]]

    @property
    def windows(self) -> list[int]:
        """Those of them of which the result has a narrower window."""
        return [d for d in self.indexed if d not in self.collapsed and d not in self.batching]

    @property
    def whole(self) -> list[int]:
        """The axes that are read whole."""
        return [d for d in range(len(self.shape)) if d not in self.indexed]

    @property
    def grid(self) -> tuple[Size, ...]:
        """The shape of the indices over batch and windows."""
        return (*self.batch, *(self.sizes[d] for d in self.windows))

    def order(self, rank: int, offsets: Sequence[int]) -> list[int]:
        """For each axis of a result whose window axes are at ``offsets``: where it is in batch, windows, whole axes."""
        kept = sorted([*self.windows, *self.whole])
        batch = iter(range(len(self.batch)))
        found = {d: len(self.batch) + i for i, d in enumerate([*self.windows, *self.whole])}
        offset = iter(kept)
        return [found[next(offset)] if i in offsets else next(batch) for i in range(rank)]


# --- the grid of indices ----------------------------------------------------------------------------------


def _starts(graph: Graph, plan: _Plan, indices: Value) -> dict[int, Value]:
    """The first element of each window along each axis that has an index."""
    whole = cast(graph, indices, INT64)
    axis = whole.rank - 1
    return {
        d: graph.op("Gather", whole, graph.constant(np.int64(i)), shape=plan.batch, axis=axis)
        for i, d in enumerate(plan.mapped)
    }


def _last(graph: Graph, plan: _Plan, d: int) -> Value:
    """The largest index at which a window lies within the operand."""
    return squeeze(graph, extent(graph, plan.shape[d] - plan.sizes[d]), [0])


def _inside(graph: Graph, plan: _Plan, starts: dict[int, Value]) -> Value | None:
    """A flag for each window: whether it lies within the operand; None where all surely do."""
    flags: Value | None = None
    for d, start in starts.items():
        low = graph.op("GreaterOrEqual", start, number(graph, start, 0), dtype=BOOL)
        high = graph.op("LessOrEqual", start, _last(graph, plan, d), dtype=BOOL)
        both = graph.op("And", low, high)
        flags = both if flags is None else graph.op("And", flags, both)
    return None if flags is None or (flags.known is not None and bool(flags.known.all())) else flags


def _clipped(graph: Graph, plan: _Plan, starts: dict[int, Value]) -> dict[int, Value]:
    return {d: clipped(graph, start, 0, _last(graph, plan, d)) for d, start in starts.items()}


def _component(graph: Graph, plan: _Plan, starts: dict[int, Value], d: int) -> Value:
    """The index along one axis, of as many axes as the grid has."""
    rank, batch = len(plan.grid), len(plan.batch)
    if d in plan.batching:
        along = plan.batching[d]
        return unsqueeze(graph, counted(graph, plan.batch[along]), [i for i in range(rank) if i != along])
    start = starts.get(d, graph.constant(np.int64(0)))
    start = unsqueeze(graph, start, range(start.rank, rank)) if start.rank else start
    if d not in plan.windows:
        return start
    place = batch + plan.windows.index(d)
    within = unsqueeze(graph, counted(graph, plan.sizes[d]), [i for i in range(rank) if i != place])
    shape = tuple(plan.sizes[d] if i == place else n for i, n in enumerate(start.shape)) or within.shape
    return graph.op("Add", start, within, shape=shape)


def _grid(graph: Graph, plan: _Plan, starts: dict[int, Value]) -> Value:
    """Indices of shape (*grid, indexed axes)."""
    parts = [expand(graph, _component(graph, plan, starts, d), plan.grid) for d in plan.indexed]
    last = len(plan.grid)
    apart = [unsqueeze(graph, p, [last]) for p in parts]
    return concatenated(graph, apart, last, (*plan.grid, len(parts)))


# --- reading ------------------------------------------------------------------------------------------------


@RULES.on("gather")
def _gather(graph: Graph, step: Step, x: Value, indices: Value) -> Value:
    numbers, sizes = step["dimension_numbers"], step["slice_sizes"]
    batching = dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True))
    for d in range(x.rank):  # what no index moves begins at 0
        if d not in numbers.start_index_map and d not in batching and d not in numbers.collapsed_slice_dims:
            x = part(graph, x, d, 0, sizes[d])
    plan = _Plan(
        x.shape, tuple(sizes), tuple(numbers.start_index_map), batching, tuple(numbers.collapsed_slice_dims),
        indices.shape[:-1],
    )  # fmt: skip
    starts = _starts(graph, plan, indices)
    inside = _inside(graph, plan, starts) if _mode(step) == "FILL_OR_DROP" else None
    if inside is not None or _mode(step) == "CLIP":
        starts = _clipped(graph, plan, starts)
    y = _read(graph, plan, x, starts)
    y = transpose(graph, y, plan.order(y.rank, numbers.offset_dims))
    return y if inside is None else _with_fill(graph, step, y, inside, numbers.offset_dims)


def _mode(step: Step) -> str:
    return step["mode"].name


def _read(graph: Graph, plan: _Plan, x: Value, starts: dict[int, Value]) -> Value:
    """The elements, with axes of batch, windows, whole axes."""
    grid, rest = plan.grid, [x.shape[d] for d in plan.whole]
    if not plan.indexed:
        return expand(graph, x, (*grid, *rest))
    if _is_along_one_axis(plan):
        (axis,) = plan.collapsed
        return graph.op("GatherElements", x, starts[axis], shape=grid, axis=axis)
    if len(plan.indexed) == 1:
        (axis,) = plan.indexed
        at = expand(graph, _component(graph, plan, starts, axis), grid)
        before = len([d for d in plan.whole if d < axis])
        y = graph.op("Gather", x, at, shape=(*rest[:before], *grid, *rest[before:]), axis=axis)
        front = range(before, before + len(grid))
        return transpose(graph, y, [*front, *range(before), *range(before + len(grid), y.rank)])
    front = transpose(graph, x, [*plan.indexed, *plan.whole])
    return graph.op("GatherND", front, _grid(graph, plan, starts), shape=(*grid, *rest), batch_dims=0)


def _is_along_one_axis(plan: _Plan) -> bool:
    """Whether it is ``take_along_axis``: one index, and all other axes go along with those of the indices, in order."""
    same = all(d == i for d, i in plan.batching.items())
    return same and len(plan.batching) == len(plan.shape) - 1 == len(plan.batch) - 1 and plan.mapped == plan.collapsed


def _with_fill(graph: Graph, step: Step, y: Value, inside: Value, offsets: Sequence[int]) -> Value:
    """A number in place of windows that leave the operand."""
    value = step["fill_value"]
    if value is None:
        value = np.nan if is_float(y.dtype) else (highest if np.dtype(y.dtype).kind in "ub" else lowest)(y.dtype)
    flags = unsqueeze(graph, inside, sorted(offsets)) if inside.rank else inside
    return where(graph, flags, y, number(graph, y, value))


# --- writing ------------------------------------------------------------------------------------------------


def _scatter(reduction: str, graph: Graph, step: Step, x: Value, indices: Value, updates: Value) -> Value:
    numbers = step["dimension_numbers"]
    batching = dict(zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True))
    collapsed = tuple(numbers.inserted_window_dims)
    window = iter(updates.shape[i] for i in numbers.update_window_dims)
    sizes = tuple(1 if d in collapsed or d in batching else next(window) for d in range(x.rank))
    mapped = tuple(numbers.scatter_dims_to_operand_dims)
    plan = _Plan(x.shape, sizes, mapped, batching, collapsed, indices.shape[:-1])
    order = plan.order(updates.rank, numbers.update_window_dims)
    updates = transpose(graph, updates, [order.index(i) for i in range(updates.rank)])
    if not plan.indexed:
        return _over_all(graph, step, x, updates, reduction)
    turned = [*plan.indexed, *plan.whole]
    y = _written(graph, step, plan, (transpose(graph, x, turned), indices, updates), reduction)
    return transpose(graph, y, [turned.index(i) for i in range(x.rank)])


def _over_all(graph: Graph, step: Step, x: Value, updates: Value, reduction: str) -> Value:
    if updates.rank != x.rank:
        raise step.refusal("several windows, each as large as the array", "write one, or sum them first")
    kinds = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
    return updates if reduction == "none" else graph.op(kinds[reduction], x, updates)


def _written(graph: Graph, step: Step, plan: _Plan, arrays: tuple[Value, Value, Value], reduction: str) -> Value:
    """Windows that leave the array are dropped: they are written into a row behind it, which is then cut off."""
    x, indices, updates = arrays
    starts, size = _starts(graph, plan, indices), x.shape[0]
    inside = None if _mode(step) == "CLIP" else _inside(graph, plan, starts)
    if _mode(step) == "CLIP" or inside is not None:
        starts = _clipped(graph, plan, starts)
    at = _grid(graph, plan, starts)
    if inside is not None:
        row = [1] + [0] * (x.rank - 1)
        x = edged(graph, x, [0] * x.rank, row, graph.constant(np.zeros((), x.dtype)))
        at = _redirected(graph, plan, at, inside, size)
    y = graph.op("ScatterND", x, at, updates, **({} if reduction == "none" else {"reduction": reduction}))
    return y if inside is None else part(graph, y, 0, 0, size)


def _redirected(graph: Graph, plan: _Plan, at: Value, inside: Value, size: Size) -> Value:
    """Indices whose first number is the size where a window shall not be written."""
    flags = unsqueeze(graph, inside, range(inside.rank, at.rank)) if at.rank > inside.rank else inside
    away = extent(graph, size)
    if len(plan.indexed) > 1:
        away = concatenated(graph, [away, graph.ints([0] * (len(plan.indexed) - 1))], 0, (len(plan.indexed),))
    return graph.op("Where", flags, at, away, shape=at.shape, dtype=INT64)


for _name, _reduction in {
    "scatter": "none", "scatter-add": "add", "scatter-mul": "mul", "scatter-max": "max", "scatter-min": "min",
}.items():  # fmt: skip
    RULES.on(_name)(partial(_scatter, _reduction))


@RULES.on("scatter-sub")
def _scatter_sub(graph: Graph, step: Step, x: Value, indices: Value, updates: Value) -> Value:
    return _scatter("add", graph, step, x, indices, graph.op("Neg", updates))


# --- parts whose place is computed ----------------------------------------------------------------------------


def _moving(graph: Graph, x: Value, starts: Sequence[Value], sizes: Sequence[Size]) -> dict[int, Value]:
    """Where a part begins along each axis that it does not fill, kept within the array; of shape (1,)."""
    found: dict[int, Value] = {}
    for d, start in enumerate(starts):
        if sizes[d] != x.shape[d]:
            at = unsqueeze(graph, cast(graph, start, INT64), [0])
            found[d] = clipped(graph, at, 0, extent(graph, x.shape[d] - sizes[d]))
    return found


def _joined(graph: Graph, values: Sequence[Value]) -> Value:
    return concatenated(graph, values, 0, (len(values),))


@RULES.on("dynamic_slice")
def _dynamic_slice(graph: Graph, step: Step, x: Value, *starts: Value) -> Value:
    sizes = step["slice_sizes"]
    moving = _moving(graph, x, starts, sizes)
    if not moving:
        return x
    ends = [graph.op("Add", v, extent(graph, sizes[d])) for d, v in moving.items()]
    bounds = (_joined(graph, list(moving.values())), _joined(graph, ends))
    axes = graph.ints(moving)
    return graph.op("Slice", x, *bounds, axes, graph.ints([1] * len(moving)), shape=step.shape)


@RULES.on("dynamic_update_slice")
def _dynamic_update_slice(graph: Graph, step: Step, x: Value, update: Value, *starts: Value) -> Value:
    """Along one axis: what is before, the update, what is behind. Along several, one after the other."""
    moving = _moving(graph, x, starts, update.shape)
    return _replaced(graph, x, update, list(moving.items()))


def _replaced(graph: Graph, x: Value, update: Value, moving: list[tuple[int, Value]]) -> Value:
    if not moving:
        return update
    (axis, start), *rest = moving
    end = graph.op("Add", start, extent(graph, update.shape[axis]))
    one, along = graph.ints([1]), graph.ints([axis])
    shape = x.shape
    if rest:  # the rows of the array that the update meets, with the update in them
        met = (*shape[:axis], update.shape[axis], *shape[axis + 1 :])
        update = _replaced(graph, graph.op("Slice", x, start, end, along, one, shape=met), update, rest)
    before = graph.op("Slice", x, graph.ints([0]), start, along, one, shape=_unknown(shape, axis))
    behind = graph.op("Slice", x, end, graph.ints([np.iinfo(np.int64).max]), along, one, shape=_unknown(shape, axis))
    return graph.op("Concat", before, update, behind, shape=shape, axis=axis)


def _unknown(shape: tuple[Size, ...], axis: int) -> tuple[Any, ...]:
    """A shape of which one size depends on values."""
    return (*shape[:axis], _Unknown(), *shape[axis + 1 :])


class _Unknown:
    """A size that depends on values."""
