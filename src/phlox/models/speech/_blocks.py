"""Blocks that models of speech share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, State, advance, key_or_draw
from phlox.models.language._seq2seq import CrossAttention, Kept
from phlox.nn import Cache, Chain, Dense, Dropout, LayerNorm, MultiHeadAttention
from phlox.nn.functional import identity

Init = Callable[..., jax.Array]


class EncoderBlock(Module):
    r"""Attention, then features, beside shortcuts: $h = x + D(A(N_1(x))),\; y = h + D(M(N_2(h)))$.

    With norms after the shortcuts: $h = N_1(x + D(A(x))),\; y = N_2(h + D(M(h)))$.

    Shapes:
        x, y: (batch, time, dim); lengths: (batch,), keys that count.

    Arguments:
        dim: features.
        attention: (batch, time, dim) → (batch, time, dim).
        mlp: (..., dim) → (..., dim).
        eps: of the norms.
        dropout: probability of a feature to be zeroed at the end of each branch, in training.
        norm_first: whether norms stand before the branches.
    """

    def __init__(
        self, dim: int, attention: MultiHeadAttention, mlp: Chain, *, eps: float, dropout: float, norm_first: bool
    ):
        self.attention, self.norm1 = attention, LayerNorm(dim, eps=eps)
        self.mlp, self.norm2 = mlp, LayerNorm(dim, eps=eps)
        self.drop1, self.drop2 = dropped(dropout), dropped(dropout)
        self.norm_first = norm_first

    def __call__(self, x: jax.Array, lengths: Any = None) -> jax.Array:
        if self.norm_first:
            x = x + self.drop1(self.attention(self.norm1(x), kv_lengths=lengths))
            return x + self.drop2(self.mlp(self.norm2(x)))
        x = self.norm1(x + self.drop1(self.attention(x, kv_lengths=lengths)))
        return self.norm2(x + self.drop2(self.mlp(x)))


class DecoderBlock(Module):
    r"""Causal attention, attention to a memory m, then features: $g = x + D(A(N_1(x))),\; h = g + D(C(N_2(g), m))$,
    $y = h + D(M(N_3(h)))$.

    Shapes:
        x, y: (batch, time, dim); kept: what ``cross.remember`` made of a memory (batch, places, dim).
    """

    def __init__(self, dim: int, attention: MultiHeadAttention, cross: CrossAttention, mlp: Chain, *, dropout: float):
        self.attention, self.norm1 = attention, LayerNorm(dim)
        self.cross, self.norm2 = cross, LayerNorm(dim)
        self.mlp, self.norm3 = mlp, LayerNorm(dim)
        self.drop1, self.drop2, self.drop3 = dropped(dropout), dropped(dropout), dropped(dropout)

    def __call__(
        self, x: jax.Array, kept: Kept, *, mask: Any = None, lengths: Any = None, cache: Cache | None = None
    ) -> jax.Array:
        x = x + self.drop1(self.attention(self.norm1(x), mask=mask, lengths=lengths, cache=cache))
        x = x + self.drop2(self.cross.recall(self.norm2(x), kept))
        return x + self.drop3(self.mlp(self.norm3(x)))


class LayerDrop(Module):
    """A whole layer skipped with probability p in training, for all examples alike: what stood before it stays.

    Source: Fan, Grave and Joulin, "Reducing transformer depth on demand with structured dropout", 2020.
    """

    key: State  # () typed random key
    p: float

    def __init__(self, p: float):
        self.p, self.key = p, key_or_draw(None)

    def __call__(self, before: jax.Array, after: jax.Array) -> jax.Array:
        if not self.training or self.p == 0:
            return after
        return jnp.where(jax.random.uniform(advance(self)) < self.p, before, after)


def mlp(dim: int, hidden: int, act: Callable[..., Any], init: Init, *, dropout: float) -> Chain:
    """Two maps with an activation between, whose features are dropped in training."""
    return Chain(fc1=Dense(dim, hidden, act, init=init), drop=dropped(dropout), fc2=Dense(hidden, dim, init=init))


def dropped(p: float) -> Any:
    """Dropout, where anything drops."""
    return Dropout(p) if p else identity
