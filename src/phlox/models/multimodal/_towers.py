"""Towers: a transformer for text and one for images, each of which ends in one vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, describe, harmonise, key_or_draw, param_dtype
from phlox.models._activations import activation
from phlox.models._model import ImageClassifier, Model
from phlox.models.language._model import check_tokens, seen_keys
from phlox.models.language.decoders._decoder import DecoderBlock
from phlox.models.multimodal._config import ImageTowerConfig, TextTowerConfig, TowerConfig
from phlox.models.vision._encoder import EncoderBlock
from phlox.models.vision._tokens import grid_of, pair, resized
from phlox.nn import Chain, Conv, Dense, Embedding, LayerNorm, MultiHeadAttention

Init = Callable[..., jax.Array]


@dataclass(frozen=True)
class Draws:
    """Initialisers of a tower's weights.

    Arguments:
        embed: of the vectors of tokens, or of the map of patches.
        positions: of their positions.
        class_token: of the token that stands for the class.
        attention: of queries, keys and values.
        out: of attention's last map.
        up, down: of the two maps behind it.
    """

    embed: Init
    positions: Init
    class_token: Init
    attention: Init
    out: Init
    up: Init
    down: Init


class TextTokens(Module):
    """Tokens as vectors, with what is learned for each position.

    Shapes:
        tokens: (batch, time); result: (batch, time, dim), where time is at most that of the table.
    """

    positions: Param  # (positions, dim)
    parameter_kinds: ClassVar[dict[str, Any]] = {"positions": "embedding"}

    def __init__(self, config: TextTowerConfig, draws: Draws):
        self.tokens: Embedding = Embedding(config.vocab_size, config.hidden_size, init=draws.embed)
        shape = config.max_position_embeddings, config.hidden_size
        self.positions = draws.positions(key_or_draw(None), shape, param_dtype())

    def __call__(self, tokens: jax.Array) -> jax.Array:
        time, most = tokens.shape[1], self.positions.shape[0]
        if time > most:
            raise ShapeError(f"at most {most} tokens", got=describe(tokens), fix=f"cut the texts: tokens[:, :{most}]")
        x, positions = harmonise(self, self.tokens(tokens), self.positions)
        return x + positions[:time]


class PatchTokens(Module):
    """Patches in a row, behind a learned token where there is one, with what is learned for each position.

    Shapes:
        images: (batch, height, width, channels); result: (batch, leading + rows * columns, dim). Images of another size
        than the config's have positions in between.

    Arguments:
        config: sizes.
        draws: initialisers.
        class_token: whether a token for the class leads.
        bias: whether the map of patches has one.
    """

    class_token: Param | None  # (dim,)
    positions: Param  # (leading + rows * columns, dim)
    parameter_kinds: ClassVar[dict[str, Any]] = {"positions": "embedding"}

    def __init__(self, config: ImageTowerConfig, draws: Draws, *, class_token: bool, bias: bool):
        where, dim = type(config).__name__, config.hidden_size
        patch = pair(config.patch_size, f"{where}.patch_size")
        self.grid: tuple[int, int] = grid_of(config.image_size, config.patch_size, where)
        self.patches: Conv = Conv(patch, config.num_channels, dim, stride=patch, bias=bias, init=draws.embed)
        self.class_token = draws.class_token(key_or_draw(None), (dim,), param_dtype()) if class_token else None
        shape = class_token + self.grid[0] * self.grid[1], dim
        self.positions = draws.positions(key_or_draw(None), shape, param_dtype())

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.patches(images)
        batch, rows, columns, dim = x.shape
        x, positions, leading = harmonise(self, x.reshape(batch, rows * columns, dim), self.positions, self.class_token)
        if leading is not None:
            x = jnp.concatenate([jnp.broadcast_to(leading, (batch, 1, dim)), x], axis=1)
        return x + resized(positions, int(leading is not None), self.grid, (rows, columns))


class TextTower(Model):
    """Tokens, blocks and a norm; ``pool`` makes one vector of a text, ``head`` puts it into the space of both."""

    config: Any
    embed: TextTokens
    blocks: list[DecoderBlock]
    norm: LayerNorm
    head: Dense | None

    def hidden_states(self, tokens: jax.Array, *, mask: Any = None) -> tuple[jax.Array, ...]:
        """What stands after the embedding and after each block, (batch, time, features) each, not normed yet.

        Arguments:
            tokens: (batch, time).
            mask: (batch, time), True where a token counts; all by default.
        """
        where = type(self).__name__
        tokens = check_tokens(where, tokens)
        seen = seen_keys(where, mask, None, tokens)
        states = [self.embed(tokens)]
        for block in self.blocks:
            states.append(block(states[-1], mask=seen))
        return tuple(states)

    def features(self, tokens: jax.Array, *, mask: Any = None) -> jax.Array:
        """The last features (batch, time, features), after the last norm."""
        return self.norm(self.hidden_states(tokens, mask=mask)[-1])

    def pool(self, features: jax.Array, tokens: jax.Array) -> jax.Array:
        """One vector (batch, features) from features and the tokens that they are of."""
        raise NotImplementedError

    def __call__(self, tokens: jax.Array, *, mask: Any = None) -> jax.Array:
        """A vector for each text, (batch, features), not of length 1.

        Raises:
            ShapeError: texts without a token.
        """
        if jnp.ndim(tokens) == 2 and not jnp.shape(tokens)[1]:
            fix = "pass those that begin and end a text at the least"
            raise ShapeError("tokens (batch, at least 1)", got=describe(tokens), fix=fix, where=type(self).__name__)
        pooled = self.pool(self.features(tokens, mask=mask), jnp.asarray(tokens))
        return pooled if self.head is None else self.head(pooled)

    def parts(self) -> tuple[str, ...]:
        """The embedding, each block, the norm and the head."""
        return "embed", *(f"blocks.{i}" for i in range(len(self.blocks))), "norm", "head"


class ImageTower(ImageClassifier):
    """Patches, blocks and a norm; ``pool`` makes one vector of an image, ``head`` puts it into the space of both."""

    config: Any
    embed: PatchTokens
    blocks: list[EncoderBlock]
    norm: LayerNorm

    @property
    def width(self) -> int:
        return self.config.hidden_size

    def start(self, images: jax.Array) -> jax.Array:
        """Images as the first block takes them, (batch, tokens, features)."""
        return self.embed(images)

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Tokens (batch, tokens, features) before the first block and after each, not normed yet."""
        states = [self.start(images)]
        for block in self.blocks:
            states.append(block(states[-1]))
        return tuple(states)

    def __call__(self, images: jax.Array) -> jax.Array:
        """A vector for each image (batch, height, width, channels), (batch, features), not of length 1."""
        return super().__call__(images)


def text_blocks(config: TowerConfig, draws: Draws, *, causal: bool) -> list[DecoderBlock]:
    """The blocks of a tower for text, whose tokens see those before them alone, or all."""
    norm = partial(LayerNorm, config.hidden_size, eps=config.layer_norm_eps)
    return [
        DecoderBlock(norm, _attention(config, draws, causal=causal), two_maps(config, draws))
        for _ in range(config.num_hidden_layers)
    ]


def image_blocks(config: TowerConfig, draws: Draws) -> list[EncoderBlock]:
    """The blocks of a tower for images."""
    return [
        EncoderBlock(config.hidden_size, _attention(config, draws), two_maps(config, draws), eps=config.layer_norm_eps)
        for _ in range(config.num_hidden_layers)
    ]


def two_maps(config: TowerConfig, draws: Draws) -> Chain:
    """Two maps of features with an activation between."""
    act = activation(config.hidden_act, f"{type(config).__name__}.hidden_act")
    return Chain(
        Dense(config.hidden_size, config.intermediate_size, act, init=draws.up),
        Dense(config.intermediate_size, config.hidden_size, init=draws.down),
    )


def _attention(config: TowerConfig, draws: Draws, *, causal: bool = False) -> MultiHeadAttention:
    dim = config.hidden_size
    made = MultiHeadAttention(
        dim, config.num_attention_heads, causal=causal, dropout=config.attention_dropout, init=draws.attention
    )
    made.out_proj = Dense(dim, dim, init=draws.out)
    return made


def block_names(base: str, ours: str) -> dict[str, str]:
    """What transformers calls the arrays of blocks, and where they are here."""
    layer, block = f"{base}encoder.layers.{{i}}", f"{ours}blocks.{{i}}"
    return {
        f"{layer}.layer_norm1": f"{block}.norm1",
        f"{layer}.self_attn": f"{block}.attention",
        f"{layer}.layer_norm2": f"{block}.norm2",
        f"{layer}.mlp.fc1": f"{block}.mlp.layers.0",
        f"{layer}.mlp.fc2": f"{block}.mlp.layers.1",
    }


def text_names(base: str, ours: str) -> dict[str, str]:
    """What transformers calls the arrays of a tower for text, but for its head; after a base there, and one here."""
    return {
        f"{base}embeddings.token_embedding": f"{ours}embed.tokens",
        f"{base}embeddings.position_embedding.weight": f"{ours}embed.positions",
        **block_names(base, ours),
        f"{base}final_layer_norm": f"{ours}norm",
    }


def image_names(base: str, ours: str) -> dict[str, str]:
    """What transformers calls the arrays of a tower for images, but for its head."""
    return {
        f"{base}embeddings.class_embedding": f"{ours}embed.class_token",
        f"{base}embeddings.patch_embedding": f"{ours}embed.patches",
        f"{base}embeddings.position_embedding.weight": f"{ours}embed.positions",
        **block_names(base, ours),
        f"{base}post_layernorm": f"{ours}norm",
    }
