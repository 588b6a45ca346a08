"""What goes with a model's arrays lies as they do: moments of an optimiser, averages of weights, sums of gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from jax.sharding import PartitionSpec

from phlox.core import Module, paths
from phlox.optim import cut_of_scales

T = TypeVar("T")

Cuts = Mapping[str, PartitionSpec]
Known = Mapping[str, tuple[PartitionSpec, tuple[int, ...]]]  # how an array of a model is cut, and its shape, by path


def alike(known: Known, other: Module, sizes: Mapping[str, int]) -> dict[str, PartitionSpec]:
    """How the arrays of another Module are cut: as the model's array whose path ends theirs and whose shape they have.

    An optimiser's ``slots.0/slots/m/layers.0.weight`` is such; what is like no array of the model lies whole. Of an
    array in 8 bits the ``/codes`` are such too, and its ``/scales`` are cut where that cuts no block.
    """
    return {path: _cut(path, v.shape, known, sizes) for path, v in paths(other).items()}


def _cut(path: str, shape: tuple[int, ...], known: Known, sizes: Mapping[str, int]) -> PartitionSpec:
    of, _, part = path.rpartition("/")
    if part == "scales":
        for cut, whole in _ends(of, known):
            if len(whole) == len(shape):
                return cut_of_scales(cut, whole, shape, sizes)
    return meant(path, shape, known, PartitionSpec())


def meant(path: str, shape: tuple[int, ...], known: Mapping[str, tuple[T, tuple[int, ...]]], none: T) -> T:
    """What is known of the array whose path ends this one and that has this shape; else ``none``.

    >>> meant("slots.0/m/layers.0.weight", (2,), {"layers.0.weight": ("cut", (2,))}, "whole")
    'cut'
    """
    found = _ends(path.removesuffix("/codes"), known)
    return next((what for what, whole in found if whole == shape), none)


def _ends(path: str, known: Mapping[str, T]) -> Iterator[T]:
    """What is known by a path that ends this one, the longest first."""
    while path:
        if path in known:
            yield known[path]
        path = max((path.partition(mark)[2] for mark in "./"), key=len)
