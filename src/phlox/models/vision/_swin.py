"""Swin: a transformer of windows, shifted from block to block, in stages of halved size.

Source: Liu et al., "Swin transformer: hierarchical vision transformer using shifted windows", 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, Param, RangeError, harmonise, key_or_draw, param_dtype
from phlox.models._activations import activation
from phlox.models._config import Config
from phlox.models._family import Family
from phlox.models._model import ImageClassifier
from phlox.models.vision._blocks import rising
from phlox.models.vision._encoder import EncoderBlock, attention, dropped, mlp
from phlox.models.vision._tokens import grid_of, pair, resized
from phlox.nn import Conv, Dense, LayerNorm, MultiHeadAttention
from phlox.nn.functional import gather
from phlox.nn.init import normal, zeros
from phlox.weights import Array, NameMap

_STAGES = 12  # at most: each has twice the features of the one before


@dataclass(frozen=True, kw_only=True)
class SwinConfig(Config):
    """A Swin transformer, version 1.

    Arguments:
        image_size, patch_size: pixels; one number, or height and width.
        num_channels: of the images.
        embed_dim: features of the first stage; each later one has twice as many.
        depths: blocks in each stage.
        num_heads: heads of attention in each stage.
        window_size: patches along each side of a window.
        mlp_ratio: features within a block, as a multiple of its own.
        qkv_bias: whether queries, keys and values have biases.
        hidden_dropout_prob: probability of a feature to be zeroed after the embedding and at the end of each branch.
        attention_probs_dropout_prob: probability of a weight of attention to be zeroed.
        drop_path_rate: probability of the last block's branches to be zeroed, in training; it rises from 0 at the
            first. Both branches of a block are dropped, as its authors do it.
        hidden_act: the activation within a block.
        use_absolute_embeddings: whether patches have positions beside the windows' own.
        initializer_range: standard deviation of fresh weights.
        layer_norm_eps: of the norms within blocks and of the last.
    """

    model_type: ClassVar[str] = "swin"
    neutral: ClassVar[frozenset[str]] = frozenset({"encoder_stride", "hidden_size", "num_layers", "path_norm"})

    image_size: int | tuple[int, ...] = 224
    patch_size: int | tuple[int, ...] = 4
    num_channels: int = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    drop_path_rate: float = 0.1
    hidden_act: str = "gelu"
    use_absolute_embeddings: bool = False
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        grid_of(self.image_size, self.patch_size, "SwinConfig")
        if not 0 < len(self.depths) == len(self.num_heads) <= _STAGES or self.window_size < 1:
            raise RangeError(
                f"as many depths as num_heads, 1 to {_STAGES}, and windows of at least 1",
                got=f"{self.depths}, {self.num_heads} and {self.window_size}", fix="look at config.json",
                where="SwinConfig",
            )  # fmt: skip


class Patches(Module):
    """A map of patches (batch, rows, columns, features), normed, of images whose ends are filled up with zeros."""

    conv: Conv
    norm: LayerNorm
    positions: Param | None  # (rows * columns, features)
    parameter_kinds: ClassVar[dict[str, Any]] = {"positions": "embedding"}

    def __init__(self, config: SwinConfig):
        self.patch: tuple[int, int] = pair(config.patch_size, "SwinConfig.patch_size")
        self.grid: tuple[int, int] = grid_of(config.image_size, config.patch_size, "SwinConfig")
        draw, dim = normal(std=config.initializer_range), config.embed_dim
        self.conv = Conv(self.patch, config.num_channels, dim, stride=self.patch, init=draw)
        self.norm = LayerNorm(dim)
        shape = (self.grid[0] * self.grid[1], dim)
        self.positions = draw(key_or_draw(None), shape, param_dtype()) if config.use_absolute_embeddings else None
        self.drop: Any = dropped(config.hidden_dropout_prob)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.norm(self.conv(_filled(images, self.patch)))
        if self.positions is not None:
            x, positions = harmonise(self, x, self.positions)
            x = x + resized(positions, 0, self.grid, x.shape[1:3]).reshape(x.shape[1:])
        return self.drop(x)


class WindowPositions(Module):
    """What is added to scores of attention within a window, for each head, by how far a key is down and right.

    Shapes:
        weight: ((2 * window - 1)², heads); queries: (queries,) and keys: (keys,), positions in a window by row.
    """

    weight: Param  # ((2 * window - 1)², heads)
    parameter_kinds: ClassVar[dict[str, Any]] = {"weight": "embedding"}

    def __init__(self, window: int, heads: int):
        self.window = window
        self.weight = zeros(key_or_draw(None), ((2 * window - 1) ** 2, heads), param_dtype())

    def bias(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """What is added, (heads, queries, keys)."""
        here, there = jnp.divmod(queries[:, None], self.window), jnp.divmod(keys, self.window)
        down, right = (a - b + self.window - 1 for a, b in zip(here, there, strict=True))
        return jnp.moveaxis(gather(self.weight, down * (2 * self.window - 1) + right), -1, 0)


class WindowAttention(Module):
    """Attention within windows of a map (batch, rows, columns, features), which may be shifted.

    A shifted map goes round at its ends; patches that only so come into one window do not see one another. A map that
    is no larger than a window is not shifted.

    Arguments:
        attention: over a window's patches by row.
        window: patches along a side.
        shift: patches down and right.
    """

    attention: MultiHeadAttention

    def __init__(self, attention: MultiHeadAttention, window: int, shift: int):
        self.attention, self.window, self.shift = attention, window, shift

    def __call__(self, x: jax.Array) -> jax.Array:
        rows, columns, side = x.shape[1], x.shape[2], self.window
        shift = self.shift if min(rows, columns) > side else 0
        x = _filled(x, (side, side))
        size = x.shape[1], x.shape[2]
        y = _windows(jnp.roll(x, (-shift, -shift), (1, 2)), side)
        y = self.attention(y, mask=_neighbours(size, side, shift, x.shape[0]) if shift else None)
        y = jnp.roll(_joined(y, size, side), (shift, shift), (1, 2))
        return y[:, :rows, :columns]


class PatchMerging(Module):
    """Half the size: the features of two by two patches in one, normed, then mapped to twice as many features."""

    norm: LayerNorm
    reduction: Dense

    def __init__(self, dim: int, init: Any):
        self.norm = LayerNorm(4 * dim)
        self.reduction = Dense(4 * dim, 2 * dim, bias=False, init=init)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = _filled(x, (2, 2))
        batch, rows, columns, dim = x.shape
        x = x.reshape(batch, rows // 2, 2, columns // 2, 2, dim).transpose(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(batch, rows // 2, columns // 2, 4 * dim)))


class SwinStage(Module):
    """Blocks, every second one with shifted windows, then half the size."""

    blocks: list[EncoderBlock]
    merging: PatchMerging | None

    def __init__(self, blocks: list[EncoderBlock], merging: PatchMerging | None):
        self.blocks, self.merging = blocks, merging

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x if self.merging is None else self.merging(x)


class Swin(ImageClassifier):
    """A Swin transformer for images (batch, height, width, channels); scores (batch, classes).

    Arguments:
        config: a ``SwinConfig``.

    Source: Liu et al., "Swin transformer: hierarchical vision transformer using shifted windows", 2021.

    >>> import phlox as px
    >>> config = px.models.SwinConfig(embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4, classes=5)
    >>> model = px.models.Swin(config)
    >>> [px.output_shape(f, (2, 60, 64, 3)) for f in (model, model.features)], model.parts()
    ([(2, 5), (2, 8, 8, 16)], ('embed', 'stages.0', 'stages.1', 'norm', 'head'))
    """

    config: SwinConfig
    embed: Patches
    stages: list[SwinStage]
    norm: LayerNorm
    head: Dense | None

    def __init__(self, config: SwinConfig):
        self.config = config
        self.embed = Patches(config)
        rates = iter(rising(config.drop_path_rate, sum(config.depths)))
        self.stages = [
            _stage(config, i, [next(rates) for _ in range(depth)]) for i, depth in enumerate(config.depths)
        ]  # fmt: skip
        self.norm = LayerNorm(self.width, eps=config.layer_norm_eps)
        init = normal(std=config.initializer_range)
        self.head = Dense(self.width, config.classes, init=init) if config.classes else None

    @property
    def width(self) -> int:
        return self.config.embed_dim * 2 ** (len(self.config.depths) - 1)

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Maps (batch, rows, columns, features) before the first stage and after each, not normed yet."""
        states = [self.embed(images)]
        for stage in self.stages:
            states.append(stage(states[-1]))
        return tuple(states)

    def features(self, images: jax.Array) -> jax.Array:
        return self.norm(self.hidden_states(images)[-1])

    def parts(self) -> tuple[str, ...]:
        return "embed", *(f"stages.{i}" for i in range(len(self.stages))), "norm", "head"


def _stage(config: SwinConfig, i: int, rates: list[float]) -> SwinStage:
    dim, init = config.embed_dim * 2**i, normal(std=config.initializer_range)
    blocks = [_block(config, i, dim, config.window_size // 2 * (j % 2), rate) for j, rate in enumerate(rates)]
    return SwinStage(blocks, PatchMerging(dim, init) if i < len(config.depths) - 1 else None)


def _block(config: SwinConfig, i: int, dim: int, shift: int, rate: float) -> EncoderBlock:
    init, heads, window = normal(std=config.initializer_range), config.num_heads[i], config.window_size
    act = activation(config.hidden_act, "SwinConfig.hidden_act")
    attend = attention(
        dim, heads, init, qkv_bias=config.qkv_bias, dropout=config.attention_probs_dropout_prob,
        positions=WindowPositions(window, heads),
    )  # fmt: skip
    return EncoderBlock(
        dim, WindowAttention(attend, window, shift), mlp(dim, int(dim * config.mlp_ratio), act, init),
        eps=config.layer_norm_eps, dropout=config.hidden_dropout_prob, drop_path=rate,
    )  # fmt: skip


def _filled(x: jax.Array, multiple: tuple[int, int]) -> jax.Array:
    """With zeros below and to the right, up to multiples."""
    low, right = (-size % m for size, m in zip(x.shape[1:3], multiple, strict=True))
    return jnp.pad(x, ((0, 0), (0, low), (0, right), (0, 0))) if low or right else x


def _windows(x: Any, side: int) -> Any:
    """(batch, rows, columns, features) → (batch * windows, side², features)."""
    batch, rows, columns, features = x.shape
    x = x.reshape(batch, rows // side, side, columns // side, side, features)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, side * side, features)


def _joined(x: jax.Array, size: tuple[int, int], side: int) -> jax.Array:
    """Back: (batch * windows, side², features) → (batch, rows, columns, features)."""
    (rows, columns), features = size, x.shape[-1]
    x = x.reshape(-1, rows // side, columns // side, side, side, features)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, features)


def _neighbours(size: tuple[int, int], side: int, shift: int, batch: int) -> jax.Array:
    """Which patches of a shifted window were neighbours before: (batch * windows, 1, side², side²)."""
    down, right = (np.digitize(np.arange(n), [n - side, n - shift]) for n in size)
    region = _windows((3 * down[:, None] + right)[None, ..., None], side)
    near = jnp.asarray(region == region.swapaxes(1, 2))[:, None]
    return jnp.broadcast_to(near, (batch, *near.shape)).reshape(batch * near.shape[0], *near.shape[1:])


_LAYER, _BLOCK = "swin.encoder.layers.{i}.blocks.{j}", "stages.{i}.blocks.{j}"
TRANSFORMERS = NameMap(
    {
        "swin.embeddings.patch_embeddings.projection": "embed.conv",
        "swin.embeddings.norm": "embed.norm",
        "swin.embeddings.position_embeddings": Array("embed.positions", lead=1),
        f"{_LAYER}.layernorm_before": f"{_BLOCK}.norm1",
        f"{_LAYER}.attention.self.query": f"{_BLOCK}.attention.attention.q_proj",
        f"{_LAYER}.attention.self.key": f"{_BLOCK}.attention.attention.k_proj",
        f"{_LAYER}.attention.self.value": f"{_BLOCK}.attention.attention.v_proj",
        f"{_LAYER}.attention.self.relative_position_bias_table": f"{_BLOCK}.attention.attention.positions.weight",
        f"{_LAYER}.attention.output.dense": f"{_BLOCK}.attention.attention.out_proj",
        f"{_LAYER}.layernorm_after": f"{_BLOCK}.norm2",
        f"{_LAYER}.intermediate.dense": f"{_BLOCK}.mlp.layers.0",
        f"{_LAYER}.output.dense": f"{_BLOCK}.mlp.layers.1",
        "swin.encoder.layers.{i}.downsample": "stages.{i}.merging",
        "swin.layernorm": "norm",
        "classifier": "head",
    },
    ignore=("*relative_position_index", "swin.embeddings.mask_token"),
)


def _timm(config: SwinConfig) -> NameMap:
    """timm halves the size at the beginning of a stage, not at the end of the one before."""
    layer, attend = "layers.{i}.blocks.{j}", f"{_BLOCK}.attention.attention"
    names: dict[str, Any] = {
        "patch_embed.proj": "embed.conv",
        "patch_embed.norm": "embed.norm",
        "absolute_pos_embed": Array("embed.positions", lead=1),
        f"{layer}.norm1": f"{_BLOCK}.norm1",
        f"{layer}.attn.qkv": (f"{attend}.q_proj", f"{attend}.k_proj", f"{attend}.v_proj"),
        f"{layer}.attn.relative_position_bias_table": f"{attend}.positions.weight",
        f"{layer}.attn.proj": f"{attend}.out_proj",
        f"{layer}.norm2": f"{_BLOCK}.norm2",
        f"{layer}.mlp.fc1": f"{_BLOCK}.mlp.layers.0",
        f"{layer}.mlp.fc2": f"{_BLOCK}.mlp.layers.1",
        **{f"layers.{i + 1}.downsample": f"stages.{i}.merging" for i in range(len(config.depths) - 1)},
        "norm": "norm",
        "head.fc": "head",
    }
    return NameMap(names, ignore=("*relative_position_index", "*attn_mask"))


_SIZES = {
    "tiny": {},
    "small": {"depths": (2, 2, 18, 2)},
    "base": {"depths": (2, 2, 18, 2), "embed_dim": 128, "num_heads": (4, 8, 16, 32)},
    "large": {"depths": (2, 2, 18, 2), "embed_dim": 192, "num_heads": (6, 12, 24, 48)},
}
_IMAGES = {"tiny": (224,), "small": (224,), "base": (224, 384), "large": (224, 384)}
FAMILY = Family(
    config=SwinConfig,
    model=Swin,
    names={"transformers": TRANSFORMERS, "timm": _timm},
    base="swin.",
    architecture="SwinForImageClassification",
    variants={
        f"swin_{size}_patch4_window{image // 32}_{image}": SwinConfig(
            **options, image_size=image, window_size=image // 32
        )
        for size, options in _SIZES.items()
        for image in _IMAGES[size]
    },
)
