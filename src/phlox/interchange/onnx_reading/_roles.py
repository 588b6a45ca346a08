"""Which arrays of a file are trained, which are not, and which are numbers of its program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._graph import Graph

# Inputs, by place, that are no weights though they may be floating.
_FIXED: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4), "Resize": (1, 2), "Upsample": (1,), "Clip": (1, 2), "Pad": (2,), "Dropout": (1,),
    "Pow": (1,), "Range": (0, 1, 2), "OneHot": (1, 2), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7), "QLinearMatMul": (1, 2, 4, 5, 6, 7), "NonMaxSuppression": (3, 4),
    "STFT": (2,), "RoiAlign": (1,), "MelWeightMatrix": (3, 4),
}  # fmt: skip
_SMALL = 1024
"""Whole numbers beyond which an array is data, not sizes."""


@dataclass(frozen=True)
class Roles:
    """The arrays of a graph, each in one place."""

    weights: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
    program: Mapping[str, np.ndarray]


def roles(graph: Graph) -> Roles:
    """Floating arrays with axes are weights, but where an operator takes a setting or a statistic.

    What has no axes is a number of the computation (an epsilon, a scale); small whole numbers and flags are sizes.
    """
    fixed = {
        node.inputs[place] for node in graph.walk() for place in _FIXED.get(node.kind, ()) if place < len(node.inputs)
    }
    found: dict[str, dict[str, np.ndarray]] = {"weights": {}, "state": {}, "program": {}}
    for name, array in graph.arrays.items():
        found[_role(name in fixed, array)][name] = array
    return Roles(**found)


def _role(fixed: bool, array: np.ndarray) -> str:
    if array.dtype == object or not array.ndim or (array.size <= _SMALL and array.dtype.kind in "iub"):
        return "program"
    floating = jnp.issubdtype(array.dtype, jnp.inexact) and array.dtype.itemsize > 1
    return "weights" if floating and not fixed else "state"
