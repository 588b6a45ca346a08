"""What goes with a model's arrays lies as they do: moments of an optimiser, averages of weights, sums of gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from jax.sharding import PartitionSpec

from phlox.core import Module, paths

T = TypeVar("T")

Cuts = Mapping[str, PartitionSpec]
Known = Mapping[str, tuple[PartitionSpec, tuple[int, ...]]]  # how an array of a model is cut, and its shape, by path


def alike(known: Known, other: Module) -> dict[str, PartitionSpec]:
    """How the arrays of another Module are cut: as the model's array whose path ends theirs and whose shape they have.

    An optimiser's ``slots.0/slots/m/layers.0.weight`` is such; what is like no array of the model lies whole.
    """
    whole = PartitionSpec()
    return {path: meant(path, v.shape, known, whole) for path, v in paths(other).items()}


def meant(path: str, shape: tuple[int, ...], known: Mapping[str, tuple[T, tuple[int, ...]]], none: T) -> T:
    """What is known of the array whose path ends this one and that has this shape; else ``none``.

    >>> meant("slots.0/m/layers.0.weight", (2,), {"layers.0.weight": ("cut", (2,))}, "whole")
    'cut'
    """
    rest = path
    while rest:
        if rest in known and known[rest][1] == shape:
            return known[rest][0]
        rest = max((rest.partition(mark)[2] for mark in "./"), key=len)
    return none
