"""MobileNetV3, large and small: inverted residuals whose widths and activations a search found.

Source: Howard et al., "Searching for MobileNetV3", 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

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
from phlox.nn import Dense, Dropout
from phlox.nn.functional import hardsigmoid, hardswish, relu
from phlox.weights import NameMap

_BY_BLOCK = ("kernel_sizes", "expanded_channels", "out_channels", "squeeze_excite", "activations", "strides")


@dataclass(frozen=True, kw_only=True)
class MobileNetV3Config(Config):
    """A MobileNetV3; one entry for each block where there are several, by default those of the large one.

    Arguments:
        num_channels: of the images.
        stem_channels: features after the stem.
        kernel_sizes: of the windows, odd.
        expanded_channels: features in the middle of each block.
        out_channels: features after each block.
        squeeze_excite: whether a block weighs its channels.
        activations: of each block, such as ``"relu"`` or ``"hardswish"``.
        strides: of each block.
        top_channels: features after the last convolution.
        hidden_dim: features before the head.
        dropout_rate: before the head.
        batch_norm_eps: added to variances.
        batch_norm_momentum: share of the old statistics that stays with each batch.
    """

    model_type: ClassVar[str] = "mobilenet_v3"

    num_channels: int = 3
    stem_channels: int = 16
    kernel_sizes: tuple[int, ...] = (3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5)
    expanded_channels: tuple[int, ...] = (16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960)
    out_channels: tuple[int, ...] = (16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160)
    squeeze_excite: tuple[bool, ...] = (False,) * 3 + (True,) * 3 + (False,) * 4 + (True,) * 5
    activations: tuple[str, ...] = ("relu",) * 6 + ("hardswish",) * 9
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)
    top_channels: int = 960
    hidden_dim: int = 1280
    dropout_rate: float = 0.2
    batch_norm_eps: float = 0.001
    batch_norm_momentum: float = 0.99

    def __post_init__(self) -> None:
        counts = {len(getattr(self, name)) for name in _BY_BLOCK}
        if len(counts) != 1 or not self.strides or len(self.strides) > DEEPEST:
            raise RangeError(
                f"one entry for each block in {', '.join(_BY_BLOCK)}", got=f"{sorted(counts)} entries",
                fix="look at config.json", where="MobileNetV3Config",
            )  # fmt: skip


class MobileNetV3(InvertedResidualNet):
    """A MobileNetV3 for images (batch, height, width, channels); scores (batch, classes).

    Arguments:
        config: a ``MobileNetV3Config``.

    Source: Howard et al., "Searching for MobileNetV3", 2019.

    >>> import phlox as px
    >>> model = px.eval_shape(lambda: px.models.create("mobilenet_v3_small", classes=10, key=0))
    >>> px.output_shape(model, (2, 64, 64, 3)), [len(stage) for stage in model.stages]
    ((2, 10), [1, 2, 5, 3])
    """

    config: MobileNetV3Config
    hidden: Dense
    dropout: Dropout
    head: Dense | None
    stem: ConvNorm
    stages: list[list[InvertedResidual]]
    top: ConvNorm

    def __init__(self, config: MobileNetV3Config):
        self.config = config
        self.stem = ConvNorm(3, config.num_channels, config.stem_channels, hardswish, stride=2, **norm_options(config))
        self.stages = [[_block(config, i) for i in stage] for stage in _stages(config)]
        self.top = ConvNorm(1, config.out_channels[-1], config.top_channels, hardswish, **norm_options(config))
        self.hidden = Dense(config.top_channels, config.hidden_dim, hardswish)
        self.dropout = Dropout(config.dropout_rate)
        self.head = Dense(config.hidden_dim, config.classes) if config.classes else None

    @property
    def width(self) -> int:
        return self.config.hidden_dim

    def pool(self, features: jax.Array) -> jax.Array:
        """One vector (batch, width): the mean over space through a layer; with dropout while it trains."""
        return self.dropout(self.hidden(jnp.mean(features, (1, 2))))

    def parts(self) -> tuple[str, ...]:
        return "stem", *(f"stages.{i}" for i in range(len(self.stages))), "top", "hidden", "head"


def _stages(config: MobileNetV3Config) -> list[list[int]]:
    """The numbers of the blocks that work at one size; a stride begins a new one."""
    found: list[list[int]] = []
    for i, stride in enumerate(config.strides):
        if stride > 1 or not found:
            found.append([])
        found[-1].append(i)
    return found


def _block(config: MobileNetV3Config, i: int) -> InvertedResidual:
    channels = config.out_channels[i - 1] if i else config.stem_channels
    middle, filters, stride = config.expanded_channels[i], config.out_channels[i], config.strides[i]
    act, norm = activation(config.activations[i], "MobileNetV3Config.activations"), norm_options(config)
    return InvertedResidual(
        ConvNorm(1, channels, middle, act, **norm) if middle != channels else None,
        ConvNorm(config.kernel_sizes[i], middle, middle, act, stride=stride, groups=middle, **norm),
        SqueezeExcite(middle, rounded(middle // 4), relu, hardsigmoid) if config.squeeze_excite[i] else None,
        ConvNorm(1, middle, filters, **norm),
        shortcut=stride == 1 and channels == filters,
    )


def _layers(config: MobileNetV3Config, i: int) -> Iterator[str]:
    """Which layers a block has, in their order."""
    channels = config.out_channels[i - 1] if i else config.stem_channels
    if config.expanded_channels[i] != channels:
        yield "expand"
    yield "depthwise"
    if config.squeeze_excite[i]:
        yield "excite"
    yield "project"


def _as_torchvision(config: MobileNetV3Config) -> NameMap:
    entries = {"features.0.0": "stem.conv", "features.0.1": "stem.norm"}
    for s, stage in enumerate(_stages(config)):
        for j, i in enumerate(stage):
            for k, layer in enumerate(_layers(config, i)):
                parts = (("fc1", "reduce"), ("fc2", "expand")) if layer == "excite" else (("0", "conv"), ("1", "norm"))
                for theirs, ours in parts:
                    entries[f"features.{i + 1}.block.{k}.{theirs}"] = f"stages.{s}.{j}.{layer}.{ours}"
    last = f"features.{len(config.strides) + 1}"
    ends = {f"{last}.0": "top.conv", f"{last}.1": "top.norm", "classifier.0": "hidden", "classifier.3": "head"}
    return NameMap({**entries, **ends})


_SMALL = MobileNetV3Config(
    kernel_sizes=(3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5),
    expanded_channels=(16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576),
    out_channels=(16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96),
    squeeze_excite=(True, False, False) + (True,) * 8,
    activations=("relu",) * 3 + ("hardswish",) * 8,
    strides=(2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1),
    top_channels=576,
    hidden_dim=1024,
)
FAMILY = Family(
    config=MobileNetV3Config,
    model=MobileNetV3,
    names={"torchvision": _as_torchvision},
    variants={"mobilenet_v3_large": MobileNetV3Config(), "mobilenet_v3_small": _SMALL},
)
