"""ResNet, ResNeXt and wide ResNet: stages of residual blocks.

Source: He et al., "Deep residual learning for image recognition", 2016; the stride stands at the 3×3 convolution of a
bottleneck (v1.5). Xie et al., "Aggregated residual transformations for deep neural networks", 2017. Zagoruyko and
Komodakis, "Wide residual networks", 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from phlox.core import Module, RangeError
from phlox.models._activations import activation
from phlox.models._config import Config, check_stages
from phlox.models._family import Family
from phlox.models._model import ImageClassifier
from phlox.models.vision._blocks import ConvNorm
from phlox.nn import Dense, MaxPool, added
from phlox.nn.functional import relu
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(Config):
    """A ResNet.

    Arguments:
        num_channels: of the images.
        embedding_size: features after the stem.
        hidden_sizes: features after each stage.
        depths: blocks in each stage.
        layer_type: ``"bottleneck"``, three convolutions with a quarter of the features in the middle; ``"basic"``, two.
        hidden_act: the activation after the stem and after each block; within a block it is always ReLU.
        downsample_in_first_stage: halve the size in the first stage too.
        downsample_in_bottleneck: the stride at the first convolution of a bottleneck (v1), not at the second (v1.5).
        groups: of the convolution in the middle of a bottleneck (ResNeXt).
        width_per_group: features of a group in the first stage, of 64 that a plain ResNet has.
    """

    model_type: ClassVar[str] = "resnet"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: str = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False
    groups: int = 1
    width_per_group: int = 64

    def __post_init__(self) -> None:
        if self.layer_type not in ("basic", "bottleneck"):
            raise RangeError('"basic" or "bottleneck"', got=repr(self.layer_type), where="ResNetConfig.layer_type")
        check_stages(self.depths, self.hidden_sizes, "ResNetConfig")
        if self.layer_type == "basic" and not _is_plain(self):
            raise RangeError(
                "groups=1 and width_per_group=64 with basic layers", fix='use layer_type="bottleneck"',
                got=f"groups={self.groups} and width_per_group={self.width_per_group}", where="ResNetConfig",
            )  # fmt: skip


def _is_plain(config: ResNetConfig) -> bool:
    """Neither a ResNeXt nor a wide one, which transformers does not have."""
    return config.groups == 1 and config.width_per_group == 64


class ResidualBlock(Module):
    """y = act(layers(x) + shortcut(x)), the shortcut a convolution where the form changes."""

    layers: list[ConvNorm]
    shortcut: ConvNorm | None
    tensor_rules: ClassVar[dict[str, Any]] = {"layers": "in turn"}

    def __init__(self, layers: list[ConvNorm], shortcut: ConvNorm | None, act: Callable[..., Any]):
        self.layers, self.shortcut, self.act = layers, shortcut, act

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for layer in self.layers[:-1]:
            y = layer(y)
        return added(self.layers[-1], y, x if self.shortcut is None else self.shortcut(x), self.act)


class ResNet(ImageClassifier):
    """A ResNet for images (batch, height, width, channels); scores (batch, classes).

    Arguments:
        config: a ``ResNetConfig``.

    Source: He et al., "Deep residual learning for image recognition", 2016.

    >>> import phlox as px
    >>> config = px.models.ResNetConfig(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1), layer_type="basic")
    >>> model = px.models.ResNet(config)
    >>> px.output_shape(model, (2, 32, 32, 3)), model.parts()
    ((2, 1000), ('stem', 'stages.0', 'stages.1', 'head'))
    """

    config: ResNetConfig
    stem: ConvNorm
    stages: list[list[ResidualBlock]]
    head: Dense | None
    shrink: MaxPool

    def __init__(self, config: ResNetConfig):
        self.config = config
        act = activation(config.hidden_act, "ResNetConfig.hidden_act")
        self.stem = ConvNorm(7, config.num_channels, config.embedding_size, act, stride=2)
        self.shrink = MaxPool((3, 3), stride=2, padding=1)
        sizes = (config.embedding_size, *config.hidden_sizes)
        self.stages = [_stage(config, i, sizes[i], sizes[i + 1], act) for i in range(len(config.depths))]
        self.head = Dense(sizes[-1], config.classes) if config.classes else None

    @property
    def width(self) -> int:
        return self.config.hidden_sizes[-1]

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        states = [self.shrink(self.stem(images))]
        for stage in self.stages:
            x = states[-1]
            for block in stage:
                x = block(x)
            states.append(x)
        return tuple(states)

    def parts(self) -> tuple[str, ...]:
        return "stem", *(f"stages.{i}" for i in range(len(self.stages))), "head"


def _stage(config: ResNetConfig, i: int, channels: int, filters: int, act: Callable[..., Any]) -> list[ResidualBlock]:
    stride = 2 if i or config.downsample_in_first_stage else 1
    make = _bottleneck if config.layer_type == "bottleneck" else _basic
    rest = range(config.depths[i] - 1)
    return [make(config, channels, filters, stride, act), *(make(config, filters, filters, 1, act) for _ in rest)]


def _basic(config: ResNetConfig, channels: int, filters: int, stride: int, act: Callable[..., Any]) -> ResidualBlock:
    layers = [ConvNorm(3, channels, filters, relu, stride=stride), ConvNorm(3, filters, filters)]
    return ResidualBlock(layers, _shortcut(channels, filters, stride), act)


def _bottleneck(
    config: ResNetConfig, channels: int, filters: int, stride: int, act: Callable[..., Any]
) -> ResidualBlock:
    middle = filters // 4 * config.width_per_group // 64 * config.groups
    early, late = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
    layers = [
        ConvNorm(1, channels, middle, relu, stride=early),
        ConvNorm(3, middle, middle, relu, stride=late, groups=config.groups),
        ConvNorm(1, middle, filters),
    ]
    return ResidualBlock(layers, _shortcut(channels, filters, stride), act)


def _shortcut(channels: int, filters: int, stride: int) -> ConvNorm | None:
    return None if channels == filters and stride == 1 else ConvNorm(1, channels, filters, stride=stride)


TRANSFORMERS = NameMap({
    "resnet.embedder.embedder.convolution": "stem.conv",
    "resnet.embedder.embedder.normalization": "stem.norm",
    "resnet.encoder.stages.{i}.layers.{j}.shortcut.convolution": "stages.{i}.{j}.shortcut.conv",
    "resnet.encoder.stages.{i}.layers.{j}.shortcut.normalization": "stages.{i}.{j}.shortcut.norm",
    "resnet.encoder.stages.{i}.layers.{j}.layer.{k}.convolution": "stages.{i}.{j}.layers.{k}.conv",
    "resnet.encoder.stages.{i}.layers.{j}.layer.{k}.normalization": "stages.{i}.{j}.layers.{k}.norm",
    "classifier.1": "head",
})  # fmt: skip
TIMM = NameMap({
    "conv1": "stem.conv",
    "bn1": "stem.norm",
    **{f"layer{i + 1}.{{j}}.conv{k + 1}": f"stages.{i}.{{j}}.layers.{k}.conv" for i in range(4) for k in range(3)},
    **{f"layer{i + 1}.{{j}}.bn{k + 1}": f"stages.{i}.{{j}}.layers.{k}.norm" for i in range(4) for k in range(3)},
    **{f"layer{i + 1}.{{j}}.downsample.0": f"stages.{i}.{{j}}.shortcut.conv" for i in range(4)},
    **{f"layer{i + 1}.{{j}}.downsample.1": f"stages.{i}.{{j}}.shortcut.norm" for i in range(4)},
    "fc": "head",
})  # fmt: skip

_BASIC = {"layer_type": "basic", "hidden_sizes": (64, 128, 256, 512)}
FAMILY = Family(
    config=ResNetConfig,
    model=ResNet,
    names={"transformers": TRANSFORMERS, "timm": TIMM},
    holds={"transformers": _is_plain},
    base="resnet.",
    architecture="ResNetForImageClassification",
    variants={
        "resnet18": ResNetConfig(depths=(2, 2, 2, 2), **_BASIC),
        "resnet34": ResNetConfig(**_BASIC),
        "resnet50": ResNetConfig(),
        "resnet101": ResNetConfig(depths=(3, 4, 23, 3)),
        "resnet152": ResNetConfig(depths=(3, 8, 36, 3)),
        "resnext50_32x4d": ResNetConfig(groups=32, width_per_group=4),
        "resnext101_32x8d": ResNetConfig(depths=(3, 4, 23, 3), groups=32, width_per_group=8),
        "resnext101_64x4d": ResNetConfig(depths=(3, 4, 23, 3), groups=64, width_per_group=4),
        "wide_resnet50_2": ResNetConfig(width_per_group=128),
        "wide_resnet101_2": ResNetConfig(depths=(3, 4, 23, 3), width_per_group=128),
    },
)
