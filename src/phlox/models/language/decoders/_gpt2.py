"""GPT-2.

Source: Radford et al., "Language models are unsupervised multitask learners", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.adapt import prefix_length
from phlox.core import Module, RangeError
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL, WRITING, TextConfig
from phlox.models.language.decoders._decoder import Decoder, DecoderBlock, head_of
from phlox.nn import Cache, Chain, Dense, Dropout, Embedding, LayerNorm, MultiHeadAttention
from phlox.nn.functional import identity
from phlox.nn.init import normal
from phlox.weights import Array, NameMap


@dataclass(frozen=True, kw_only=True)
class GPT2Config(TextConfig):
    """A GPT-2.

    Arguments:
        n_positions: tokens of the longest text.
        n_embd: features of a token.
        n_layer: blocks.
        n_head: heads of attention.
        n_inner: features within a block; None for ``4 n_embd``.
        activation_function: of a block.
        resid_pdrop: probability of a feature to be zeroed at the end of each branch, in training.
        embd_pdrop: the same of embedded tokens.
        attn_pdrop: the same of weights of attention.
        classifier_dropout: the same of features before the head that tells tokens apart; None for 0.1.
        layer_norm_epsilon: of the norms.
        initializer_range: standard deviation of fresh weights; at the end of a branch it is divided by
            ``sqrt(2 n_layer)``.

    The others are those of every model of text: the task, the vocabulary.
    """

    model_type: ClassVar[str] = "gpt2"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "GPT2LMHeadModel",
        "text-classification": "GPT2ForSequenceClassification",
        "token-classification": "GPT2ForTokenClassification",
        "feature-extraction": "GPT2Model",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {
        "n_ctx", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
        "summary_use_proj",
    }  # fmt: skip
    fixed: ClassVar[Mapping[str, Any]] = {
        "add_cross_attention": False,
        "reorder_and_upcast_attn": False,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
    }

    task: str = WRITING
    vocab_size: int = 50257
    bos_token_id: int | None = 50256
    eos_token_id: int | tuple[int, ...] | None = 50256
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    classifier_dropout: float | None = None
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    @property
    def hidden_size(self) -> int:
        """Features of a token."""
        return self.n_embd


class GPT2Embedding(Module):
    r"""Tokens and where they stand, each a learned vector: $y_t = D(E_{x_t} + P_{p_t})$.

    Shapes:
        tokens, positions: (batch, time), integers; y: (batch, time, features).
    """

    tensor_rules: ClassVar[dict[str, Any]] = {"positions": "whole"}

    def __init__(self, config: GPT2Config):
        draw = normal(std=config.initializer_range)
        self.tokens: Embedding = Embedding(config.vocab_size, config.n_embd, init=draw)
        self.positions: Embedding = Embedding(config.n_positions, config.n_embd, init=draw)
        self.drop: Any = _dropped(config.embd_pdrop)

    def __call__(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        return self.drop(self.tokens(tokens) + self.positions(positions))

    def attend(self, features: jax.Array) -> jax.Array:
        """Scores (..., vocabulary) of features (..., features): their products with the tokens' vectors."""
        return self.tokens.attend(features)


class GPT2(Decoder):
    """A GPT-2 for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Positions count the tokens that count: from 0 behind what a mask hides on the left, anew in each of the texts that
    are packed in a row, and behind what a cache holds.

    Arguments:
        config: a ``GPT2Config``.

    Raises:
        RangeError: a text longer than the table of positions; compiled code, where only values tell, gives NaN for it.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.GPT2Config(vocab_size=50, n_positions=8, n_embd=16, n_layer=2, n_head=4)
    >>> px.models.GPT2(config)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: GPT2Config
    embed: Any
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: GPT2Config):
        self.config = config
        self.embed = GPT2Embedding(config)
        self.blocks = [_block(config) for _ in range(config.n_layer)]
        self.norm = LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.head = head_of(config)
        rate = 0.1 if config.classifier_dropout is None else config.classifier_dropout
        self.drop: Any = _dropped(rate if config.task == "token-classification" else 0.0)

    @property
    def longest(self) -> int:
        """Tokens that there are positions for."""
        return self.config.n_positions - self._before

    @property
    def _before(self) -> int:
        """Positions before the text's first: those of a learned prefix."""
        return prefix_length(self.blocks[0].attention) if self.blocks else 0

    def embedded(self, tokens: jax.Array, *, mask: Any, segments: Any, cache: Sequence[Cache] | None) -> jax.Array:
        """Tokens and their positions."""
        time, longest = tokens.shape[1], self.longest
        if time > longest and mask is None and segments is None:
            fix = "cut the text, or build the model with a larger n_positions"
            raise RangeError(f"at most {longest} tokens", got=str(time), fix=fix, where="GPT2")
        start = self._before if cache is None else cache[0].position[:, None]
        return self.embed(tokens, start + _positions(tokens, mask, segments))

    def scores(self, features: jax.Array) -> jax.Array:
        """What the head says of the last features (..., features)."""
        return super().scores(self.drop(features))

    @property
    def tied_embedding(self) -> Any:
        """Of the tokens' vectors and the positions', the former, where they score tokens too; else None."""
        tied = super().tied_embedding
        return None if tied is None else tied.tokens


def _block(config: GPT2Config) -> DecoderBlock:
    """Attention and features, whose last maps start smaller the more blocks there are."""
    dim, draw = config.n_embd, normal(std=config.initializer_range)
    ends = normal(std=config.initializer_range / math.sqrt(2 * config.n_layer))
    inner = 4 * dim if config.n_inner is None else config.n_inner
    act = activation(config.activation_function, "GPT2Config.activation_function")
    attention = MultiHeadAttention(dim, config.n_head, causal=True, dropout=config.attn_pdrop, init=draw)
    attention.out_proj = Dense(dim, dim, init=ends)
    mlp = Chain(Dense(dim, inner, act, init=draw), Dense(inner, dim, init=ends))
    norm = partial(LayerNorm, dim, eps=config.layer_norm_epsilon)
    return DecoderBlock(norm, attention, mlp, dropout=config.resid_pdrop)


def _dropped(p: float) -> Any:
    return Dropout(p) if p else identity


def _positions(tokens: jax.Array, mask: Any, segments: Any) -> jax.Array:
    """Where each token stands (batch, time): how many that count are before it, in its text."""
    counts = jnp.ones(tokens.shape, jnp.int32)
    if mask is not None and jnp.shape(mask) == tokens.shape:  # else it says which keys each query sees
        counts = jnp.asarray(mask).astype(bool).astype(jnp.int32)
    until = jnp.cumsum(counts, axis=1)
    if segments is not None:
        segments = jnp.asarray(segments)
        begins = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
        until = until - jax.lax.cummax(jnp.where(begins, until - counts, 0), axis=1)
    return jnp.maximum(until - 1, 0)


def _names(config: GPT2Config) -> NameMap:
    """What transformers calls the arrays; its weights are (in, out), queries, keys and values side by side."""
    theirs, ours, qkv = "transformer.h.{i}", "blocks.{i}", [f"blocks.{{i}}.attention.{n}_proj" for n in "qkv"]
    maps = {
        f"{theirs}.attn.c_proj": f"{ours}.attention.out_proj",
        f"{theirs}.mlp.c_fc": f"{ours}.mlp.layers.0",
        f"{theirs}.mlp.c_proj": f"{ours}.mlp.layers.1",
    }
    heads = {"text-generation": "lm_head", "text-classification": "score", "token-classification": "classifier"}
    return NameMap(
        {
            "transformer.wte": "embed.tokens",
            "transformer.wpe": "embed.positions",
            f"{theirs}.ln_1": f"{ours}.norm1",
            f"{theirs}.attn.c_attn.weight": tuple(Array(f"{n}.weight", axes=(0, 1), along=1) for n in qkv),
            f"{theirs}.attn.c_attn.bias": tuple(f"{n}.bias" for n in qkv),
            f"{theirs}.ln_2": f"{ours}.norm2",
            **{f"{n}.weight": Array(f"{path}.weight", axes=(0, 1)) for n, path in maps.items()},
            **{f"{n}.bias": f"{path}.bias" for n, path in maps.items()},
            "transformer.ln_f": "norm",
            heads.get(config.task, "score"): "head",
        },
        ignore=("*.attn.bias", "*.attn.masked_bias", *(["lm_head.weight"] if config.tie_word_embeddings else [])),
    )


def _variant(width: int, layers: int, heads: int) -> GPT2Config:
    return GPT2Config(n_embd=width, n_layer=layers, n_head=heads)


FAMILY = Family(
    config=GPT2Config,
    model=GPT2,
    names={"transformers": _names},
    base="transformer.",
    variants={
        "gpt2": _variant(768, 12, 12),
        "gpt2_medium": _variant(1024, 24, 16),
        "gpt2_large": _variant(1280, 36, 20),
        "gpt2_xl": _variant(1600, 48, 25),
        "distilgpt2": _variant(768, 6, 12),
    },
)
