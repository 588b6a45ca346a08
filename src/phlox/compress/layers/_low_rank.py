"""Layers whose weight is a product of two smaller ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module
from phlox.nn import Conv, Dense, Embedding
from phlox.nn import functional as F


class LowRank(Module):
    """A layer of its kind in two steps, which are layers: the first makes few features, the second all of them.

    Both are parts of the model like others: they train, and are pruned and quantised by themselves. ``weight`` and
    ``bias`` read as those of the one layer that they stand for.
    """

    kind: ClassVar[type[Module]]
    """The layer in one step."""
    first: Any
    second: Any

    def __init__(self, first: Module, second: Module, **sizes: Any):
        self.first, self.second = first, second
        for name, size in sizes.items():
            setattr(self, name, size)

    def __call__(self, x: Any) -> jax.Array:
        return self.second(self.first(x))

    if not TYPE_CHECKING:

        @property
        def weight(self) -> jax.Array:
            """The product of both weights."""
            return jnp.matmul(self.first.weight, self.second.weight)

        @property
        def bias(self) -> jax.Array | None:
            """That of the second step."""
            return self.second.bias

    @property
    def rank(self) -> int:
        """How many features there are between the steps."""
        return self.second.weight.shape[-2]

    def _brief(self) -> str:
        return f"{type(self).__name__}({self.first._brief()}, {self.second._brief()})"


class LowRankDense(LowRank, Dense):
    r"""A Dense in two steps, $y = σ((x A) B + b)$; ``px.compress.low_rank`` makes it.

    Shapes:
        x: (..., in); first.weight: (in, rank); second.weight: (rank, out); y: (..., out).
    """

    kind: ClassVar[type[Module]] = Dense

    def __init__(self, first: Dense, second: Dense):
        super().__init__(first, second, in_size=first.in_size, out_size=second.out_size, act=second.act)


class LowRankConv(LowRank, Conv):
    """A Conv in two steps: few windows, then a sum of what they find at each place.

    Shapes:
        x: (batch, *space, in); first.weight: (*kernel, in, rank); second.weight: (1…, rank, out);
        y: (batch, *space', out).
    """

    kind: ClassVar[type[Module]] = Conv

    def __init__(self, first: Conv, second: Conv):
        options = ("kernel", "in_channels", "stride", "padding", "dilation", "padding_mode", "groups")
        held = {name: getattr(first, name) for name in options}
        super().__init__(first, second, **held, out_channels=second.out_channels, act=second.act)


class LowRankEmbedding(LowRank, Embedding):
    """An Embedding in two steps: short vectors, then a map of these.

    Shapes:
        indices: (...); first.weight: (num, rank); second.weight: (rank, dim); y: (..., dim).
    """

    kind: ClassVar[type[Module]] = Embedding

    def __init__(self, first: Embedding, second: Dense):
        super().__init__(first, second, num=first.num, dim=second.out_size, padding_idx=first.padding_idx)

    def attend(self, x: jax.Array) -> jax.Array:
        """Scores of every index for vectors x (..., dim): (..., num)."""
        return self.first.attend(jnp.einsum("...d,rd->...r", x, self.second.weight))


def in_two_steps(layer: Any, a: jax.Array, b: jax.Array) -> LowRank:
    """A layer whose weight is a product: a (..., rows, rank) of what its outputs sum over, b (..., rank, out)."""
    lead, rank = a.shape[:-2], a.shape[-1]
    if isinstance(layer, Embedding):
        first = _like(Embedding, weight=a, num=layer.num, dim=rank, padding_idx=layer.padding_idx)
        second = _like(Dense, weight=b, bias=None, in_size=rank, out_size=layer.dim, act=F.identity)
        return LowRankEmbedding(first, second)
    if isinstance(layer, Conv):
        shape, once = layer.weight.shape, (1,) * len(layer.kernel)
        options = {name: getattr(layer, name) for name in ("padding_mode", "groups")}
        first = _like(
            Conv, weight=a.reshape(*shape[:-1], rank), bias=None, act=F.identity, kernel=layer.kernel,
            in_channels=layer.in_channels, out_channels=rank, stride=layer.stride, padding=layer.padding,
            dilation=layer.dilation, **options,
        )  # fmt: skip
        second = _like(
            Conv, weight=b.reshape(*lead, *once, *b.shape[-2:]), bias=layer.bias, act=layer.act, kernel=once,
            in_channels=rank, out_channels=layer.out_channels, stride=once, padding=0, dilation=once, **options,
        )  # fmt: skip
        return LowRankConv(first, second)
    first = _like(Dense, weight=a, bias=None, in_size=layer.in_size, out_size=rank, act=F.identity)
    second = _like(Dense, weight=b, bias=layer.bias, in_size=rank, out_size=layer.out_size, act=layer.act)
    return LowRankDense(first, second)


def _like(kind: Any, **attributes: Any) -> Any:
    """A layer of given attributes, for which nothing is drawn."""
    made = kind.__new__(kind)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made
