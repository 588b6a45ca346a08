"""FT-Transformer: every column of a table becomes a token, and the tokens look at each other.

Source: Gorishniy et al., "Revisiting deep learning models for tabular data", 2021; names and sizes are those of the
authors' package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, ShapeError, describe, key_or_draw, param_dtype
from phlox.models._config import Config
from phlox.models._family import Family
from phlox.models._model import Model
from phlox.nn import Chain, Dense, Dropout, Embedding, GatedMLP, LayerNorm, MultiHeadAttention, init
from phlox.nn.functional import identity, relu
from phlox.weights import NameMap

_WIDTHS = (96, 128, 192, 256, 320, 384)  # by blocks, from one to six


@dataclass(frozen=True, kw_only=True)
class FTTransformerConfig(Config):
    """An FT-Transformer; by default of the size that its authors recommend.

    Arguments:
        classes: how many scores a row gets; 1 for a number to predict, 0 for no head.
        n_cont_features: columns of numbers.
        cat_cardinalities: for each column of categories, how many there are.
        n_blocks: how many blocks.
        d_block: features of a token.
        attention_n_heads: heads of the attention.
        attention_dropout: probability of a weight of the attention to be zeroed.
        ffn_d_hidden: features within the feed-forward block; None for ``ffn_d_hidden_multiplier`` times ``d_block``.
        ffn_dropout: probability of one of these to be zeroed.
        residual_dropout: probability of a zero in what a block adds to its input.

    Raises:
        RangeError: no column, or a column of no category.
    """

    model_type: ClassVar[str] = "ft_transformer"
    fixed: ClassVar[Mapping[str, Any]] = {"ffn_activation": "ReGLU", "linformer_kv_compression_ratio": None}

    classes: int = 1
    n_cont_features: int = 0
    cat_cardinalities: tuple[int, ...] = ()
    n_blocks: int = 3
    d_block: int = 192
    attention_n_heads: int = 8
    attention_dropout: float = 0.2
    ffn_d_hidden: int | None = None
    ffn_d_hidden_multiplier: float = 4 / 3
    ffn_dropout: float = 0.1
    residual_dropout: float = 0.0

    def __post_init__(self) -> None:
        where = "FTTransformerConfig"
        if self.n_cont_features < 0 or self.n_cont_features + len(self.cat_cardinalities) < 1:
            got = f"n_cont_features={self.n_cont_features}, cat_cardinalities={self.cat_cardinalities}"
            raise RangeError("at least one column", got=got, fix="say how many columns the table has", where=where)
        if any(count < 1 for count in self.cat_cardinalities):
            got = f"cat_cardinalities={self.cat_cardinalities}"
            raise RangeError("at least one category in each column", got=got, fix="count them anew", where=where)

    def of_depth(self, n_blocks: int) -> Self:
        """The same with another number of blocks, from 1 to 6, and the authors' width and dropout for it.

        Raises:
            RangeError: another depth.

        >>> import phlox as px
        >>> px.models.FTTransformerConfig(n_cont_features=8).of_depth(1).d_block
        96
        """
        if not 1 <= n_blocks <= len(_WIDTHS):
            where, fix = "FTTransformerConfig.of_depth", "set n_blocks, d_block and the dropouts yourself"
            raise RangeError(f"from 1 to {len(_WIDTHS)} blocks", got=str(n_blocks), fix=fix, where=where)
        i = n_blocks - 1
        dropouts = {"attention_dropout": round(0.1 + 0.05 * i, 2), "ffn_dropout": round(0.05 * i, 2)}
        return replace(self, n_blocks=n_blocks, d_block=_WIDTHS[i], **dropouts)

    @property
    def hidden(self) -> int:
        """Features within the feed-forward block."""
        return int(self.d_block * self.ffn_d_hidden_multiplier) if self.ffn_d_hidden is None else self.ffn_d_hidden


class FeatureTokenizer(Module):
    """A learned class token, then a token for each column: x w + b of a number, a row of a table + b of a category."""

    token: Param  # (width,)
    weight: Param | None  # (numbers, width)
    bias: Param | None  # (numbers, width)
    tables: list[Embedding]
    shift: Param | None  # (categories, width)

    def __init__(self, numbers: int, categories: tuple[int, ...], width: int):
        draw = init.uniform(low=-(width**-0.5), high=width**-0.5)
        fresh = lambda *shape: draw(key_or_draw(None), shape, param_dtype())  # noqa: E731
        self.token = fresh(width)
        self.weight, self.bias = (fresh(numbers, width), fresh(numbers, width)) if numbers else (None, None)
        self.tables = [Embedding(count, width, init=draw) for count in categories]
        self.shift = fresh(len(categories), width) if categories else None

    def __call__(self, numbers: Any, categories: Any) -> jax.Array:
        _check("numbers", numbers, 0 if self.weight is None else len(self.weight))
        _check("categories", categories, len(self.tables))
        tokens = []
        if self.weight is not None and self.bias is not None:
            tokens.append(jnp.asarray(numbers)[:, :, None] * self.weight + self.bias)
        if self.shift is not None:
            columns = jnp.asarray(categories)
            tokens.append(jnp.stack([table(columns[:, i]) for i, table in enumerate(self.tables)], 1) + self.shift)
        first = jnp.broadcast_to(self.token, (tokens[0].shape[0], 1, len(self.token)))
        return jnp.concatenate([first, *tokens], 1)


class FTBlock(Module):
    """h = x + A(N₁(x)), y = h + M(N₂(h)); the first block has no N₁, and the last makes the class token alone."""

    norm1: LayerNorm | None
    attention: MultiHeadAttention
    norm2: LayerNorm
    mlp: GatedMLP

    def __init__(self, config: FTTransformerConfig, *, first: bool, last: bool):
        width, heads = config.d_block, config.attention_n_heads
        self.last = last
        self.norm1 = None if first else LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, dropout=config.attention_dropout)
        if heads == 1:  # then there is nothing to mix
            self.attention.out_proj = identity  # pyright: ignore[reportAttributeAccessIssue]
        self.norm2 = LayerNorm(width)
        self.mlp = GatedMLP(width, config.hidden, relu, bias=True, dropout=config.ffn_dropout)
        self.drop1, self.drop2 = Dropout(config.residual_dropout), Dropout(config.residual_dropout)

    def __call__(self, x: jax.Array) -> jax.Array:
        seen = x if self.norm1 is None else self.norm1(x)
        if self.last:
            x, asking = x[:, :1], seen[:, :1]
        else:
            asking = seen
        x = x + self.drop1(self.attention(asking, seen))
        return x + self.drop2(self.mlp(self.norm2(x)))


class FTTransformer(Model):
    """An FT-Transformer for rows of numbers (batch, columns) and categories (batch, columns); scores (batch, classes).

    The numbers should be of one scale, by ``px.data.Standardize`` or ranks; the categories are integers from 0.

    Arguments:
        config: an ``FTTransformerConfig``.

    Raises:
        ShapeError: columns that are missing, too many or not wanted.

    Source: Gorishniy et al., "Revisiting deep learning models for tabular data", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.FTTransformerConfig(n_cont_features=3, cat_cardinalities=(2, 5), d_block=16, classes=4)
    >>> model = px.models.FTTransformer(config)
    >>> px.jit(model)(jnp.ones((7, 3)), jnp.ones((7, 2), int)).shape
    (7, 4)
    """

    config: FTTransformerConfig
    tokenizer: FeatureTokenizer
    blocks: list[FTBlock]
    head: Any
    """What makes scores of the class token (batch, width); None for nothing."""

    def __init__(self, config: FTTransformerConfig):
        self.config = config
        self.tokenizer = FeatureTokenizer(config.n_cont_features, config.cat_cardinalities, config.d_block)
        ends = config.n_blocks - 1
        self.blocks = [FTBlock(config, first=i == 0, last=i == ends) for i in range(config.n_blocks)]
        norm, width = LayerNorm(config.d_block, relu), config.d_block
        self.head = Chain(norm=norm, scores=Dense(width, config.classes)) if config.classes else None

    @property
    def width(self) -> int:
        """How many features the head reads."""
        return self.config.d_block

    def hidden_states(self, numbers: Any = None, categories: Any = None) -> tuple[jax.Array, ...]:
        """The tokens (batch, 1 + columns, width), and what stands after each block; after the last, the class token."""
        states = [self.tokenizer(numbers, categories)]
        for block in self.blocks:
            states.append(block(states[-1]))
        return tuple(states)

    def features(self, numbers: Any = None, categories: Any = None) -> jax.Array:
        """The class token (batch, width) after the last block."""
        return self.hidden_states(numbers, categories)[-1][:, 0]

    def __call__(self, numbers: Any = None, categories: Any = None) -> jax.Array:
        features = self.features(numbers, categories)
        return features if self.head is None else self.head(features)

    def parts(self) -> tuple[str, ...]:
        return "tokenizer", *(f"blocks.{i}" for i in range(len(self.blocks))), "head"


def _check(name: str, columns: Any, count: int) -> None:
    """Refuse a table of other columns than the config says."""
    if columns is None and not count:
        return
    if columns is None or jnp.ndim(columns) != 2 or jnp.shape(columns)[1] != count:
        expected = f"{name} of shape (batch, {count})" if count else f"no {name}"
        got = "none" if columns is None else describe(columns)
        fix = "give what the config says: model(numbers, categories), None for what the table lacks"
        raise ShapeError(expected, got=got, fix=fix)


RTDL = NameMap({
    "cls_embedding.weight": "tokenizer.token",
    "cont_embeddings": "tokenizer",
    "cat_embeddings.embeddings.{i}": "tokenizer.tables.{i}",
    "cat_embeddings.bias": "tokenizer.shift",
    "backbone.blocks.{i}.attention_normalization": "blocks.{i}.norm1",
    "backbone.blocks.{i}.attention.W_q": "blocks.{i}.attention.q_proj",
    "backbone.blocks.{i}.attention.W_k": "blocks.{i}.attention.k_proj",
    "backbone.blocks.{i}.attention.W_v": "blocks.{i}.attention.v_proj",
    "backbone.blocks.{i}.attention.W_out": "blocks.{i}.attention.out_proj",
    "backbone.blocks.{i}.ffn_normalization": "blocks.{i}.norm2",
    "backbone.blocks.{i}.ffn.linear1": ("blocks.{i}.mlp.up", "blocks.{i}.mlp.gate"),
    "backbone.blocks.{i}.ffn.linear2": "blocks.{i}.mlp.down",
    "backbone.output.normalization": "head.layers.norm",
    "backbone.output.linear": "head.layers.scores",
})  # fmt: skip

FAMILY = Family(
    config=FTTransformerConfig,
    model=FTTransformer,
    names={"rtdl": RTDL},
    architecture="FTTransformer",
)
