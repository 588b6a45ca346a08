"""EfficientNet B0 to B7 and Lite0 to Lite4: one small network, scaled in width, depth and size.

Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019. The Lite ones have
no squeeze-and-excitation, ReLU6, and ends that are not scaled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import RangeError
from phlox.models._activations import activation
from phlox.models._config import DEEPEST, Config
from phlox.models._family import Family
from phlox.models.vision._blocks import ConvNorm
from phlox.models.vision._inverted_residual import (
    InvertedResidual,
    InvertedResidualNet,
    SqueezeExcite,
    norm_options,
    rounded,
)
from phlox.nn import Dense, Dropout, DropPath
from phlox.weights import NameMap

_LARGEST_SCALE = 64.0  # more would be a damaged or hostile file
_BY_STAGE = ("kernel_sizes", "in_channels", "out_channels", "strides", "num_block_repeats", "expand_ratios")


@dataclass(frozen=True, kw_only=True)
class EfficientNetConfig(Config):
    """An EfficientNet; one number for each stage where there are several.

    Arguments:
        num_channels: of the images.
        width_coefficient: scales the features of all stages, rounded to multiples of ``depth_divisor``.
        depth_coefficient: scales the number of blocks in all stages, rounded up.
        depth_divisor: what the features are multiples of.
        kernel_sizes: of the windows.
        in_channels, out_channels: features before and after each stage, before they are scaled.
        depthwise_padding: numbers of the blocks of stride 2 that are padded evenly, with ``padding="static"``.
        strides: 1 or 2, of the first block of each stage.
        num_block_repeats: blocks in each stage, before they are scaled.
        expand_ratios: by how much a block is wider in its middle.
        squeeze_expansion_ratio: features that squeeze-and-excitation keeps, of those before a block; 0 for none.
        hidden_act: the activation.
        hidden_dim: features before the head.
        pooling_type: ``"mean"`` or ``"max"`` over space.
        batch_norm_eps: added to variances: 1e-3 as published; 1e-5 in timm, and in torchvision up to B4.
        batch_norm_momentum: share of the old statistics that stays with each batch, as published; transformers moves
            its own by as much instead.
        dropout_rate: before the head.
        drop_connect_rate: of stochastic depth, reached linearly behind the last block.
        padding: at stride 2, ``"static"``: one element less before than after, as TensorFlow has it for even sizes;
            ``"same"``: as TensorFlow has it for any size; ``"symmetric"``: as much before as after, as torchvision.
        scale_ends: whether the stem, and the blocks of the first and the last stage, are scaled; not so in Lite.
    """

    model_type: ClassVar[str] = "efficientnet"
    neutral: ClassVar[frozenset[str]] = frozenset({"image_size", "initializer_range", "num_hidden_layers"})

    num_channels: int = 3
    width_coefficient: float = 2.0
    depth_coefficient: float = 3.1
    depth_divisor: int = 8
    kernel_sizes: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    in_channels: tuple[int, ...] = (32, 16, 24, 40, 80, 112, 192)
    out_channels: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    depthwise_padding: tuple[int, ...] = ()
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    num_block_repeats: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    expand_ratios: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    squeeze_expansion_ratio: float = 0.25
    hidden_act: str = "swish"
    hidden_dim: int = 2560
    pooling_type: str = "mean"
    batch_norm_eps: float = 0.001
    batch_norm_momentum: float = 0.99
    dropout_rate: float = 0.5
    drop_connect_rate: float = 0.2
    padding: str = "static"
    scale_ends: bool = True

    def __post_init__(self) -> None:
        stages = [getattr(self, name) for name in _BY_STAGE]
        scales = (self.width_coefficient, self.depth_coefficient)
        _check(self.padding in ("static", "same", "symmetric"), '"static", "same" or "symmetric"', self.padding)
        _check(self.pooling_type in ("mean", "max"), '"mean" or "max"', self.pooling_type)
        _check(
            len({len(s) for s in stages}) == 1 and bool(stages[0]),
            f"one number for each stage in {', '.join(_BY_STAGE)}",
            stages,
        )
        _check(not set(self.strides) - {1, 2}, "strides of 1 or 2", self.strides)
        joined = self.in_channels[1:] == self.out_channels[:-1]
        _check(joined, "in_channels that are the out_channels of the stage before", self.in_channels)
        _check(all(0 < s <= _LARGEST_SCALE for s in scales), f"scales above 0, up to {_LARGEST_SCALE:g}", scales)
        _check(self.depth_divisor > 0, "a depth_divisor of 1 or more", self.depth_divisor)
        repeats = [stage.repeats for stage in stages_of(self)]
        _check(min(repeats) > 0 and sum(repeats) <= DEEPEST, f"1 to {DEEPEST} blocks", repeats)


def _check(holds: bool, expected: str, got: Any) -> None:
    """Refuse what no EfficientNet has.

    Raises:
        RangeError: where it does not hold.
    """
    if not holds:
        raise RangeError(expected, got=repr(got)[:200], fix="look at config.json", where="EfficientNetConfig")


class Stage(NamedTuple):
    """The sizes of a stage, scaled."""

    channels: int
    filters: int
    repeats: int
    kernel: int
    stride: int
    ratio: int


def stages_of(config: EfficientNetConfig) -> list[Stage]:
    """The stages, scaled as the config says."""
    last, channels, found = len(config.strides) - 1, stem_width(config), []
    for i, (filters, repeats) in enumerate(zip(config.out_channels, config.num_block_repeats, strict=True)):
        filters = scaled(config, filters)
        if config.scale_ends or i not in (0, last):
            repeats = math.ceil(config.depth_coefficient * repeats)
        found.append(
            Stage(channels, filters, repeats, config.kernel_sizes[i], config.strides[i], config.expand_ratios[i])
        )
        channels = filters
    return found


def scaled(config: EfficientNetConfig, width: int) -> int:
    """A width, scaled and rounded."""
    return rounded(width * config.width_coefficient, config.depth_divisor)


def stem_width(config: EfficientNetConfig) -> int:
    """Features after the stem."""
    return scaled(config, config.in_channels[0]) if config.scale_ends else config.in_channels[0]


class EfficientNet(InvertedResidualNet):
    """An EfficientNet for images (batch, height, width, channels); scores (batch, classes).

    Arguments:
        config: an ``EfficientNetConfig``.

    Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019.

    >>> import phlox as px
    >>> model = px.eval_shape(lambda: px.models.create("efficientnet_b0", classes=10, key=0))
    >>> px.output_shape(model, (2, 64, 64, 3)), len(model.stages), model.parts()[-2:]
    ((2, 10), 7, ('top', 'head'))
    """

    config: EfficientNetConfig
    dropout: Dropout
    head: Dense | None
    stem: ConvNorm
    stages: list[list[InvertedResidual]]
    top: ConvNorm

    def __init__(self, config: EfficientNetConfig):
        self.config = config
        stages, act = stages_of(config), activation(config.hidden_act, "EfficientNetConfig.hidden_act")
        padding = _padding(config, 3, 2, None)
        self.stem = ConvNorm(
            3, config.num_channels, stem_width(config), act, stride=2, padding=padding, **norm_options(config)
        )
        self.stages, number, count = [], 0, sum(stage.repeats for stage in stages)
        for stage in stages:
            numbers = range(number, number + stage.repeats)
            self.stages.append([_block(config, stage, n, n == number, n / count, act) for n in numbers])
            number += stage.repeats
        self.top = ConvNorm(1, stages[-1].filters, config.hidden_dim, act, **norm_options(config))
        self.dropout = Dropout(config.dropout_rate)
        self.head = Dense(config.hidden_dim, config.classes) if config.classes else None

    @property
    def width(self) -> int:
        return self.config.hidden_dim

    def pool(self, features: jax.Array) -> jax.Array:
        """One vector (batch, width): the mean or the largest over space; with dropout while it trains."""
        over = jnp.mean if self.config.pooling_type == "mean" else jnp.max
        return self.dropout(over(features, (1, 2)))

    def parts(self) -> tuple[str, ...]:
        return "stem", *(f"stages.{i}" for i in range(len(self.stages))), "top", "head"


def _block(
    config: EfficientNetConfig, stage: Stage, number: int, first: bool, depth: float, act: Callable[..., Any]
) -> InvertedResidual:
    """A block by its number among all; ``depth`` is how far from the stem it stands, of 1."""
    channels, stride = (stage.channels, stage.stride) if first else (stage.filters, 1)
    middle, kept = channels * stage.ratio, config.squeeze_expansion_ratio
    return InvertedResidual(
        ConvNorm(1, channels, middle, act, **norm_options(config)) if stage.ratio != 1 else None,
        ConvNorm(
            stage.kernel, middle, middle, act, stride=stride, groups=middle,
            padding=_padding(config, stage.kernel, stride, number), **norm_options(config),
        ),
        SqueezeExcite(middle, max(1, int(channels * kept)), act) if kept else None,
        ConvNorm(1, middle, stage.filters, **norm_options(config)),
        shortcut=not first,
        drop=None if first else DropPath(config.drop_connect_rate * depth),
    )  # fmt: skip


def _padding(config: EfficientNetConfig, kernel: int, stride: int, number: int | None) -> Any:
    """What surrounds the map before a window, in the block of a number or in the stem."""
    if config.padding == "symmetric":
        return kernel // 2
    if config.padding == "same" or stride == 1:
        return "SAME"
    high = kernel // 2
    return ((high if number in config.depthwise_padding else high - 1, high),) * 2


def _numbered(config: EfficientNetConfig) -> Iterator[tuple[int, str]]:
    """The blocks by their number among all, and their paths."""
    paths = (f"stages.{i}.{j}" for i, stage in enumerate(stages_of(config)) for j in range(stage.repeats))
    return enumerate(paths)


def _as_transformers(config: EfficientNetConfig) -> NameMap:
    layers = {
        "expansion.expand_conv": "expand.conv",
        "expansion.expand_bn": "expand.norm",
        "depthwise_conv.depthwise_conv": "depthwise.conv",
        "depthwise_conv.depthwise_norm": "depthwise.norm",
        "squeeze_excite": "excite",
        "projection.project_conv": "project.conv",
        "projection.project_bn": "project.norm",
    }
    return NameMap({
        "efficientnet.embeddings.convolution": "stem.conv",
        "efficientnet.embeddings.batchnorm": "stem.norm",
        **{
            f"efficientnet.encoder.blocks.{n}.{theirs}": f"{path}.{ours}"
            for n, path in _numbered(config) for theirs, ours in layers.items()
        },
        "efficientnet.encoder.top_conv": "top.conv",
        "efficientnet.encoder.top_bn": "top.norm",
        "classifier": "head",
    })  # fmt: skip


def _as_timm(config: EfficientNetConfig) -> NameMap:
    excite = {"se.conv_reduce": "excite.reduce", "se.conv_expand": "excite.expand"}
    wide = {
        "conv_pw": "expand.conv", "bn1": "expand.norm", "conv_dw": "depthwise.conv", "bn2": "depthwise.norm",
        **excite, "conv_pwl": "project.conv", "bn3": "project.norm",
    }  # fmt: skip
    narrow = {
        "conv_dw": "depthwise.conv", "bn1": "depthwise.norm", **excite, "conv_pw": "project.conv",
        "bn2": "project.norm",
    }  # fmt: skip
    return NameMap({
        "conv_stem": "stem.conv",
        "bn1": "stem.norm",
        **{
            f"blocks.{i}.{{j}}.{theirs}": f"stages.{i}.{{j}}.{ours}"
            for i, ratio in enumerate(config.expand_ratios)
            for theirs, ours in (narrow if ratio == 1 else wide).items()
        },
        "conv_head": "top.conv",
        "bn2": "top.norm",
        "classifier": "head",
    })  # fmt: skip


def _as_torchvision(config: EfficientNetConfig) -> NameMap:
    entries = {"features.0.0": "stem.conv", "features.0.1": "stem.norm"}
    for i, ratio in enumerate(config.expand_ratios):
        there, here = f"features.{i + 1}.{{j}}.block", f"stages.{i}.{{j}}"
        layers = ["depthwise", "excite", "project"] if ratio == 1 else ["expand", "depthwise", "excite", "project"]
        for k, layer in enumerate(layers):
            parts = ("fc1", "reduce"), ("fc2", "expand")
            if layer != "excite":
                parts = ("0", "conv"), ("1", "norm")
            entries |= {f"{there}.{k}.{theirs}": f"{here}.{layer}.{ours}" for theirs, ours in parts}
    last = f"features.{len(config.expand_ratios) + 1}"
    return NameMap({**entries, f"{last}.0": "top.conv", f"{last}.1": "top.norm", "classifier.1": "head"})


def _as_efficientnet_pytorch(config: EfficientNetConfig) -> NameMap:
    layers = {
        "_expand_conv": "expand.conv", "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv", "_bn1": "depthwise.norm",
        "_se_reduce": "excite.reduce", "_se_expand": "excite.expand",
        "_project_conv": "project.conv", "_bn2": "project.norm",
    }  # fmt: skip
    return NameMap({
        "_conv_stem": "stem.conv",
        "_bn0": "stem.norm",
        **{
            f"_blocks.{n}.{theirs}": f"{path}.{ours}"
            for n, path in _numbered(config) for theirs, ours in layers.items()
        },
        "_conv_head": "top.conv",
        "_bn1": "top.norm",
        "_fc": "head",
    })  # fmt: skip


def _is_transformers(config: EfficientNetConfig) -> bool:
    """Whether transformers builds the same."""
    return (
        config.padding == "static" and config.scale_ends and config.squeeze_expansion_ratio > 0
        and config.hidden_dim == scaled(config, 1280) and config.in_channels[0] == 32
    )  # fmt: skip


# Scales of width and of depth, features before the head, dropout before it.
_SCALES = {
    "b0": (1.0, 1.0, 1280, 0.2), "b1": (1.0, 1.1, 1280, 0.2), "b2": (1.1, 1.2, 1408, 0.3), "b3": (1.2, 1.4, 1536, 0.3),
    "b4": (1.4, 1.8, 1792, 0.4), "b5": (1.6, 2.2, 2048, 0.4), "b6": (1.8, 2.6, 2304, 0.5), "b7": (2.0, 3.1, 2560, 0.5),
    "lite0": (1.0, 1.0, 1280, 0.2), "lite1": (1.0, 1.1, 1280, 0.2), "lite2": (1.1, 1.2, 1280, 0.3),
    "lite3": (1.2, 1.4, 1280, 0.3), "lite4": (1.4, 1.8, 1280, 0.3),
}  # fmt: skip
_LITE = {"squeeze_expansion_ratio": 0.0, "hidden_act": "relu6", "scale_ends": False}
_RETRAINED = {"padding": "symmetric", "batch_norm_eps": 1e-5, "batch_norm_momentum": 0.9}


def _variant(scale: str, **options: Any) -> EfficientNetConfig:
    width, depth, hidden, dropout = _SCALES[scale]
    own = _LITE if scale.startswith("lite") else {}
    return EfficientNetConfig(
        width_coefficient=width, depth_coefficient=depth, hidden_dim=hidden, dropout_rate=dropout, **own, **options
    )


FAMILY = Family(
    config=EfficientNetConfig,
    model=EfficientNet,
    names={
        "transformers": _as_transformers,
        "timm": _as_timm,
        "torchvision": _as_torchvision,
        "efficientnet_pytorch": _as_efficientnet_pytorch,
    },
    holds={"transformers": _is_transformers},
    base="efficientnet.",
    architecture="EfficientNetForImageClassification",
    variants={
        **{f"efficientnet_{scale}": _variant(scale, **_RETRAINED) for scale in _SCALES},
        **{f"tf_efficientnet_{scale}": _variant(scale, padding="same") for scale in _SCALES},
    },
)
