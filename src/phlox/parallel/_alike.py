"""What goes with a model's arrays lies as they do: moments of an optimiser, averages of weights, sums of gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax.sharding import PartitionSpec

from phlox.core import Module, paths

Cuts = Mapping[str, PartitionSpec]
Known = Mapping[str, tuple[PartitionSpec, tuple[int, ...]]]  # how an array of a model is cut, and its shape, by path


def alike(known: Known, other: Module) -> dict[str, PartitionSpec]:
    """How the arrays of another Module are cut: as the model's array whose path ends theirs and whose shape they have.

    An optimiser's ``slots.0/slots/m/layers.0.weight`` is such; what is like no array of the model lies whole.
    """
    return {path: _cut(path, v, known) for path, v in paths(other).items()}


def _cut(path: str, value: Any, known: Known) -> PartitionSpec:
    rest = path
    while rest:
        if rest in known and known[rest][1] == value.shape:
            return known[rest][0]
        rest = max((rest.partition(mark)[2] for mark in "./"), key=len)
    return PartitionSpec()
