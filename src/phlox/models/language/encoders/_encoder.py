"""Encoders of text: words, places and kinds embedded, blocks that see both ways, and one head for a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe
from phlox.models.language._config import TRUNK, TextConfig
from phlox.models.language._model import TextModel, check_tokens, seen_keys
from phlox.nn import Chain, Dense, Dropout, Embedding, LayerNorm, MultiHeadAttention
from phlox.nn.functional import identity

Init = Callable[..., jax.Array]
FILLING, SENTENCES, TOKENS, ANSWERING = "fill-mask", "text-classification", "token-classification", "question-answering"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(TextConfig):
    """What configs of encoders have in common: texts of a longest length, and heads that encoders have.

    Arguments:
        max_position_embeddings: places that have a vector.
        initializer_range: standard deviation of fresh weights.
    """

    fixed: ClassVar[Mapping[str, Any]] = {"is_decoder": False, "add_cross_attention": False}

    max_position_embeddings: int = 512
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        where = type(self).__name__
        if self.with_task(self.task) != self:
            got, fix = f"classes={self.classes}", "leave classes out"
            raise RangeError("two scores for a token, of a start and of an end", got=got, fix=fix, where=where)
        if self.task == FILLING and not self.tie_word_embeddings:
            fix = "leave it out: words are scored by their embedding"
            raise RangeError("tie_word_embeddings = True", got="False", fix=fix, where=where)

    def with_task(self, task: str | None) -> Self:
        """The same with the head of another task; one that answers questions has two scores for each token."""
        if task == ANSWERING and self.classes != 2:
            return replace(self, classes=2, labels=()).with_task(task)
        return super().with_task(task)


class TextEmbedding(Module):
    r"""A vector for each token, of its word, its place and its kind: $y = D(N(w_i + t_k + p_j))$.

    Shapes:
        tokens, types: (batch, time); places: (batch or 1, time); y: (batch, time, dim).

    Arguments:
        words, places, types: how many there are of each; no types where they are 0.
        dim: features.
        eps: of the norm.
        dropout: probability of a feature to be zeroed, in training.
        init: initialiser of the three tables.
        padding: a token that means nothing: its vector starts at zero and has no gradient.
        pad_places: the same of a place.
    """

    tensor_rules: ClassVar[dict[str, Any]] = {"positions": "whole", "types": "whole"}

    def __init__(
        self,
        words: int,
        places: int,
        types: int,
        dim: int,
        *,
        eps: float,
        dropout: float,
        init: Init,
        padding: int | None = None,
        pad_places: int | None = None,
    ):
        self.words: Embedding = Embedding(words, dim, padding_idx=padding, init=init)
        self.positions: Embedding = Embedding(places, dim, padding_idx=pad_places, init=init)
        self.types: Embedding | None = Embedding(types, dim, init=init) if types else None
        self.norm: LayerNorm = LayerNorm(dim, eps=eps)
        self.drop: Any = dropped(dropout)

    def __call__(self, tokens: jax.Array, places: jax.Array, types: jax.Array | None = None) -> jax.Array:
        x = self.words(tokens)
        if self.types is not None:
            x = x + self.types(jnp.zeros((1, 1), jnp.int32) if types is None else types)
        return self.drop(self.norm(x + self.positions(places)))


class EncoderBlock(Module):
    r"""Attention, then features, each before its norm: $h = N_1(x + D_1(A(x))),\; y = N_2(h + D_2(M(h)))$.

    Shapes:
        x, y: (batch, time, dim); mask: as ``MultiHeadAttention`` takes it.

    Arguments:
        attention: (batch, time, dim) → (batch, time, dim).
        mlp: (..., dim) → (..., dim).
        eps: of the norms.
        dropout: probabilities of a feature to be zeroed at the end of both branches, in training.
    """

    def __init__(self, attention: MultiHeadAttention, mlp: Module, *, eps: float, dropout: tuple[float, float]):
        self.attention: MultiHeadAttention = attention
        self.drop1: Any = dropped(dropout[0])
        self.norm1: LayerNorm = LayerNorm(attention.dim, eps=eps)
        self.mlp: Any = mlp
        self.drop2: Any = dropped(dropout[1])
        self.norm2: LayerNorm = LayerNorm(attention.dim, eps=eps)

    def __call__(self, x: jax.Array, *, mask: Any = None) -> jax.Array:
        x = self.norm1(x + self.drop1(self.attention(x, mask=mask)))
        return self.norm2(x + self.drop2(self.mlp(x)))


class Encoder(TextModel):
    """Blocks over embedded tokens, and a head; families build the parts, and all of them run alike."""

    embed: TextEmbedding
    blocks: list[EncoderBlock]
    pooler: Dense | None
    """A map of a text's first token, with tanh, behind the trunk of some; None where there is none."""

    def parts(self) -> tuple[str, ...]:
        """The embedding, each block, the pooler where there is one, and the head."""
        pooler = ("pooler",) if self.pooler is not None else ()
        return ("embed", *(f"blocks.{i}" for i in range(len(self.blocks))), *pooler, "head")

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.config.max_position_embeddings

    def places(self, tokens: jax.Array, segments: jax.Array | None) -> jax.Array:
        """Where each token stands in its text, (batch or 1, time)."""
        if segments is None:
            return jnp.arange(tokens.shape[1])[None]
        return counted_before(jnp.ones(tokens.shape, bool), segments)

    def hidden_states(
        self, tokens: jax.Array, *, mask: Any = None, segments: Any = None, types: Any = None
    ) -> tuple[jax.Array, ...]:
        """What stands after the embedding and after each block, (batch, time, features) each.

        Arguments:
            tokens: (batch, time).
            mask: (batch, time), True where a token counts, on whichever side it was padded.
            segments: (batch, time): tokens see those of their own segment only, as texts packed in a row do, and
                their places are counted from where it begins.
            types: (batch, time), of which of two texts a token is, 0 or 1; 0 by default.

        Raises:
            ShapeError: tokens, a mask, segments or types of another shape, or more tokens than there are places.
            RangeError: types for a model without.
        """
        where = type(self).__name__
        tokens = check_tokens(where, tokens)
        seen = seen_keys(where, mask, segments, tokens)
        segments = None if segments is None else jnp.asarray(segments)
        if segments is None and tokens.shape[1] > self.longest:
            fix = "cut the texts, or pass segments= where several stand in a row"
            raise ShapeError(f"at most {self.longest} tokens in a text", got=describe(tokens), fix=fix, where=where)
        types = None if types is None else _check_types(self, types, tokens)
        states = [self.embed(tokens, self.places(tokens, segments), types)]
        for block in self.blocks:
            states.append(block(states[-1], mask=seen))
        return tuple(states)

    def __call__(self, tokens: jax.Array, **options: Any) -> jax.Array:
        """What the head of the task says; without a head, the last features (batch, time, features).

        ``"fill-mask"`` gives scores of words (batch, time, vocabulary), ``"token-classification"`` (batch, time,
        classes), ``"question-answering"`` scores of an answer's start and end (batch, time, 2), and
        ``"text-classification"`` (batch, classes), of the first token.
        """
        return self.scores(self.features(tokens, **options))

    def pooled(self, features: jax.Array) -> jax.Array:
        """What the pooler makes of the first of the last features (batch, time, features): (batch, features).

        Raises:
            RangeError: a model without one.
        """
        if self.pooler is None:
            fix = f"load a BERT or RoBERTa with task={TRUNK!r}; encode pools any model's features"
            got = f"{type(self).__name__} for {self.config.task!r}"
            raise RangeError("a model with a pooler", got=got, fix=fix, where="pooled")
        return self.pooler(features[:, 0])

    def scores(self, features: jax.Array) -> jax.Array:
        """What the head says of the last features (batch, time, features)."""
        if self.head is None:
            return features
        if self.config.task == FILLING:
            return self.head(features, self.embed.words)
        pooled = self.config.task == SENTENCES and self.pooler is not None
        return self.head(self.pooled(features) if pooled else features)


def counted_before(counts: jax.Array, segments: jax.Array | None) -> jax.Array:
    """How many tokens that count (batch, time) stand before each, in its segment."""
    before = jnp.cumsum(counts, axis=1) - counts
    if segments is None:
        return before
    starts = jnp.diff(segments, axis=1, prepend=segments[:, :1]) != 0
    return before - jax.lax.cummax(jnp.where(starts, before, 0), axis=1)


def block_of(
    dim: int,
    heads: int,
    hidden: int,
    act: Callable[..., Any],
    *,
    init: Init,
    eps: float,
    attention_dropout: float,
    dropout: tuple[float, float],
) -> EncoderBlock:
    """A block with two maps for features."""
    attention = MultiHeadAttention(dim, heads, dropout=attention_dropout, init=init)
    mlp = Chain(Dense(dim, hidden, act, init=init), Dense(hidden, dim, init=init))
    return EncoderBlock(attention, mlp, eps=eps, dropout=dropout)


def dropped(p: float) -> Any:
    """Dropout, where anything drops."""
    return Dropout(p) if p else identity


def _check_types(model: Encoder, types: Any, tokens: jax.Array) -> jax.Array:
    where, types = type(model).__name__, jnp.asarray(types)
    if model.embed.types is None:
        raise RangeError("no types", got="types", fix="leave them out: its texts are of one kind", where=where)
    if types.shape != tokens.shape:
        fix = "pass the number of its text for each token, 0 or 1"
        raise ShapeError(f"types {tokens.shape}, as the tokens are", got=describe(types), fix=fix, where=where)
    return types
