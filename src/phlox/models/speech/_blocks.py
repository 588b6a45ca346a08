"""Blocks that models of speech share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, State, advance, key_or_draw
from phlox.nn import Chain, Dense, Dropout, KVCache, LayerNorm, MultiHeadAttention
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


class CrossAttention(MultiHeadAttention):
    """Attention to a memory, whose keys and values may be computed once for all queries that come."""

    def remember(self, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values (batch, places, heads, size) of a memory (batch, places, dim)."""
        keys, values = self.k_proj(memory), self.v_proj(memory)
        heads = (*keys.shape[:2], self.kv_heads, self.head_dim)
        return keys.reshape(heads), values.reshape(heads)

    def recall(self, q: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
        """What queries (batch, time, dim) find among keys and values."""
        queries = self.q_proj(q).reshape(*q.shape[:2], self.heads, self.head_dim)
        y, _ = self._attend(queries, keys, values, None, None, None, None, False)
        return self.out_proj(y.reshape(*q.shape[:2], -1).astype(q.dtype))


class DecoderCache(Module):
    """What a block of a decoder keeps between tokens: its own keys and values so far, and those of the memory.

    Shapes:
        keys, values: (batch, places, heads, size).
    """

    own: KVCache
    keys: State
    values: State

    def __init__(self, own: KVCache, keys: jax.Array, values: jax.Array):
        self.own, self.keys, self.values = own, keys, values


class DecoderBlock(Module):
    r"""Causal attention, attention to a memory m, then features: $g = x + D(A(N_1(x))),\; h = g + D(C(N_2(g), m))$,
    $y = h + D(M(N_3(h)))$.

    Shapes:
        x, y: (batch, time, dim); memory: (batch, places, dim).
    """

    def __init__(self, dim: int, attention: MultiHeadAttention, cross: CrossAttention, mlp: Chain, *, dropout: float):
        self.attention, self.norm1 = attention, LayerNorm(dim)
        self.cross, self.norm2 = cross, LayerNorm(dim)
        self.mlp, self.norm3 = mlp, LayerNorm(dim)
        self.drop1, self.drop2, self.drop3 = dropped(dropout), dropped(dropout), dropped(dropout)

    def init_cache(self, memory: jax.Array, length: int, dtype: Any = None) -> DecoderCache:
        """A cache for as many texts as the memory has, of at most ``length`` tokens."""
        return DecoderCache(self.attention.init_cache(len(memory), length, dtype=dtype), *self.cross.remember(memory))

    def __call__(
        self, x: jax.Array, memory: Any = None, *, mask: Any = None, lengths: Any = None, cache: Any = None
    ) -> jax.Array:
        own = None if cache is None else cache.own
        keys, values = self.cross.remember(memory) if cache is None else (cache.keys, cache.values)
        x = x + self.drop1(self.attention(self.norm1(x), mask=mask, lengths=lengths, cache=own))
        x = x + self.drop2(self.cross.recall(self.norm2(x), keys, values))
        return x + self.drop3(self.mlp(self.norm3(x)))


class LayerDrop(Module):
    """A whole layer skipped with probability p in training, for all examples alike: what stood before it stays.

    Source: Fan, Grave and Joulin, "Reducing transformer depth on demand with structured dropout", 2020.
    """

    key: State  # () typed random key

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
