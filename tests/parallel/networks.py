"""Small networks and data for checks over devices: widths that eight devices share, and draws of dropout in each."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px

WORDS = 40


def mlp() -> px.Chain:
    with px.seed(0):
        return px.Chain(px.Dense(12, 48, px.tanh), px.Dropout(0.2), px.Dense(48, 48, px.tanh), px.Dense(48, 3))


def convnet() -> px.Chain:
    """With statistics of whole batches; a bias before them has no gradient but rounding, which Adam would blow up."""
    with px.seed(1):
        return px.Chain(
            px.Conv((3, 3), 2, 8, padding="SAME", bias=False),
            px.BatchNorm(8, px.relu),
            px.Conv((3, 3), 8, 16, padding="SAME", stride=2, bias=False),
            px.BatchNorm(16, px.relu),
            px.Dropout(0.2),
            px.flatten,
            px.Dense(144, 3),
        )


def tower() -> px.Chain:
    """Convolutions in equal blocks, behind one with statistics of whole batches."""
    block = lambda: px.Chain(px.Conv((3, 3), 8, 8, padding="SAME"), px.GroupNorm(8, 4, px.tanh))  # noqa: E731
    with px.seed(1):
        return px.Chain(
            px.Conv((3, 3), 2, 8, padding="SAME", bias=False),
            px.BatchNorm(8, px.relu),
            px.RepeatedLayer(block, 4),
            px.flatten,
            px.Dropout(0.2),
            px.Dense(288, 3),
        )


class Block(px.Module):
    """Attention and a perceptron, each behind a norm."""

    def __init__(self, width: int, heads: int, dropout: float):
        self.before, self.between = px.LayerNorm(width), px.LayerNorm(width)
        self.attention = px.nn.MultiHeadAttention(width, heads, causal=True, dropout=dropout)
        self.perceptron = px.Chain(px.Dense(width, 2 * width, px.gelu), px.Dense(2 * width, width), px.Dropout(dropout))

    def __call__(self, x: Any) -> Any:
        x = x + self.attention(self.before(x))
        return x + self.perceptron(self.between(x))


class GPT(px.Module):
    """A decoder like GPT-2, its blocks in a compiled loop or in a row; the head is the embedding's."""

    def __init__(
        self,
        *,
        repeated: bool = True,
        width: int = 32,
        depth: int = 2,
        dropout: float = 0.1,
        remat: bool | str = False,
    ):
        self.token, self.place = px.Embedding(WORDS, width), px.Embedding(16, width)
        build = lambda: Block(width, 4, dropout)  # noqa: E731
        blocks = (
            px.nn.RepeatedLayer(build, depth, remat=remat) if repeated else px.Chain(*[build() for _ in range(depth)])
        )
        self.blocks, self.norm = blocks, px.LayerNorm(width)

    def __call__(self, tokens: Any) -> Any:
        x = self.token(tokens) + self.place(jnp.arange(tokens.shape[1]))
        return self.norm(self.blocks(x)) @ self.token.weight.T


def gpt(**options: Any) -> GPT:
    with px.seed(2):
        return GPT(**options)


class Translator(px.Module):
    """An encoder of one text and a decoder of another, each with its blocks in a compiled loop."""

    def __init__(self, *, width: int = 16, depth: int = 2, dropout: float = 0.1):
        options = {"dropout": dropout, "norm_first": True}
        self.token, self.place = px.Embedding(WORDS, width), px.Embedding(16, width)
        self.encoder = px.nn.RepeatedLayer(lambda: px.nn.TransformerEncoderLayer(width, 4, **options), depth)
        self.decoder = px.nn.RepeatedLayer(lambda: px.nn.TransformerDecoderLayer(width, 4, **options), depth)
        self.head = px.Dense(width, WORDS)

    def _embedded(self, tokens: Any) -> Any:
        return self.token(tokens) + self.place(jnp.arange(tokens.shape[1]))

    def __call__(self, source: Any, target: Any) -> Any:
        return self.head(self.decoder(self._embedded(target), self.encoder(self._embedded(source))))


def translator(**options: Any) -> Translator:
    with px.seed(3):
        return Translator(**options)


def translation(model: Any, source: Any, before: Any, after: Any) -> Any:
    """The loss of a model of two texts."""
    return px.losses.cross_entropy(model(source, before), after)


def next_token(model: Any, tokens: Any, weight: Any = None) -> Any:
    """The loss of a decoder."""
    weight = None if weight is None else jnp.broadcast_to(jnp.asarray(weight)[:, None], tokens[:, 1:].shape)
    return px.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:], weight=weight)


def points(count: int = 88, dtype: str = "float64") -> tuple[Any, Any]:
    """Inputs and classes; 88 make five batches of 16, and half a one."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 12)).astype(dtype), rng.integers(0, 3, count).astype(np.int32)


def images(count: int = 40) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 6, 6, 2)), rng.integers(0, 3, count).astype(np.int32)


def sentences(count: int = 40, length: int = 13) -> Any:
    return np.random.default_rng(2).integers(0, WORDS, (count, length)).astype(np.int32)


def pairs(count: int = 32, source: int = 16, target: int = 8) -> tuple[Any, Any, Any]:
    """Texts, others of another length, and what comes next at each place of these."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, WORDS, (count, target + 1)).astype(np.int32)
    return rng.integers(0, WORDS, (count, source)).astype(np.int32), words[:, :-1], words[:, 1:]
