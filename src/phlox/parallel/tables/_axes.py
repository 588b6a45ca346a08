"""Which axes of an array are the inputs and the outputs of a map: what cutting by columns or rows means for it.

A class of a user's own, or of a room above, says so in its body: ``tensor_axes = {"table": ("in", "out")}``. Axes are
counted from the last; those in front, of kernels and of stacked layers, stay whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from phlox.core import Module
from phlox.nn import Conv, ConvTranspose, Dense, DepthwiseConv, Embedding, EmbeddingBag

Axes = tuple[str | None, ...]
Arrays = Mapping[str, Axes]

MAP: Arrays = {"weight": ("in", "out"), "bias": ("out",)}


def _conv(layer: Any) -> Arrays:
    """Of a convolution in groups an output has inputs of its own, so it is cut by outputs alone."""
    return MAP if layer.groups == 1 else {"weight": (None, "out"), "bias": ("out",)}


def _back(layer: Any) -> Arrays:
    """A transposed one counts its outputs within a group."""
    return MAP if layer.groups == 1 else {}


_AXES: dict[type[Module], Arrays | Callable[[Any], Arrays]] = {
    Dense: MAP,
    Conv: _conv,
    ConvTranspose: _back,
    DepthwiseConv: {"weight": (None, "out"), "bias": ("out",)},
    Embedding: {"weight": ("in", "out")},
    EmbeddingBag: {"weight": ("in", "out")},
}
# How a map is cut that nothing around it says anything of.
_ALONE = {Dense: "column", Conv: "column", ConvTranspose: "column", Embedding: "row", EmbeddingBag: "row"}


def axes_of(layer: Module, name: str) -> Axes:
    """The last axes of one of a layer's arrays, ``"in"``, ``"out"`` or None each; none where it is no map's."""
    declared = getattr(type(layer), "tensor_axes", {})
    if name in declared:
        return declared[name]
    known: Any = _known(_AXES, type(layer))
    if callable(known):
        known = known(layer)
    return () if known is None else known.get(name, ())


def alone(layer: Module) -> str:
    """How a layer is cut that nothing around it says anything of."""
    return "whole" if is_each_by_itself(layer) else _known(_ALONE, type(layer)) or "whole"


def is_map(layer: Module) -> bool:
    """Whether a layer mixes features, and so has inputs and outputs to be cut by."""
    return isinstance(layer, Dense | Conv | ConvTranspose) and not is_each_by_itself(layer)


def is_each_by_itself(layer: Any) -> bool:
    """Whether a layer is a convolution of each channel by itself."""
    return isinstance(layer, DepthwiseConv) or (isinstance(layer, Conv) and 1 < layer.groups == layer.in_channels)


def _known(table: Mapping[Any, Any], cls: type[Module]) -> Any:
    return next((table[c] for c in _family(cls) if c in table), None)


@functools.cache
def _family(cls: type[Module]) -> tuple[Any, ...]:
    return cls.__mro__
