"""Images as rows of tokens: what ViT, DeiT and DINOv2 have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, harmonise, key_or_draw, param_dtype
from phlox.models._config import Config
from phlox.models._model import ImageClassifier
from phlox.models.vision._encoder import EncoderBlock, attention, dropped
from phlox.nn import Conv, LayerNorm
from phlox.nn.functional import interpolate
from phlox.nn.init import normal
from phlox.weights import Array, NameMap


@dataclass(frozen=True, kw_only=True)
class TokensConfig(Config):
    """What configs of transformers for images in patches have in common; ``ViTConfig`` says what each field is."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | tuple[int, ...] = 224
    patch_size: int | tuple[int, ...] = 16
    num_channels: int = 3
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        grid_of(self.image_size, self.patch_size, type(self).__name__)


class ImageTokens(Module):
    """Patches in a row behind learned tokens, with what is learned for each position.

    Shapes:
        images: (batch, height, width, channels); tokens: (batch, leading + registers + rows * columns, dim), where the
        leading ones are for the class and, in some models, for what a teacher says.

    Arguments:
        config: sizes and rates.
        distilled: whether there is a token for what a teacher says.
        registers: tokens without positions behind the leading ones.
        antialias: whether positions are averaged where an image has fewer patches than the table.
    """

    patches: Conv
    cls_token: Param  # (dim,)
    distillation_token: Param | None  # (dim,)
    registers: Param | None  # (registers, dim)
    positions: Param  # (leading + rows * columns, dim)
    parameter_kinds: ClassVar[dict[str, Any]] = {"positions": "embedding", "registers": "embedding"}

    def __init__(
        self, config: TokensConfig, *, distilled: bool = False, registers: int = 0, antialias: bool = False
    ):  # fmt: skip
        dim, patch = config.hidden_size, pair(config.patch_size, type(config).__name__ + ".patch_size")
        self.grid: tuple[int, int] = grid_of(config.image_size, config.patch_size, type(config).__name__)
        self.antialias = antialias
        draw: Any = normal(std=config.initializer_range)
        self.patches = Conv(patch, config.num_channels, dim, stride=patch, init=draw)
        make = lambda *shape: draw(key_or_draw(None), shape, param_dtype())  # noqa: E731
        self.cls_token = make(dim)
        self.distillation_token = make(dim) if distilled else None
        self.registers = make(registers, dim) if registers else None
        self.positions = make(1 + distilled + self.grid[0] * self.grid[1], dim)
        self.drop: Any = dropped(config.hidden_dropout_prob)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.patches(images)
        batch, rows, columns, dim = x.shape
        x, positions, cls_token, distillation, registers = harmonise(
            self, x, self.positions, self.cls_token, self.distillation_token, self.registers
        )
        leading = jnp.stack([token for token in (cls_token, distillation) if token is not None])
        positions = resized(positions, len(leading), self.grid, (rows, columns), antialias=self.antialias)
        leading = leading + positions[: len(leading)]
        leading = leading if registers is None else jnp.concatenate([leading, registers])
        x = x.reshape(batch, rows * columns, dim) + positions[-rows * columns :]
        return self.drop(jnp.concatenate([jnp.broadcast_to(leading, (batch, *leading.shape)), x], axis=1))


class TokenClassifier(ImageClassifier):
    """Images as tokens, through blocks and a norm, to classes."""

    config: Any
    embed: ImageTokens
    blocks: list[EncoderBlock]
    norm: LayerNorm

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Tokens (batch, tokens, features) before the first block and after each, not normed yet."""
        states = [self.embed(images)]
        for block in self.blocks:
            states.append(block(states[-1]))
        return tuple(states)

    def features(self, images: jax.Array) -> jax.Array:
        """Tokens (batch, tokens, features) after the last norm, those of the patches last."""
        return self.norm(self.hidden_states(images)[-1])

    def pool(self, features: jax.Array) -> jax.Array:
        """The class's token (batch, width)."""
        return features[:, 0]

    @property
    def width(self) -> int:
        return self.config.hidden_size

    def parts(self) -> tuple[str, ...]:
        return "embed", *(f"blocks.{i}" for i in range(len(self.blocks))), "norm", "head"


def blocks_of(
    config: TokensConfig, make_mlp: Callable[[], Module], rates: Sequence[float], scale: float | None = None
) -> list[EncoderBlock]:
    """The blocks of a config, each with its rate of stochastic depth."""
    draw = normal(std=config.initializer_range)
    options = {"qkv_bias": config.qkv_bias, "dropout": config.attention_probs_dropout_prob}
    attend = lambda: attention(config.hidden_size, config.num_attention_heads, draw, **options)  # noqa: E731
    return [
        EncoderBlock(
            config.hidden_size, attend(), make_mlp(), eps=config.layer_norm_eps,
            dropout=config.hidden_dropout_prob, drop_path=rate, scale=scale,
        )
        for rate in rates
    ]  # fmt: skip


def resized(
    positions: jax.Array, leading: int, grid: tuple[int, int], to: tuple[int, int], *, antialias: bool = False
) -> jax.Array:
    """Positions for a grid of other size, (leading + rows * columns, dim): those of patches by bicubic interpolation.

    Those of the leading tokens stay.
    """
    if grid == to:
        return positions
    table = positions[leading:].reshape(1, *grid, -1)
    table = interpolate(table, to, mode="bicubic", antialias=antialias).reshape(to[0] * to[1], -1)
    return jnp.concatenate([positions[:leading], table])


def pair(size: int | Sequence[int], where: str) -> tuple[int, int]:
    """Height and width.

    Raises:
        RangeError: other than one or two positive numbers.
    """
    found = (size, size) if isinstance(size, int) else tuple(size)
    if len(found) != 2 or min(found) < 1:
        raise RangeError("one size, or height and width", got=repr(size), fix="look at config.json", where=where)
    return found[0], found[1]


def grid_of(image: int | Sequence[int], patch: int | Sequence[int], where: str) -> tuple[int, int]:
    """Rows and columns of patches in an image.

    Raises:
        RangeError: an image smaller than a patch.
    """
    (height, width), (tall, wide) = pair(image, f"{where}.image_size"), pair(patch, f"{where}.patch_size")
    if height < tall or width < wide:
        raise RangeError(
            "image_size of at least patch_size", got=f"{image} and {patch}", fix="look at config.json", where=where
        )
    return height // tall, width // wide


def hub_names(base: str) -> dict[str, Any]:
    """What transformers calls the arrays outside of norms and features, below the name of a trunk."""
    layer, block = f"{base}.encoder.layer.{{i}}.attention", "blocks.{i}.attention"
    return {
        f"{base}.embeddings.cls_token": Array("embed.cls_token", lead=2),
        f"{base}.embeddings.distillation_token": Array("embed.distillation_token", lead=2),
        f"{base}.embeddings.register_tokens": Array("embed.registers", lead=1),
        f"{base}.embeddings.position_embeddings": Array("embed.positions", lead=1),
        f"{base}.embeddings.patch_embeddings.projection": "embed.patches",
        f"{layer}.attention.query": f"{block}.q_proj",
        f"{layer}.attention.key": f"{block}.k_proj",
        f"{layer}.attention.value": f"{block}.v_proj",
        f"{layer}.output.dense": f"{block}.out_proj",
        f"{base}.layernorm": "norm",
    }


TIMM: dict[str, Any] = {
    "cls_token": Array("embed.cls_token", lead=2),
    "dist_token": Array("embed.distillation_token", lead=2),
    "pos_embed": Array("embed.positions", lead=1),
    "patch_embed.proj": "embed.patches",
    "blocks.{i}.norm1": "blocks.{i}.norm1",
    "blocks.{i}.attn.qkv": tuple(f"blocks.{{i}}.attention.{name}_proj" for name in "qkv"),
    "blocks.{i}.attn.proj": "blocks.{i}.attention.out_proj",
    "blocks.{i}.norm2": "blocks.{i}.norm2",
    "blocks.{i}.mlp.fc1": "blocks.{i}.mlp.layers.0",
    "blocks.{i}.mlp.fc2": "blocks.{i}.mlp.layers.1",
    "norm": "norm",
}

_LAYERS = {
    "encoder.layer.": "layers.",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
"""What stands in names of transformers' files, and in those of its layers, in this order."""


def layer_names(names: NameMap, *kept: str) -> NameMap:
    """What transformers calls its layers, by what it calls their arrays in files; ``kept`` are the same in both."""
    entries: dict[str, Any] = {}
    for name, ours in names.entries.items():
        for there, here in _LAYERS.items():
            name = name if there in kept else name.replace(there, here)
        entries[name] = ours
    return NameMap(entries, ignore=names.ignore)
