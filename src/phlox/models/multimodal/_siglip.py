"""SigLIP: two towers that learned to tell of each pair of an image and a text whether they belong together.

The plain SigLIP 2, for images of one size, is the same model with another vocabulary.

Source: Zhai et al., "Sigmoid loss for language image pre-training", 2023; Tschannen et al., "SigLIP 2: multilingual
vision-language encoders with improved semantic understanding, localization, and dense features", 2025.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, harmonise, key_or_draw, param_dtype
from phlox.models._family import Family
from phlox.models.language._config import TRUNK
from phlox.models.multimodal._config import ZERO_SHOT, ImageTowerConfig, PairConfig, TextTowerConfig, TowerConfig
from phlox.models.multimodal._pair import ImageTextModel
from phlox.models.multimodal._towers import (
    Draws,
    ImageTower,
    PatchTokens,
    TextTokens,
    TextTower,
    image_blocks,
    image_names,
    text_blocks,
    text_names,
    two_maps,
)
from phlox.nn import Dense, LayerNorm, MultiHeadAttention
from phlox.nn.init import glorot_uniform, lecun_normal, lecun_uniform, normal
from phlox.weights import Array, NameMap


@dataclass(frozen=True, kw_only=True)
class SiglipTextConfig(TextTowerConfig):
    """SigLIP's tower for text.

    Arguments:
        projection_size: features of the space of both towers; None for ``hidden_size``.

    The others are those of every tower for text.
    """

    model_type: ClassVar[str] = "siglip_text_model"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {TRUNK: "SiglipTextModel"}

    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    projection_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class SiglipVisionConfig(ImageTowerConfig):
    """SigLIP's tower for images.

    Arguments:
        vision_use_head: whether a learned query makes one vector of the tokens; else it is their mean.

    The others are those of every tower for images.
    """

    model_type: ClassVar[str] = "siglip_vision_model"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {TRUNK: "SiglipVisionModel"}

    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    vision_use_head: bool = True


@dataclass(frozen=True, kw_only=True)
class SiglipConfig(PairConfig):
    """A SigLIP.

    Arguments:
        text_config: the tower for text, a ``SiglipTextConfig``.
        vision_config: the tower for images, a ``SiglipVisionConfig``.
    """

    model_type: ClassVar[str] = "siglip"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {ZERO_SHOT: "SiglipModel"}
    towers: ClassVar[Mapping[str, type[TowerConfig]]] = {
        "text_config": SiglipTextConfig,
        "vision_config": SiglipVisionConfig,
    }
    neutral: ClassVar[frozenset[str]] = PairConfig.neutral | {"initializer_factor"}

    text_config: SiglipTextConfig = field(default_factory=SiglipTextConfig)
    vision_config: SiglipVisionConfig = field(default_factory=SiglipVisionConfig)


class AttentionPool(Module):
    r"""One vector from many: a learned query asks them all, $h = A(q, x),\; y = h + M(N(h))$.

    Shapes:
        x: (batch, tokens, dim); y: (batch, dim).

    Arguments:
        config: sizes of the tower that it ends.
        draws: initialisers of the two maps.
    """

    probe: Param  # (dim,)

    def __init__(self, config: TowerConfig, draws: Draws):
        dim = config.hidden_size
        self.probe = lecun_uniform(key_or_draw(None), (dim, 1), param_dtype())[:, 0]
        packed = glorot_uniform(gain=math.sqrt(0.5))  # drawn as one matrix of three, as PyTorch has them
        self.attention: MultiHeadAttention = MultiHeadAttention(dim, config.num_attention_heads, init=packed)
        self.attention.out_proj = Dense(dim, dim, init=lecun_normal)
        self.norm: LayerNorm = LayerNorm(dim, eps=config.layer_norm_eps)
        self.mlp: Any = two_maps(config, draws)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, probe = harmonise(self, x, self.probe)
        h = self.attention(jnp.broadcast_to(probe, (x.shape[0], 1, x.shape[2])), x)[:, 0]
        return h + self.mlp(self.norm(h))


class SiglipText(TextTower):
    """SigLIP's tower for text: tokens (batch, time) to a vector (batch, features) in the space of both towers.

    A token sees all others, and the vector is that of the last one, which may be one that pads: it learned from texts
    that are padded to ``max_position_embeddings``, without a mask.

    Arguments:
        config: a ``SiglipTextConfig``.

    Source: Zhai et al., "Sigmoid loss for language image pre-training", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.SiglipTextConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4
    ... )
    >>> px.models.SiglipText(config)(jnp.array([[1, 2, 3]])).shape
    (1, 16)
    """

    config: SiglipTextConfig
    embed: TextTokens
    blocks: Any
    norm: LayerNorm
    head: Any

    def __init__(self, config: SiglipTextConfig):
        self.config, draws = config, _draws(config)
        self.embed = TextTokens(config, draws)
        self.blocks = text_blocks(config, draws, causal=False)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = Dense(config.hidden_size, config.projection_size or config.hidden_size, init=lecun_normal)

    def pool(self, features: jax.Array, tokens: jax.Array) -> jax.Array:
        """The features (batch, features) of the last token, whether it counts or not."""
        return features[:, -1]


class SiglipVision(ImageTower):
    """SigLIP's tower for images (batch, height, width, channels): a vector (batch, features) for each.

    Arguments:
        config: a ``SiglipVisionConfig``.

    Source: Zhai et al., "Sigmoid loss for language image pre-training", 2023.

    >>> import phlox as px
    >>> config = px.models.SiglipVisionConfig(
    ...     hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4, image_size=8, patch_size=4
    ... )
    >>> model = px.models.SiglipVision(config)
    >>> px.output_shape(model, (2, 8, 8, 3)), px.output_shape(model.features, (2, 8, 8, 3))
    ((2, 16), (2, 4, 16))
    """

    config: SiglipVisionConfig
    pooler: AttentionPool | None
    embed: PatchTokens
    blocks: Any
    norm: LayerNorm
    head: Any

    def __init__(self, config: SiglipVisionConfig):
        self.config, draws = config, _draws(config)
        self.embed = PatchTokens(config, draws, class_token=False, bias=True)
        self.blocks = image_blocks(config, draws)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = AttentionPool(config, draws) if config.vision_use_head else None
        self.head = None

    def features(self, images: jax.Array) -> jax.Array:
        """Tokens (batch, tokens, features) of the patches after the last norm."""
        return self.norm(self.hidden_states(images)[-1])

    def pool(self, features: jax.Array) -> jax.Array:
        """What the learned query makes of the tokens, (batch, features); their mean where there is none."""
        return jnp.mean(features, axis=1) if self.pooler is None else self.pooler(features)

    def parts(self) -> tuple[str, ...]:
        """The embedding, each block, the norm, and what pools."""
        return "embed", *(f"blocks.{i}" for i in range(len(self.blocks))), "norm", "pooler", "head"


class Siglip(ImageTextModel):
    r"""A SigLIP for images (images, height, width, channels) and tokens (texts, time); scores (images, texts).

    $s_{ij} = e^t \frac{v_i}{|v_i|} \cdot \frac{w_j}{|w_j|} + b$, with v and w what the towers make of images and texts,
    t ``logit_scale`` and b ``logit_bias``. The sigmoid of a score is the probability that the two belong together;
    ``px.losses.siglip_loss`` trains it. A fresh model starts with a scale of 10 and a bias of -10, as published.

    Arguments:
        config: a ``SiglipConfig``.

    Source: Zhai et al., "Sigmoid loss for language image pre-training", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4}
    >>> model = px.models.Siglip(px.models.SiglipConfig(
    ...     text_config=px.models.SiglipTextConfig(vocab_size=50, **sizes),
    ...     vision_config=px.models.SiglipVisionConfig(image_size=8, patch_size=4, **sizes),
    ... ))
    >>> model(jnp.ones((2, 8, 8, 3)), jnp.array([[1, 2, 3], [3, 1, 1], [4, 5, 1]])).shape
    (2, 3)
    """

    config: SiglipConfig
    logit_bias: Param  # ()
    text: Any
    vision: Any
    logit_scale: Param

    def __init__(self, config: SiglipConfig):
        self.config = config
        self.text = SiglipText(config.text_config)
        self.vision = SiglipVision(config.vision_config)
        self.logit_scale = jnp.asarray(math.log(10.0), param_dtype())
        self.logit_bias = jnp.asarray(-10.0, param_dtype())

    def scores(self, images: jax.Array, texts: jax.Array) -> jax.Array:
        """How well each image fits each text (images, texts), from vectors (..., features) that ``encode_*`` made."""
        products = super().scores(images, texts)
        products, bias = harmonise(self, products, self.logit_bias)
        return products + bias

    def _scales(self) -> tuple[str, ...]:
        return "logit_scale", "logit_bias"


def _draws(config: TowerConfig) -> Draws:
    """Fresh weights as published."""
    narrow = normal(std=config.hidden_size**-0.5)
    return Draws(
        embed=lecun_normal if isinstance(config, ImageTowerConfig) else narrow,
        positions=narrow,
        class_token=narrow,
        attention=glorot_uniform,
        out=glorot_uniform,
        up=glorot_uniform,
        down=glorot_uniform,
    )


def _text_names(ours: str = "") -> dict[str, str]:
    return {**text_names("text_model.", ours), "text_model.head": f"{ours}head"}


def _image_names(ours: str = "") -> dict[str, Any]:
    head, pooler = "vision_model.head", f"{ours}pooler"
    maps = [f"{pooler}.attention.{name}_proj" for name in "qkv"]
    return {
        **image_names("vision_model.", ours),
        f"{head}.probe": Array(f"{pooler}.probe", lead=2),
        f"{head}.attention.in_proj_weight": tuple(f"{name}.weight" for name in maps),
        f"{head}.attention.in_proj_bias": tuple(f"{name}.bias" for name in maps),
        f"{head}.attention.out_proj": f"{pooler}.attention.out_proj",
        f"{head}.layernorm": f"{pooler}.norm",
        f"{head}.mlp.fc1": f"{pooler}.mlp.layers.0",
        f"{head}.mlp.fc2": f"{pooler}.mlp.layers.1",
    }


_IGNORED = ("*position_ids",)
_SIZES = {
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "so400m": {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304},
}
_PUBLISHED = {
    "siglip": {"base": {16: (224, 256, 384, 512)}, "large": {16: (256, 384)}, "so400m": {14: (384,)}},
    "siglip2": {
        "base": {16: (224, 256, 384, 512), 32: (256,)},
        "large": {16: (256, 384, 512)},
        "so400m": {14: (224, 384), 16: (256, 384, 512)},
    },
}


def _variant(size: str, patch: int, image: int, vocabulary: int) -> SiglipConfig:
    sizes: dict[str, Any] = _SIZES[size]
    return SiglipConfig(
        text_config=SiglipTextConfig(**sizes, vocab_size=vocabulary),
        vision_config=SiglipVisionConfig(**sizes, patch_size=patch, image_size=image),
    )


TEXT = Family(
    config=SiglipTextConfig,
    model=SiglipText,
    names={"transformers": NameMap(_text_names(), ignore=_IGNORED)},
    base="text_model.",
)
VISION = Family(
    config=SiglipVisionConfig,
    model=SiglipVision,
    names={"transformers": NameMap(_image_names(), ignore=_IGNORED)},
    base="vision_model.",
)
FAMILY = Family(
    config=SiglipConfig,
    model=Siglip,
    names={
        "transformers": NameMap(
            {
                **_text_names("text."),
                **_image_names("vision."),
                "logit_scale": Array("logit_scale", lead=1),
                "logit_bias": Array("logit_bias", lead=1),
            },
            ignore=_IGNORED,
        )
    },
    variants={
        f"{name}_{size}_patch{patch}_{image}": _variant(size, patch, image, 32000 if name == "siglip" else 256000)
        for name, sizes in _PUBLISHED.items()
        for size, patches in sizes.items()
        for patch, images in patches.items()
        for image in images
    }
    | {"siglip_base_patch16_256_multilingual": _variant("base", 16, 256, 250000)},
)
