"""Layers with masks: what a mask leaves out of a weight is zero in every call, whatever an optimiser does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.compress.layers._quantized import with_attributes
from phlox.core import Module, State
from phlox.nn import (
    Bilinear,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Embedding,
    EmbeddingBag,
    GRUCell,
    LSTMCell,
    RNNCell,
    fused,
)
from phlox.nn import functional as F

_CELL = ("weight_ih", "weight_hh")


class Masked(Module):
    """A layer of its kind whose weights are read through masks, booleans that are False where a number is left out.

    A weight reads as what the layer computes with; under the same path in files stands the array behind the mask. No
    gradient reaches what is left out.
    """

    kind: ClassVar[type[Module]]
    """The layer without masks."""
    names: ClassVar[tuple[str, ...]] = ("weight",)
    """Which of its arrays have masks, each beside it: ``weight_mask``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in cls.names:
            setattr(cls, name, _through_mask(name))

    @property
    def masks(self) -> dict[str, jax.Array]:
        """The masks, by the names of their arrays."""
        held = {name: vars(self).get(mask_of(name)) for name in self.names}
        return {name: mask for name, mask in held.items() if mask is not None}

    def hold(self, layer: Module, masks: Mapping[str, Any]) -> Any:
        """Become a layer that reads its weights through these masks."""
        state = layer.__getstate__()
        state["attributes"] = state["attributes"] | {mask_of(name): mask for name, mask in masks.items()}
        self.__setstate__(state)
        return self

    def mask(self, masks: Mapping[str, Any]) -> None:
        """Take other masks, in place; what they leave out is zero behind them too."""
        for name, mask in masks.items():
            setattr(self, mask_of(name), mask)
            setattr(self, name, getattr(self, name))

    def plain(self) -> Any:
        """The layer without masks, whose weights are zero where these left something out."""
        layer: Any = self.kind.__new__(self.kind)
        weights = {name: getattr(self, name) for name in self.masks}
        layer.__setstate__(with_attributes(self, weights, *map(mask_of, self.names)))
        return layer

    def _brief(self) -> str:
        return f"{super()._brief()}, masked"


def mask_of(name: str) -> str:
    """What the mask of an array is called."""
    return f"{name}_mask"


def _through_mask(name: str) -> property:
    """An attribute that is read through its mask, and written behind it."""

    def read(self: Module) -> Any:
        held = vars(self)
        raw, mask = held[name], held.get(mask_of(name))
        if mask is None or not hasattr(raw, "dtype"):  # in a gradient, or in a mapped tree
            return raw
        if mask.shape != raw.shape:  # while both are being cut, one after the other
            return raw
        return _masked(F.identity, raw, mask)

    def write(self: Module, value: Any) -> None:
        vars(self)[name] = value

    return property(read, write)


@fused()
def _masked(act: Any, weight: Any, mask: Any) -> jax.Array:
    return act(jnp.where(mask, weight, jnp.zeros((), weight.dtype)))


class MaskedDense(Masked, Dense):
    """A Dense with a mask; ``px.compress.prune`` makes it."""

    kind: ClassVar[type[Module]] = Dense
    weight_mask: State  # (in, out)


class MaskedConv(Masked, Conv):
    """A Conv with a mask."""

    kind: ClassVar[type[Module]] = Conv
    weight_mask: State  # (*kernel, in / groups, out)


class MaskedDepthwiseConv(Masked, DepthwiseConv):
    """A DepthwiseConv with a mask."""

    kind: ClassVar[type[Module]] = DepthwiseConv
    weight_mask: State  # (*kernel, 1, channels · multiplier)


class MaskedConvTranspose(Masked, ConvTranspose):
    """A ConvTranspose with a mask."""

    kind: ClassVar[type[Module]] = ConvTranspose
    weight_mask: State  # (*kernel, in, out / groups)


class MaskedEmbedding(Masked, Embedding):
    """An Embedding with a mask."""

    kind: ClassVar[type[Module]] = Embedding
    weight_mask: State  # (num, dim)


class MaskedEmbeddingBag(Masked, EmbeddingBag):
    """An EmbeddingBag with a mask."""

    kind: ClassVar[type[Module]] = EmbeddingBag
    weight_mask: State  # (num, dim)


class MaskedBilinear(Masked, Bilinear):
    """A Bilinear with a mask."""

    kind: ClassVar[type[Module]] = Bilinear
    weight_mask: State  # (in1, in2, out)


class MaskedRNNCell(Masked, RNNCell):
    """An RNNCell with masks."""

    kind: ClassVar[type[Module]] = RNNCell
    names: ClassVar[tuple[str, ...]] = _CELL
    weight_ih_mask: State  # (in, hidden)
    weight_hh_mask: State  # (hidden, hidden)


class MaskedGRUCell(Masked, GRUCell):
    """A GRUCell with masks."""

    kind: ClassVar[type[Module]] = GRUCell
    names: ClassVar[tuple[str, ...]] = _CELL
    weight_ih_mask: State  # (in, 3 · hidden)
    weight_hh_mask: State  # (hidden, 3 · hidden)


class MaskedLSTMCell(Masked, LSTMCell):
    """An LSTMCell with masks."""

    kind: ClassVar[type[Module]] = LSTMCell
    names: ClassVar[tuple[str, ...]] = (*_CELL, "weight_hr")
    weight_ih_mask: State  # (in, 4 · hidden)
    weight_hh_mask: State  # (out, 4 · hidden)
    weight_hr_mask: State | None  # (hidden, out), where there is a projection


MASKED: dict[type, type[Masked]] = {
    one.kind: one
    for one in (
        MaskedDense, MaskedConv, MaskedDepthwiseConv, MaskedConvTranspose, MaskedEmbedding, MaskedEmbeddingBag,
        MaskedBilinear, MaskedRNNCell, MaskedGRUCell, MaskedLSTMCell,
    )
}  # fmt: skip
"""By a layer's kind, the one with masks."""
