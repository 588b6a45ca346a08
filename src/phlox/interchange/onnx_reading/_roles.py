"""Which arrays of a file are trained, which are not, and which are numbers of its program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from phlox.interchange.onnx_reading._graph import Graph, Node
from phlox.interchange.onnx_reading._layout import kernel
from phlox.interchange.onnx_reading._lifting import is_floating

# Inputs, by place, that are no weights though they may be floating.
_FIXED: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4), "Resize": (1, 2), "Upsample": (1,), "Clip": (1, 2), "Pad": (2,), "Dropout": (1,),
    "Pow": (1,), "Range": (0, 1, 2), "OneHot": (1, 2), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7), "QLinearMatMul": (1, 2, 4, 5, 6, 7), "NonMaxSuppression": (3, 4),
    "STFT": (2,), "RoiAlign": (1,), "MelWeightMatrix": (3, 4),
}  # fmt: skip
# Inputs, by place, that decide sizes, so that whatever they are computed from must be known.
_SIZES: dict[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "Slice": (1, 2, 3, 4), "Tile": (1,), "Pad": (1, 3), "Resize": (1, 2, 3),
    "Upsample": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "OneHot": (1,), "TopK": (1,), "Squeeze": (1,),
    "Unsqueeze": (1,), "Split": (1,), "CenterCropPad": (1,), "AffineGrid": (1,), "Col2Im": (1, 2), "Trilu": (1,),
    "DFT": (1, 2), "STFT": (1, 3), "MaxUnpool": (2,), "Loop": (0,), "If": (0,), "HannWindow": (0,),
    "HammingWindow": (0,), "BlackmanWindow": (0,), "CumSum": (1,), "NonZero": (0,), "Compress": (1,),
    "ReduceSum": (1,), "ReduceMean": (1,), "ReduceMax": (1,), "ReduceMin": (1,), "ReduceProd": (1,),
}  # fmt: skip
_SMALL = 1024
"""Whole numbers beyond which an array is data, not sizes."""


@dataclass(frozen=True)
class Roles:
    """The arrays of a graph, each in one place."""

    weights: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
    program: Mapping[str, np.ndarray]


def roles(graph: Graph, state: frozenset[str] = frozenset()) -> Roles:
    """Floating arrays with axes are weights, but where an operator takes a setting, a size or a statistic.

    What has no axes is a number of the computation (an epsilon, a scale); small whole numbers and flags are sizes. A
    file of Phlox says itself what is ``state``.
    """
    sizes = _sizes(graph)
    fixed = state | {
        inputs[place] for node, inputs in uses(graph) for place in _FIXED.get(node.kind, ()) if place < len(inputs)
    }
    found: dict[str, dict[str, np.ndarray]] = {"weights": {}, "state": {}, "program": {}}
    for name, array in graph.arrays.items():
        found["program" if name in sizes else _role(name in fixed, array)][name] = array
    return Roles(**found)


def _role(fixed: bool, array: np.ndarray) -> str:
    if array.dtype == object or not array.ndim or (array.size <= _SMALL and array.dtype.kind in "iub"):
        return "program"
    return "weights" if is_floating(array) and array.dtype.itemsize > 1 and not fixed else "state"


def uses(graph: Graph, names: Mapping[str, str] | None = None) -> Iterator[tuple[Node, list[str]]]:
    """All nodes, those of graphs inside included, each with its inputs by the names that arrays have now."""
    names = names or {}
    for node in graph.nodes:
        yield node, [names.get(n, n) for n in node.inputs]
        for inner in node.attributes.values():
            if isinstance(inner, Graph):
                yield from uses(inner, {**names, **inner.lifted})


def _sizes(graph: Graph) -> set[str]:
    """What sizes are computed from, as far as no input is in it."""
    free = set(graph.arrays)
    for node in graph.nodes:
        if node.kind in ("Shape", "Size") or node.reads <= free:
            free.update(node.outputs)
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if node.kind not in ("Shape", "Size") and not found.isdisjoint(node.outputs):
            found |= node.reads
        found.update(
            node.inputs[i] for i in _SIZES.get(node.kind, ()) if i < len(node.inputs) and node.inputs[i] in free
        )
    return found


def kernels(graph: Graph, weights: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Weights that convolutions alone read, each with the order in which Phlox has its axes."""
    found: dict[str, set[tuple[int, ...] | None]] = {name: set() for name in weights}
    for node, inputs in uses(graph):
        for place, name in enumerate(inputs):
            if name in found and not _is_asked(node, place):
                found[name].add(_kernel(node, place, weights[name].ndim))
    for outer in (graph, *(g for node in graph.walk() for g in node.attributes.values() if isinstance(g, Graph))):
        for port in outer.outputs:
            found.pop(port.name, None)
    return {name: order for name, orders in found.items() if len(orders) == 1 and (order := next(iter(orders)))}


def _is_asked(node: Node, place: int) -> bool:
    """Whether an operator wants to know of an array what it is, not what it holds."""
    return not node.domain and (node.kind in ("Shape", "Size") or (node.kind == "CastLike" and place == 1))


def _kernel(node: Node, place: int, rank: int) -> tuple[int, ...] | None:
    if place != 1 or node.domain or node.kind not in ("Conv", "ConvTranspose") or not 3 <= rank <= 5:
        return None
    return kernel(rank, node.kind == "ConvTranspose")
