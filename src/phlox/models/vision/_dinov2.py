"""DINOv2: a vision transformer that learned without labels, with scaled branches; with or without registers.

Source: Oquab et al., "DINOv2: learning robust visual features without supervision", 2024; Darcet et al., "Vision
transformers need registers", 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.vision._encoder import EncoderBlock, mlp
from phlox.models.vision._tokens import TIMM as TRUNK
from phlox.models.vision._tokens import ImageTokens, TokenClassifier, TokensConfig, blocks_of, hub_names, layer_names
from phlox.models.vision._vit import classifier
from phlox.nn import GatedMLP, LayerNorm
from phlox.nn.functional import silu
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class DINOv2Config(TokensConfig):
    """A DINOv2.

    Arguments:
        mlp_ratio: features within a block, as a multiple of hidden_size.
        layerscale_value: where the factors of the branches' features start.
        drop_path_rate: probability of a branch to be zeroed, in training, alike in all blocks.
        use_swiglu_ffn: whether features are gated; two thirds as many of them, rounded up to a multiple of 8.

    The others are those of ``ViTConfig``. The token for hidden patches serves pretraining alone, and is left out.
    """

    model_type: ClassVar[str] = "dinov2"
    neutral: ClassVar[frozenset[str]] = frozenset({"apply_layernorm", "reshape_hidden_states", "use_mask_token"})

    layer_norm_eps: float = 1e-6
    patch_size: int | tuple[int, ...] = 14
    mlp_ratio: int = 4
    layerscale_value: float = 1.0
    drop_path_rate: float = 0.0
    use_swiglu_ffn: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "use_mask_token": False}


@dataclass(frozen=True, kw_only=True)
class DINOv2RegistersConfig(DINOv2Config):
    """A DINOv2 with registers: tokens that stand for no patch, where the model keeps what is of the whole image.

    Arguments:
        num_register_tokens: how many.

    The others are those of ``DINOv2Config``.
    """

    model_type: ClassVar[str] = "dinov2_with_registers"

    patch_size: int | tuple[int, ...] = 16
    num_register_tokens: int = 4


class DINOv2(TokenClassifier):
    """A DINOv2 for images (batch, height, width, channels); scores (batch, classes).

    The head sees the class's token and the mean of the patches' tokens, side by side.

    Arguments:
        config: a ``DINOv2Config``, or a ``DINOv2RegistersConfig``.

    Source: Oquab et al., "DINOv2: learning robust visual features without supervision", 2024.

    >>> import phlox as px
    >>> config = px.models.DINOv2Config(
    ...     hidden_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=28, classes=0
    ... )
    >>> model = px.models.DINOv2(config)
    >>> px.output_shape(model, (2, 28, 42, 3)), px.output_shape(model.features, (2, 28, 42, 3))
    ((2, 16), (2, 7, 8))
    """

    config: DINOv2Config
    embed: ImageTokens
    blocks: list[EncoderBlock]
    norm: LayerNorm
    head: Any

    def __init__(self, config: DINOv2Config):
        self.config = config
        with_registers = isinstance(config, DINOv2RegistersConfig)
        self.registers: int = config.num_register_tokens if isinstance(config, DINOv2RegistersConfig) else 0
        self.embed = ImageTokens(config, registers=self.registers, antialias=with_registers)
        rates = [config.drop_path_rate] * config.num_hidden_layers
        self.blocks = blocks_of(config, partial(_mlp, config), rates, config.layerscale_value)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = classifier(config, self.width)

    @property
    def width(self) -> int:
        return 2 * self.config.hidden_size

    def pool(self, features: jax.Array) -> jax.Array:
        """The class's token and the mean of the patches' (batch, width)."""
        patches = features[:, 1 + self.registers :]
        return jnp.concatenate([features[:, 0], jnp.mean(patches, axis=1)], axis=-1)


def _mlp(config: DINOv2Config) -> Module:
    dim, hidden = config.hidden_size, config.hidden_size * config.mlp_ratio
    if config.use_swiglu_ffn:
        return GatedMLP(dim, (int(hidden * 2 / 3) + 7) // 8 * 8, silu, bias=True)
    act = activation(config.hidden_act, f"{type(config).__name__}.hidden_act")
    return mlp(dim, hidden, act, normal(std=config.initializer_range))


def _names(base: str) -> NameMap:
    layer, block = f"{base}.encoder.layer.{{i}}", "blocks.{i}"
    names = {
        **hub_names(base),
        f"{layer}.norm1": f"{block}.norm1",
        f"{layer}.norm2": f"{block}.norm2",
        f"{layer}.layer_scale1.lambda1": f"{block}.scale1.scale",
        f"{layer}.layer_scale2.lambda1": f"{block}.scale2.scale",
        f"{layer}.mlp.fc1": f"{block}.mlp.layers.0",
        f"{layer}.mlp.fc2": f"{block}.mlp.layers.1",
        f"{layer}.mlp.weights_in": (f"{block}.mlp.gate", f"{block}.mlp.up"),
        f"{layer}.mlp.weights_out": f"{block}.mlp.down",
        "classifier": "head",
    }
    return NameMap(names, ignore=(f"{base}.embeddings.mask_token",))


def _layers(base: str) -> NameMap:
    """What transformers calls the layers, which are not packed."""
    layer, block = f"{base}.encoder.layer.{{i}}.mlp", "blocks.{i}.mlp"
    entries = layer_names(_names(base), "encoder.layer.").entries
    gated = {f"{layer}.{name}_proj": f"{block}.{name}" for name in ("gate", "up", "down")}
    return NameMap({**{name: ours for name, ours in entries.items() if "weights_" not in name}, **gated})


def _timm(config: DINOv2Config) -> NameMap:
    """timm packs the two maps of gated features into one."""
    features = {
        "blocks.{i}.mlp.fc1": ("blocks.{i}.mlp.gate", "blocks.{i}.mlp.up"),
        "blocks.{i}.mlp.fc2": "blocks.{i}.mlp.down",
    }
    scales = {f"blocks.{{i}}.ls{n}.gamma": f"blocks.{{i}}.scale{n}.scale" for n in (1, 2)}
    return NameMap({**TRUNK, **scales, **(features if config.use_swiglu_ffn else {}), "head": "head"})


_SIZES = {
    "small": {"hidden_size": 384, "num_attention_heads": 6},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "giant": {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24, "use_swiglu_ffn": True},
}
_COMMON = {"image_size": 518, "patch_size": 14, "classes": 0}
FAMILY = Family(
    config=DINOv2Config,
    model=DINOv2,
    names={"transformers": _names("dinov2"), "timm": _timm},
    modules=_layers("dinov2"),
    holds={"timm": lambda config: config.classes == 0},  # a head there sees the class's token alone
    base="dinov2.",
    architecture="Dinov2ForImageClassification",
    pool="token",
    variants={f"vit_{s}_patch14_dinov2": DINOv2Config(**_COMMON, **options) for s, options in _SIZES.items()},
)
WITH_REGISTERS = Family(
    config=DINOv2RegistersConfig,
    model=DINOv2,
    names={"transformers": _names("dinov2_with_registers")},
    modules=_layers("dinov2_with_registers"),
    base="dinov2_with_registers.",
    architecture="Dinov2WithRegistersForImageClassification",
    variants={
        f"vit_{s}_patch14_reg4_dinov2": DINOv2RegistersConfig(**_COMMON, **options) for s, options in _SIZES.items()
    },
)
