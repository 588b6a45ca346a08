"""ConvNeXt and ConvNeXt V2: a convolutional network with the proportions of a transformer.

Source: Liu et al., "A ConvNet for the 2020s", 2022; Woo et al., "ConvNeXt V2: co-designing and scaling ConvNets with
masked autoencoders", 2023, with global response normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, param_dtype
from phlox.models._activations import activation
from phlox.models._config import Config
from phlox.models._family import Family
from phlox.models._model import ImageClassifier
from phlox.models.vision._blocks import rising
from phlox.nn import Chain, Conv, Dense, DepthwiseConv, DropPath, LayerNorm
from phlox.weights import Array, NameMap

_EPS = 1e-6  # of all norms but the last


@dataclass(frozen=True, kw_only=True)
class ConvNextConfig(Config):
    """A ConvNeXt.

    Arguments:
        num_channels: of the images.
        patch_size: of the windows of the stem, which do not overlap.
        hidden_sizes: features in each stage.
        depths: blocks in each stage.
        hidden_act: the activation.
        layer_norm_eps: added to variances by the norm before the head; elsewhere it is 1e-6.
        layer_scale_init_value: what the factors of the branches start at; 0 for no factors.
        drop_path_rate: of stochastic depth, reached linearly at the last block.
    """

    model_type: ClassVar[str] = "convnext"
    neutral: ClassVar[frozenset[str]] = frozenset(
        {"image_size", "initializer_range", "num_hidden_layers", "num_stages"}
    )

    num_channels: int = 3
    patch_size: int = 4
    hidden_sizes: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (3, 3, 9, 3)
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    layer_scale_init_value: float = 1e-6
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.hidden_sizes) or not self.depths:
            raise RangeError(
                "one number for each stage in depths and hidden_sizes", got=f"{self.depths} and {self.hidden_sizes}",
                fix="look at config.json", where=type(self).__name__,
            )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The entries of a ``config.json``."""
        return {**super().to_dict(), "num_stages": len(self.depths)}


@dataclass(frozen=True, kw_only=True)
class ConvNextV2Config(ConvNextConfig):
    """A ConvNeXt V2: no factors of the branches, a global response norm in each block."""

    model_type: ClassVar[str] = "convnextv2"

    layer_scale_init_value: float = 0.0


class GlobalResponseNorm(Module):
    r"""Channels compete: $y = x + γ x n + β$, n the norm of a channel over space by the mean of all channels' norms.

    Arguments:
        channels: features.
    """

    scale: Param  # (channels,)
    bias: Param  # (channels,)

    def __init__(self, channels: int):
        self.scale, self.bias = jnp.zeros(channels, param_dtype()), jnp.zeros(channels, param_dtype())

    def __call__(self, x: jax.Array) -> jax.Array:
        norms = _norms(x)
        shares = (norms / (jnp.mean(norms, -1, keepdims=True) + _EPS)).astype(x.dtype)
        return x + self.scale * (x * shares) + self.bias


def _norms(x: jax.Array) -> jax.Array:
    """Of each channel over space, at least in float32; the gradient of a channel of zeros is zero."""
    squares = jnp.sum(jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32))), axis=(1, 2), keepdims=True)
    return jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))


class ConvNextBlock(Module):
    """y = x + drop(scale · shrink(respond(grow(norm(depthwise(x)))))).

    Arguments:
        config: of the whole.
        channels: features at both ends; four times as many in the middle.
        drop: the rate of stochastic depth.
    """

    depthwise: DepthwiseConv
    norm: LayerNorm
    grow: Dense
    respond: GlobalResponseNorm | None
    shrink: Dense
    scale: Param | None  # (channels,)
    drop: DropPath
    tensor_rules: ClassVar[dict[str, Any]] = {"grow": "column", "shrink": "row"}

    def __init__(self, config: ConvNextConfig, channels: int, drop: float):
        self.depthwise = DepthwiseConv((7, 7), channels, padding=3)
        self.norm = LayerNorm(channels, eps=_EPS)
        self.grow = Dense(channels, 4 * channels, activation(config.hidden_act, "ConvNextConfig.hidden_act"))
        self.respond = GlobalResponseNorm(4 * channels) if isinstance(config, ConvNextV2Config) else None
        self.shrink = Dense(4 * channels, channels)
        start = config.layer_scale_init_value
        self.scale = jnp.full(channels, start, param_dtype()) if start > 0 else None
        self.drop = DropPath(drop)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.grow(self.norm(self.depthwise(x)))
        y = self.shrink(y if self.respond is None else self.respond(y))
        return x + self.drop(y if self.scale is None else self.scale * y)


class ConvNextStage(Module):
    """Blocks of one size, after a halving in all stages but the first."""

    down: Chain | None
    blocks: list[ConvNextBlock]

    def __init__(self, down: Chain | None, blocks: list[ConvNextBlock]):
        self.down, self.blocks = down, blocks

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x if self.down is None else self.down(x)
        for block in self.blocks:
            x = block(x)
        return x


class ConvNext(ImageClassifier):
    """A ConvNeXt for images (batch, height, width, channels); scores (batch, classes).

    Arguments:
        config: a ``ConvNextConfig`` or a ``ConvNextV2Config``.

    Source: Liu et al., "A ConvNet for the 2020s", 2022; Woo et al., "ConvNeXt V2", 2023.

    >>> import phlox as px
    >>> config = px.models.ConvNextConfig(hidden_sizes=(8, 16), depths=(1, 1), classes=10)
    >>> model = px.models.ConvNext(config)
    >>> px.output_shape(model, (2, 32, 32, 3)), model.parts()
    ((2, 10), ('stem', 'stages.0', 'stages.1', 'norm', 'head'))
    """

    config: ConvNextConfig
    stem: Chain
    stages: list[ConvNextStage]
    norm: LayerNorm
    head: Dense | None

    def __init__(self, config: ConvNextConfig):
        self.config = config
        sizes, patch = config.hidden_sizes, (config.patch_size,) * 2
        self.stem = Chain(Conv(patch, config.num_channels, sizes[0], stride=patch), LayerNorm(sizes[0], eps=_EPS))
        rates = iter(rising(config.drop_path_rate, sum(config.depths)))
        self.stages = [
            ConvNextStage(
                _halving(sizes[i - 1], sizes[i]) if i else None,
                [ConvNextBlock(config, sizes[i], next(rates)) for _ in range(depth)],
            )
            for i, depth in enumerate(config.depths)
        ]
        self.norm = LayerNorm(sizes[-1], eps=config.layer_norm_eps)
        self.head = Dense(sizes[-1], config.classes) if config.classes else None

    @property
    def width(self) -> int:
        return self.config.hidden_sizes[-1]

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        states = [self.stem(images)]
        for stage in self.stages:
            states.append(stage(states[-1]))
        return tuple(states)

    def pool(self, features: jax.Array) -> jax.Array:
        """One vector (batch, width): the mean over space, normed."""
        return self.norm(super().pool(features))

    def parts(self) -> tuple[str, ...]:
        return "stem", *(f"stages.{i}" for i in range(len(self.stages))), "norm", "head"


def _halving(channels: int, filters: int) -> Chain:
    return Chain(LayerNorm(channels, eps=_EPS), Conv((2, 2), channels, filters, stride=2))


def _as_transformers(name: str) -> NameMap:
    block, ours = f"{name}.encoder.stages.{{i}}.layers.{{j}}", "stages.{i}.blocks.{j}"
    return NameMap({
        f"{name}.embeddings.patch_embeddings": "stem.layers.0",
        f"{name}.embeddings.layernorm": "stem.layers.1",
        f"{name}.encoder.stages.{{i}}.downsampling_layer.{{k}}": "stages.{i}.down.layers.{k}",
        f"{block}.dwconv": f"{ours}.depthwise",
        f"{block}.layernorm": f"{ours}.norm",
        f"{block}.pwconv1": f"{ours}.grow",
        f"{block}.grn.weight": Array(f"{ours}.respond.scale", lead=3),
        f"{block}.grn.bias": Array(f"{ours}.respond.bias", lead=3),
        f"{block}.pwconv2": f"{ours}.shrink",
        f"{block}.layer_scale_parameter": f"{ours}.scale",
        f"{name}.layernorm": "norm",
        "classifier": "head",
    })  # fmt: skip


TIMM = {
    "stem.{k}": "stem.layers.{k}",
    "stages.{i}.downsample.{k}": "stages.{i}.down.layers.{k}",
    "stages.{i}.blocks.{j}.conv_dw": "stages.{i}.blocks.{j}.depthwise",
    "stages.{i}.blocks.{j}.norm": "stages.{i}.blocks.{j}.norm",
    "stages.{i}.blocks.{j}.mlp.fc1": "stages.{i}.blocks.{j}.grow",
    "stages.{i}.blocks.{j}.mlp.grn": "stages.{i}.blocks.{j}.respond",
    "stages.{i}.blocks.{j}.mlp.fc2": "stages.{i}.blocks.{j}.shrink",
    "stages.{i}.blocks.{j}.gamma": "stages.{i}.blocks.{j}.scale",
    "head.norm": "norm",
    "head.fc": "head",
}  # fmt: skip


# Blocks in each stage, features in the first (twice as many in each further one), the rate of stochastic depth.
_SIZES = {
    "tiny": ((3, 3, 9, 3), 96, 0.1), "small": ((3, 3, 27, 3), 96, 0.4), "base": ((3, 3, 27, 3), 128, 0.5),
    "large": ((3, 3, 27, 3), 192, 0.5), "xlarge": ((3, 3, 27, 3), 256, 0.2),
}  # fmt: skip
_SIZES_V2 = {
    "atto": ((2, 2, 6, 2), 40), "femto": ((2, 2, 6, 2), 48), "pico": ((2, 2, 6, 2), 64), "nano": ((2, 2, 8, 2), 80),
    "tiny": ((3, 3, 9, 3), 96), "base": ((3, 3, 27, 3), 128), "large": ((3, 3, 27, 3), 192),
    "huge": ((3, 3, 27, 3), 352),
}  # fmt: skip


_CONVOLVED = tuple(_SIZES_V2[name][1] for name in ("atto", "femto", "pico", "nano"))


def _as_timm_v2(config: ConvNextV2Config) -> NameMap:
    """timm builds the four smallest with convolutions of single pixels for the layers within a block."""
    block, layers = "stages.{i}.blocks.{j}", {"fc1": "grow", "fc2": "shrink"}
    weights = {f"{block}.mlp.{n}.weight": Array(f"{block}.{layer}.weight", trail=2) for n, layer in layers.items()}
    return NameMap({**TIMM, **(weights if config.hidden_sizes[0] in _CONVOLVED else {})})


def _sizes(depths: tuple[int, ...], width: int) -> dict[str, Any]:
    return {"depths": depths, "hidden_sizes": tuple(width << i for i in range(4)), "layer_norm_eps": 1e-6}


FAMILY = Family(
    config=ConvNextConfig,
    model=ConvNext,
    names={"transformers": _as_transformers("convnext"), "timm": NameMap(TIMM)},
    base="convnext.",
    architecture="ConvNextForImageClassification",
    variants={
        f"convnext_{name}": ConvNextConfig(**_sizes(depths, width), drop_path_rate=rate)
        for name, (depths, width, rate) in _SIZES.items()
    },
)
FAMILY_V2 = Family(
    config=ConvNextV2Config,
    model=ConvNext,
    names={"transformers": _as_transformers("convnextv2"), "timm": _as_timm_v2},
    base="convnextv2.",
    architecture="ConvNextV2ForImageClassification",
    variants={f"convnextv2_{name}": ConvNextV2Config(**_sizes(*sizes)) for name, sizes in _SIZES_V2.items()},
)
