"""What goes with a model's arrays lies as they do: moments of an optimiser, averages of weights, sums of gradients."""

from __future__ import annotations

from collections.abc import Mapping

from jax.sharding import PartitionSpec

from phlox.core import Module, paths
from phlox.optim import cut_of_scales

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
    found = _ends(of if part == "codes" else path, known)
    return next((cut for cut, whole in found if whole == shape), PartitionSpec())


def _ends(path: str, known: Known) -> list[tuple[PartitionSpec, tuple[int, ...]]]:
    """What is known of the arrays whose paths end this one, the longest first."""
    found = []
    while path:
        if path in known:
            found.append(known[path])
        path = max((path.partition(mark)[2] for mark in "./"), key=len)
    return found
