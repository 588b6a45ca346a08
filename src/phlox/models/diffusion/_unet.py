"""The U-Net of diffusion: down to a coarse picture and up again, with what was on the way down beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe, key_or_draw, seed
from phlox.models.diffusion._time import LabelEmbedding, TimeEmbedding
from phlox.models.diffusion._unet_blocks import Larger, Level, ResidualBlock, SpatialAttention
from phlox.nn import Conv, GroupNorm, init
from phlox.nn.functional import silu

_BLOCK = {"norm1": "norm1", "conv1": "conv1", "time_emb_proj": "time", "norm2": "norm2", "conv2": "conv2"}
_BLOCK["conv_shortcut"] = "shortcut"
_ATTENTION = {"group_norm": "norm", "to_q": "attention.q_proj", "to_k": "attention.k_proj"}
_ATTENTION |= {"to_v": "attention.v_proj", "to_out.0": "attention.out_proj"}

# The names of modules in diffusers' UNet2DModel.
NAMES = {
    "conv_in": "conv_in",
    "time_embedding.linear_1": "time.linear_1",
    "time_embedding.linear_2": "time.linear_2",
    "class_embedding": "label.table",
    "down_blocks.{i}.downsamplers.0.conv": "smaller.{i}",
    "up_blocks.{i}.upsamplers.0.conv": "larger.{i}.conv",
    "conv_norm_out": "norm",
    "conv_out": "conv_out",
    **{
        f"{way}_blocks.{{i}}.resnets.{{j}}.{a}": f"{way}.{{i}}.blocks.{{j}}.{b}"
        for way in ("down", "up")
        for a, b in _BLOCK.items()
    },
    **{
        f"{way}_blocks.{{i}}.attentions.{{j}}.{a}": f"{way}.{{i}}.attentions.{{j}}.{b}"
        for way in ("down", "up")
        for a, b in _ATTENTION.items()
    },
    **{f"mid_block.resnets.{{i}}.{a}": f"middle.{{i}}.{b}" for a, b in _BLOCK.items()},
    **{f"mid_block.attentions.0.{a}": f"attention.{b}" for a, b in _ATTENTION.items()},
}


@dataclass(frozen=True)
class UNetConfig:
    """The sizes of a ``UNet``; the defaults are those of DDPM on pictures of 32 × 32.

    Arguments:
        in_channels, out_channels: of pictures.
        channels: of each level, the finest first; multiples of ``groups``.
        blocks: residual blocks of each level on the way down; one more on the way up.
        attention: for each level, whether blocks have attention behind them.
        head_dim: channels of each head; None for one head.
        middle_attention: whether there is attention at the bottom.
        groups, eps: of the norms.
        dropout: probability of a zero, in training.
        scale_shift: whether blocks are told the time by scale and shift (ADM).
        classes: how many labels there are; None for a network without.
        label_dropout: the probability of a label to be dropped in training; 0 where none is to stand for no label.
        freq_shift, cos_first: of the waves of times; DDPM's own have 1 and False.
        symmetric: whether a level is made smaller with padding on both sides; DDPM's own pads the end alone.

    Raises:
        RangeError: sizes that do not divide, another number of levels in ``attention`` than in ``channels``.

    >>> UNetConfig(channels=(32, 64), attention=(False, True)).blocks
    2
    """

    in_channels: int = 3
    out_channels: int = 3
    channels: tuple[int, ...] = (128, 256, 256, 256)
    blocks: int = 2
    attention: tuple[bool, ...] = (False, True, False, False)
    head_dim: int | None = None
    middle_attention: bool = True
    groups: int = 32
    eps: float = 1e-5
    dropout: float = 0.0
    scale_shift: bool = False
    classes: int | None = None
    label_dropout: float = 0.1
    freq_shift: float = 0.0
    cos_first: bool = True
    symmetric: bool = True

    def __post_init__(self) -> None:
        if len(self.attention) != len(self.channels) or not self.channels:
            got, fix = f"{len(self.attention)} and {len(self.channels)}", "say for each level whether it has attention"
            raise RangeError("attention for each level of channels", got=got, fix=fix, where="UNetConfig")
        for divisor, name in ((self.groups, "groups"), (self.head_dim or 1, "head_dim")):
            if divisor < 1 or any(c < 1 or c % divisor for c in self.channels):
                got, fix = f"{self.channels} and {divisor}", f"choose multiples of {divisor}"
                raise RangeError(f"channels that are multiples of {name}", got=got, fix=fix, where="UNetConfig")


class UNet(Module):
    r"""A U-Net over pictures, told the time and perhaps a label.

    Levels of residual blocks, each half as high and wide as the one before; a block, attention and a block at the
    bottom; then the levels backwards, each block with the output of one on the way down beside its input.

    Shapes:
        x: (batch, height, width, in_channels), height and width divisible by 2 for every level but the last;
        t: (batch,), integers or floats; labels: (batch,), integers, where ``classes`` is given;
        y: (batch, height, width, out_channels).

    Arguments:
        config: the sizes.
        key: where weights and draws come from; by default the stream of ``px.seed``.

    Raises:
        ShapeError: an input of another size. RangeError: labels where there are no classes, or none where there are.

    Source: Ho, Jain and Abbeel (arXiv:2006.11239), after Ronneberger, Fischer and Brox (arXiv:1505.04597).

    >>> import phlox as px
    >>> config = UNetConfig(1, 1, channels=(32, 64), attention=(False, True))
    >>> px.eval_shape(lambda: UNet(config)(jnp.ones((2, 28, 28, 1)), jnp.array([0, 999]))).shape
    (2, 28, 28, 1)
    """

    config: UNetConfig
    down: list[Level]
    smaller: list[Conv]
    up: list[Level]
    larger: list[Larger]

    def __init__(self, config: UNetConfig, *, key: Any = None):
        self.config = config
        sizes, dim = config.channels, 4 * config.channels[0]
        waves = {"freq_shift": config.freq_shift, "cos_first": config.cos_first}
        with seed(key_or_draw(key)):
            self.conv_in: Conv = Conv((3, 3), config.in_channels, sizes[0], padding=1)
            self.time: TimeEmbedding = TimeEmbedding(sizes[0], dim, **waves)
            self.label: LabelEmbedding | None = (
                None if config.classes is None else LabelEmbedding(config.classes, dim, dropout=config.label_dropout)
            )
            self.down, self.smaller = _down(config, dim)
            self.middle: list[ResidualBlock] = [
                ResidualBlock(sizes[-1], sizes[-1], dim, **_options(config)) for _ in "ab"
            ]
            self.attention: SpatialAttention | None = _attention(config, sizes[-1]) if config.middle_attention else None
            self.up, self.larger = _up(config, dim)
            self.norm: GroupNorm = GroupNorm(sizes[0], config.groups, silu, eps=config.eps)
            self.conv_out: Conv = Conv((3, 3), sizes[0], config.out_channels, padding=1, init=init.zeros)

    def __call__(self, x: Any, t: Any, labels: Any = None) -> jax.Array:
        self._check(x, labels)
        c = self.time(t) if self.label is None else self.time(t) + self.label(labels)
        x = self.conv_in(x)
        skipped = [x]
        for i, level in enumerate(self.down):
            skipped += level.each(skipped[-1], c)
            if i < len(self.smaller):
                skipped.append(self.smaller[i](skipped[-1]))
        x = self.middle[0](skipped[-1], c)
        x = self.middle[1](x if self.attention is None else self.attention(x), c)
        for i, level in enumerate(self.up):
            x = level.joined(x, c, skipped)
            if i < len(self.larger):
                x = self.larger[i](x)
        return self.conv_out(self.norm(x))

    def _check(self, x: Any, labels: Any) -> None:
        shape, channels, step = jnp.shape(x), self.config.in_channels, 2 ** len(self.smaller)
        if len(shape) != 4 or shape[-1] != channels or shape[1] % step or shape[2] % step:
            fix = f"channels are the last axis; pad height and width to multiples of {step}"
            raise ShapeError(f"(batch, {step} · height, {step} · width, {channels})", got=describe(x), fix=fix)
        if (labels is None) != (self.label is None):
            wanted = "labels" if labels is None else "no labels, for classes=None"
            fix = "pass condition=labels to samplers and losses" if labels is None else "build it with classes=…"
            raise RangeError(wanted, got=describe(labels), fix=fix)


def _options(config: UNetConfig) -> dict[str, Any]:
    """What all residual blocks share."""
    return {n: getattr(config, n) for n in ("groups", "eps", "dropout", "scale_shift")}


def _head_dim(config: UNetConfig, level: int) -> int | None:
    """Channels of each head at a level; None for no attention."""
    return (config.head_dim or config.channels[level]) if config.attention[level] else None


def _attention(config: UNetConfig, channels: int) -> SpatialAttention:
    return SpatialAttention(channels, config.head_dim or channels, groups=config.groups, eps=config.eps)


def _down(config: UNetConfig, dim: int) -> tuple[list[Level], list[Conv]]:
    """Levels on the way down, and what makes them smaller."""
    sizes, padding = config.channels, 1 if config.symmetric else ((0, 1), (0, 1))
    levels, before = [], sizes[0]
    for i, size in enumerate(sizes):
        pairs = [(before if j == 0 else size, size) for j in range(config.blocks)]
        levels.append(Level(pairs, dim, _head_dim(config, i), **_options(config)))
        before = size
    return levels, [Conv((3, 3), size, size, stride=2, padding=padding) for size in sizes[:-1]]


def _up(config: UNetConfig, dim: int) -> tuple[list[Level], list[Larger]]:
    """Levels on the way up, whose blocks get what the way down skipped, and what makes them larger."""
    sizes, levels, before = config.channels, [], config.channels[-1]
    for i in reversed(range(len(sizes))):
        last = sizes[max(i - 1, 0)]  # the last block of a level gets what came into the level on the way down
        beside = [sizes[i]] * config.blocks + [last]
        pairs = [((before if j == 0 else sizes[i]) + other, sizes[i]) for j, other in enumerate(beside)]
        levels.append(Level(pairs, dim, _head_dim(config, i), **_options(config)))
        before = sizes[i]
    return levels, [Larger(size) for size in sizes[:0:-1]]
