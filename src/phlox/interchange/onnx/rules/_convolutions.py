"""Convolutions: ONNX has channels before space, so the axes turn before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phlox.interchange.onnx._build import cast, reshape, reversed_, transpose
from phlox.interchange.onnx._graph import Graph, Size, Value
from phlox.interchange.onnx._sizes import is_symbolic
from phlox.interchange.onnx._step import Rules, Step, known_size
from phlox.interchange.onnx._types import FLOAT32
from phlox.interchange.onnx.rules._shapes import edged, stuffed

RULES = Rules()


@dataclass(frozen=True)
class _Window:
    """What both kinds of convolution need to know; a pair of amounts for each axis of space."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[Size, Size], ...]
    spread: tuple[int, ...]  # of the input, by zeros
    dilation: tuple[int, ...]  # of the kernel
    groups: int
    shape: tuple[Size, ...]  # of the result, channels first

    def reach(self) -> list[int]:
        """How far a window goes beyond its first element."""
        return [(k - 1) * d for k, d in zip(self.size, self.dilation, strict=True)]


@RULES.on("conv_general_dilated")
def _conv(graph: Graph, step: Step, x: Value, kernel: Value) -> Value:
    if step["batch_group_count"] != 1:
        raise step.refusal("groups of the batch", "export the forward pass, not a gradient of kernels")
    numbers = step["dimension_numbers"]
    if x.rank == 2:
        raise step.refusal("no axis of space", "use a Dense layer")
    x = cast(graph, transpose(graph, x, numbers.lhs_spec), FLOAT32)
    kernel = cast(graph, transpose(graph, kernel, numbers.rhs_spec), FLOAT32)
    window = _Window(
        tuple(known_size(step, n, "a kernel") for n in kernel.shape[2:]),
        tuple(step["window_strides"]),
        tuple((low, high) for low, high in step["padding"]),
        tuple(step["lhs_dilation"]),
        tuple(step["rhs_dilation"]),
        step["feature_group_count"],
        tuple(step.shape[i] for i in numbers.out_spec),
    )
    y = _transposed(graph, x, kernel, window) if _is_transposed(window) else _forward(graph, x, kernel, window)
    back = [numbers.out_spec.index(i) for i in range(y.rank)]
    return cast(graph, transpose(graph, y, back), step.dtype)


def _is_transposed(w: _Window) -> bool:
    """Whether it is the gradient of a convolution, which ONNX has an operator for: spread input, no stride."""
    padding = [n for pair in w.padding for n in pair]
    return any(n > 1 for n in w.spread) and all(n == 1 for n in w.stride) and not any(map(is_symbolic, padding))


def _forward(graph: Graph, x: Value, kernel: Value, w: _Window) -> Value:
    """Zeros that ONNX's own padding has no form for (gaps, a negative or an unknown amount) are put in first."""
    zero = graph.constant(np.zeros((), x.dtype))
    for axis, n in enumerate(w.spread, 2):
        x = stuffed(graph, x, axis, n - 1, zero)
    padding = w.padding
    if any(is_symbolic(n) or n < 0 for pair in padding for n in pair):
        x = edged(graph, x, [0, 0, *(p[0] for p in padding)], [0, 0, *(p[1] for p in padding)], zero)
        padding = tuple((0, 0) for _ in padding)
    pads = [int(p[end]) for end in (0, 1) for p in padding]
    return graph.op(
        "Conv", x, kernel, shape=w.shape, kernel_shape=list(w.size), strides=list(w.stride), dilations=list(w.dilation),
        pads=pads, group=w.groups,
    )  # fmt: skip


def _transposed(graph: Graph, x: Value, kernel: Value, w: _Window) -> Value:
    """Padding counts from the full result: what is left over there is cut off, what is missing is zeros."""
    full = w.reach()
    cut = [[r - p[end] for r, p in zip(full, w.padding, strict=True)] for end in (0, 1)]
    pads = [max(0, int(n)) for end in cut for n in end]
    more = [[max(0, -int(n)) for n in end] for end in cut]
    inner = [n - a - b for n, a, b in zip(w.shape[2:], *more, strict=True)]
    y = graph.op(
        "ConvTranspose", x, _turned(graph, kernel, w.groups), shape=(*w.shape[:2], *inner), kernel_shape=list(w.size),
        strides=list(w.spread), dilations=list(w.dilation), pads=pads, group=w.groups,
    )  # fmt: skip
    return edged(graph, y, [0, 0, *more[0]], [0, 0, *more[1]], graph.constant(np.zeros((), x.dtype)))


def _turned(graph: Graph, kernel: Value, groups: int) -> Value:
    """(out, in / groups, …) as (in, out / groups, …), back to front in space."""
    out, each, *size = kernel.shape
    space = range(2, kernel.rank)
    apart = reshape(graph, reversed_(graph, kernel, list(space)), (groups, out // groups, each, *size))
    swapped = transpose(graph, apart, [0, 2, 1, *range(3, kernel.rank + 1)])
    return reshape(graph, swapped, (groups * each, out // groups, *size))
