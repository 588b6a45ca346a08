"""Decoder-only language models: a block, and a stack of them under one head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError
from phlox.models.language._config import TRUNK, WRITING, TextConfig
from phlox.models.language._model import TextModel, at_token, check_tokens, counted, last_token, seen_keys
from phlox.nn import Cache, Dense, Dropout, Embedding, MultiHeadAttention
from phlox.nn.functional import identity
from phlox.nn.init import normal

Init = Callable[..., jax.Array]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TextConfig):
    """A decoder-only language model, by the names that most of them have.

    Arguments:
        hidden_size: features of a token.
        intermediate_size: features within a block.
        num_hidden_layers: blocks.
        num_attention_heads: heads of queries.
        num_key_value_heads: heads of keys and values; None for as many.
        head_dim: features of a head; None for ``hidden_size / num_attention_heads``.
        hidden_act: the activation of a block's gate.
        max_position_embeddings: tokens of the longest text in training.
        initializer_range: standard deviation of fresh weights.
        rms_norm_eps: of the norms.
        attention_dropout: probability of a weight of attention to be zeroed, in training.
    """

    task: str = WRITING
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    attention_dropout: float = 0.0

    @property
    def size_of_head(self) -> int:
        """Features of a head."""
        return self.head_dim or self.hidden_size // max(self.num_attention_heads, 1)  # attention refuses 0


class DecoderBlock(Module):
    r"""Attention, then features, each after its norm: $h = x + D(A(N_1(x))),\; y = h + D(M(N_2(h)))$.

    Shapes:
        x, y: (batch, time, dim).

    Arguments:
        norm: a function without arguments that makes a norm.
        attention: causal, (batch, time, dim) → (batch, time, dim).
        mlp: (..., dim) → (..., dim).
        dropout: probability of a feature to be zeroed at the end of each branch, in training.
    """

    def __init__(self, norm: Callable[[], Module], attention: MultiHeadAttention, mlp: Module, *, dropout: float = 0.0):
        self.norm1: Any = norm()
        self.attention: MultiHeadAttention = attention
        self.norm2: Any = norm()
        self.mlp: Any = mlp
        self.drop: Any = Dropout(dropout) if dropout else identity

    def __call__(self, x: jax.Array, *, mask: Any = None, lengths: Any = None, cache: Cache | None = None) -> jax.Array:
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, lengths=lengths, cache=cache))
        return x + self.drop(self.mlp(self.norm2(x)))


def causal_attention(
    config: DecoderConfig, *, init: Init, bias: bool = False, out_bias: bool = False, **options: Any
) -> MultiHeadAttention:
    """Causal attention of a config's sizes, whose queries, keys and values have biases or not, and whose end has."""
    made = MultiHeadAttention(
        config.hidden_size, config.num_attention_heads, kv_heads=config.num_key_value_heads,
        head_dim=config.size_of_head, causal=True, bias=bias, dropout=config.attention_dropout, init=init, **options,
    )  # fmt: skip
    if out_bias != bias:
        width = config.num_attention_heads * config.size_of_head
        made.out_proj = Dense(width, config.hidden_size, bias=out_bias, init=init)
    return made


class Decoder(TextModel):
    """Blocks over embedded tokens, a norm, and a head; families build the parts, and all of them run alike."""

    embed: Embedding
    blocks: list[Any]
    norm: Any

    def parts(self) -> tuple[str, ...]:
        """The embedding, each block, the norm and the head."""
        head = ("head",) if self.head is not None else ()
        return ("embed", *(f"blocks.{i}" for i in range(len(self.blocks))), "norm", *head)

    def init_cache(self, batch: int, length: int, *, dtype: Any = None, whole: bool = False) -> list[Cache]:
        """An empty cache for each block, of ``batch`` texts of at most ``length`` tokens.

        Behind a window only what it shows is kept, unless ``whole`` asks for all, as who takes tokens back must.
        """
        return [block.attention.init_cache(batch, length, dtype=dtype, whole=whole) for block in self.blocks]

    def start(self, tokens: jax.Array) -> jax.Array:
        """Tokens as the first block takes them."""
        return self.embed(tokens)

    def embedded(self, tokens: jax.Array, *, mask: Any, segments: Any, cache: Sequence[Cache] | None) -> jax.Array:
        """Tokens as the first block takes them, where that depends on where they stand."""
        del mask, segments, cache  # rotary positions are those of attention
        return self.start(tokens)

    def hidden_states(
        self,
        tokens: jax.Array,
        *,
        mask: Any = None,
        lengths: Any = None,
        segments: Any = None,
        cache: Sequence[Cache] | None = None,
        **options: Any,
    ) -> tuple[jax.Array, ...]:
        """What stands after the embedding and after each block, the last one normalised; (batch, time, features) each.

        Arguments:
            tokens: (batch, time).
            mask: (batch, time), True where a token counts, on whichever side it was padded.
            lengths: (batch,), tokens that count, from the left: what a cache takes.
            segments: (batch, time): tokens see those of their own segment only, as texts packed in a row do.
            cache: what ``init_cache`` made; tokens then stand behind what it holds, and are added to it.
            options: what else the blocks of a family take.

        Raises:
            RangeError: a mask or segments beside a cache, or a cache of another number of blocks.
            ShapeError: tokens, a mask or segments of another shape.
        """
        where = type(self).__name__
        tokens = check_tokens(where, tokens)
        if cache is not None and (mask is not None or segments is not None):
            fix = "pad on the right, and pass lengths= in place of it"
            raise RangeError("no mask beside a cache", got="both", fix=fix, where=where)
        if cache is not None and len(cache) != len(self.blocks):
            got, fix = f"one for {len(cache)}", "make it by this model's init_cache(batch, length)"
            raise RangeError(f"a cache for {len(self.blocks)} blocks", got=got, fix=fix, where=where)
        seen = seen_keys(where, mask, segments, tokens)
        states = [self.embedded(tokens, mask=mask, segments=segments, cache=cache)]
        for block, held in zip(self.blocks, cache or [None] * len(self.blocks), strict=True):
            states.append(block(states[-1], mask=seen, lengths=lengths, cache=held, **options))
        return (*states[:-1], self.norm(states[-1]))

    def __call__(self, tokens: jax.Array, *, mask: Any = None, lengths: Any = None, **options: Any) -> jax.Array:
        """Scores (batch, time, vocabulary) of the next token; or what the head gives for another task.

        ``"text-classification"`` gives (batch, classes), of the last token that counts.
        """
        x = self.features(tokens, mask=mask, lengths=lengths, **options)
        if self.config.task == "text-classification":
            x = at_token(x, _last(x, mask, lengths))
        return self.scores(x)

    def scores(self, features: jax.Array) -> jax.Array:
        """What the head says of the last features (..., features)."""
        if self.head is None and self.config.task == WRITING:
            return self.embed.attend(features)
        return features if self.head is None else self.head(features)

    @property
    def tied_embedding(self) -> Any:
        """The embedding, where it scores tokens too; None where a head does, or nothing."""
        return self.embed if self.head is None and self.config.task == WRITING else None


def _last(x: jax.Array, mask: Any, lengths: Any) -> jax.Array:
    """Where the last token that counts stands, (batch,)."""
    if lengths is not None:
        return jnp.maximum(jnp.asarray(lengths) - 1, 0)
    return last_token(counted(x, mask))


def head_of(config: Any) -> Any:
    """The head for a config's task: None for the trunk, and where the embedding scores tokens."""
    draw = normal(std=config.initializer_range)
    if config.task == TRUNK or (config.task == WRITING and config.tie_word_embeddings):
        return None
    if config.task == WRITING:
        return Dense(config.hidden_size, config.vocab_size, bias=False, init=draw)
    return Dense(config.hidden_size, config.classes, bias=config.task == "token-classification", init=draw)
