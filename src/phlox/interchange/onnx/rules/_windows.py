"""Reductions over sliding windows: pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from phlox.interchange.onnx._build import cast, computed, reshape, transpose
from phlox.interchange.onnx._graph import Graph, Size, Value
from phlox.interchange.onnx._sizes import is_symbolic, product
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import FLOAT32, lowest
from phlox.interchange.onnx.rules._shapes import edged, stuffed

RULES = Rules()


@dataclass(frozen=True)
class _Pool:
    """A window over some axes."""

    axes: list[int]
    size: list[int]
    stride: list[int]
    padding: list[tuple[Size, Size]]
    dilation: list[int]

    def first(self, n: int) -> _Pool:
        """The same over its first ``n`` axes."""
        return _Pool(self.axes[:n], self.size[:n], self.stride[:n], self.padding[:n], self.dilation[:n])

    def rest(self, n: int) -> _Pool:
        """The same over the axes behind."""
        return _Pool(self.axes[n:], self.size[n:], self.stride[n:], self.padding[n:], self.dilation[n:])


def _reduce_window(kind: str, graph: Graph, step: Step, x: Value) -> Value:
    dtype = x.dtype
    x = cast(graph, x, FLOAT32 if np.dtype(dtype).name in ("float16", "bfloat16", "float32") else np.float64)
    x = computed(graph, "Neg", x) if kind == "min" else x
    empty = graph.constant(np.asarray(0 if kind == "sum" else lowest(x.dtype), x.dtype))
    for axis, n in enumerate(step["base_dilation"]):
        x = stuffed(graph, x, axis, n - 1, empty)
    pool = _pool(step, x.rank)
    low, high = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(pool.axes):
        if not _within(pool.size[i], pool.padding[i]):
            (low[axis], high[axis]), pool.padding[i] = pool.padding[i], (0, 0)
    x = edged(graph, x, low, high, empty)
    while pool.axes:  # a window over more than three axes is one over three, then one over the others
        x, pool = _pooled(graph, x, pool.first(3), kind), pool.rest(3)
    return cast(graph, computed(graph, "Neg", x) if kind == "min" else x, dtype)


def _pool(step: Step, rank: int) -> _Pool:
    size, stride, padding = step["window_dimensions"], step["window_strides"], step["padding"]
    moved = [i for i in range(rank) if not (size[i] == 1 and stride[i] == 1 and tuple(padding[i]) == (0, 0))]
    if any(is_symbolic(size[i]) for i in moved):
        raise step.refusal("a window as large as an axis of unknown size", "reduce over the axis: jnp.mean(x, axis)")
    columns = (size, stride, padding, step["window_dilation"])
    return _Pool(moved, *([column[i] for i in moved] for column in columns))


def _within(size: int, padding: tuple[Size, Size]) -> bool:
    """Whether readers take it: known, not negative, less than a window."""
    return all(not is_symbolic(n) and 0 <= n < size for n in padding)


def _pooled(graph: Graph, x: Value, pool: _Pool, kind: str) -> Value:
    """Windows over at most three axes, which come last; all others are batch and channels."""
    others = [i for i in range(x.rank) if i not in pool.axes]
    order = [*others, *pool.axes]
    turned = transpose(graph, x, order)
    space = turned.shape[len(others) :]
    front = turned.shape[:2] if len(others) == 2 else (product(turned.shape[: len(others)]), 1)
    y = _operator(graph, reshape(graph, turned, (*front, *space)), pool, kind)
    y = reshape(graph, y, (*turned.shape[: len(others)], *y.shape[2:]))
    return transpose(graph, y, [order.index(i) for i in range(x.rank)])


def _operator(graph: Graph, x: Value, pool: _Pool, kind: str) -> Value:
    shape = [*x.shape[:2]]
    for i, n in enumerate(x.shape[2:]):
        reach = (pool.size[i] - 1) * pool.dilation[i] + 1
        shape.append((n + sum(pool.padding[i]) - reach) // pool.stride[i] + 1)
    window = {
        "kernel_shape": list(pool.size), "strides": list(pool.stride), "pads": _pads(pool.padding),
    }  # fmt: skip
    if kind != "sum":
        return graph.op("MaxPool", x, shape=shape, dilations=list(pool.dilation), **window)
    if x.dtype != FLOAT32 or any(d != 1 for d in pool.dilation):
        return _by_convolution(graph, x, pool, shape)
    mean = graph.op("AveragePool", x, shape=shape, count_include_pad=1, **window)
    return graph.op("Mul", mean, graph.constant(np.asarray(product(pool.size), x.dtype)))


def _pads(padding: Sequence[tuple[Size, Size]]) -> list[int]:
    return [int(pair[end]) for end in (0, 1) for pair in padding]


def _by_convolution(graph: Graph, x: Value, pool: _Pool, shape: list[Size]) -> Value:
    """Sums of whole numbers, and those with gaps, which ONNX averages from opset 19 on: every channel is an image."""
    flat = reshape(graph, cast(graph, x, FLOAT32), (product(x.shape[:2]), 1, *x.shape[2:]))
    ones = graph.constant(np.ones((1, 1, *pool.size), np.float32))
    attributes = {
        "kernel_shape": list(pool.size), "strides": list(pool.stride), "pads": _pads(pool.padding),
        "dilations": list(pool.dilation), "group": 1,
    }  # fmt: skip
    y = graph.op("Conv", flat, ones, shape=(flat.shape[0], 1, *shape[2:]), **attributes)
    return cast(graph, reshape(graph, y, shape), x.dtype)


RULES.on("reduce_window_max")(partial(_reduce_window, "max"))
RULES.on("reduce_window_min")(partial(_reduce_window, "min"))
RULES.on("reduce_window_sum")(partial(_reduce_window, "sum"))


@RULES.on("reduce_window")
def _reduce_window_by(graph: Graph, step: Step, *xs: Value) -> Value:
    """A maximum or minimum that begins at another number than JAX knows one by."""
    names = [eqn.primitive.name for eqn in step["jaxpr"].eqns]
    if len(xs) != 2 or names not in (["max"], ["min"]):
        raise step.refusal(f"windows reduced by {', '.join(names)}", "use jax.lax.add, max or min, from its own start")
    y = _reduce_window(names[0], graph, step, xs[0])
    return computed(graph, names[0].title(), y, xs[1])
