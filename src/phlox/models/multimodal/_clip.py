"""CLIP: a tower for images and one for text, that learned which captions belong to which images; and each alone.

Source: Radford et al., "Learning transferable visual models from natural language supervision", 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import OptionError, param_dtype
from phlox.models._family import Family
from phlox.models.language._config import TRUNK
from phlox.models.language._model import at_token
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
)
from phlox.nn import Dense, LayerNorm
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class CLIPTextConfig(TextTowerConfig):
    """CLIP's tower for text.

    Arguments:
        projection_dim: features of the space of both towers, for the task "zero-shot-image-classification".
        initializer_factor: by what fresh weights are scaled.

    The others are those of every tower for text. ``eos_token_id=2`` stands in older files for any: the text's vector
    is then that of its highest token, which with CLIP's tokenizer is the end.
    """

    model_type: ClassVar[str] = "clip_text_model"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        TRUNK: "CLIPTextModel",
        ZERO_SHOT: "CLIPTextModelWithProjection",
    }
    neutral: ClassVar[frozenset[str]] = TowerConfig.neutral | {"initializer_range"}

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    projection_dim: int = 512
    initializer_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CLIPVisionConfig(ImageTowerConfig):
    """CLIP's tower for images.

    Arguments:
        projection_dim: features of the space of both towers, for the task "zero-shot-image-classification".
        initializer_range: standard deviation of fresh patches and positions.
        initializer_factor: by what fresh weights are scaled.

    The others are those of every tower for images.
    """

    model_type: ClassVar[str] = "clip_vision_model"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        TRUNK: "CLIPVisionModel",
        ZERO_SHOT: "CLIPVisionModelWithProjection",
    }

    patch_size: int | tuple[int, ...] = 32
    hidden_act: str = "quick_gelu"
    projection_dim: int = 512
    initializer_range: float = 0.02
    initializer_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CLIPConfig(PairConfig):
    """A CLIP.

    Arguments:
        text_config: the tower for text, a ``CLIPTextConfig``.
        vision_config: the tower for images, a ``CLIPVisionConfig``.
        projection_dim: features of the space of both; what the towers' own configs say does not count.
        logit_scale_init_value: the logarithm of the scale of fresh scores.
    """

    model_type: ClassVar[str] = "clip"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {ZERO_SHOT: "CLIPModel"}
    towers: ClassVar[Mapping[str, type[TowerConfig]]] = {
        "text_config": CLIPTextConfig,
        "vision_config": CLIPVisionConfig,
    }
    neutral: ClassVar[frozenset[str]] = PairConfig.neutral | {"initializer_factor"}

    text_config: CLIPTextConfig = field(default_factory=CLIPTextConfig)
    vision_config: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592


class CLIPText(TextTower):
    """CLIP's tower for text: tokens (batch, time) to a vector (batch, features) at the end of each text.

    Arguments:
        config: a ``CLIPTextConfig``, whose task says whether the vector is put into the space of both towers.

    Source: Radford et al., "Learning transferable visual models from natural language supervision", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.CLIPTextConfig(
    ...     vocab_size=50, eos_token_id=49, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
    ...     num_attention_heads=4,
    ... )
    >>> model = px.models.CLIPText(config)
    >>> model(jnp.array([[1, 2, 49]])).shape, model.features(jnp.array([[1, 2, 49]])).shape
    ((1, 16), (1, 3, 16))
    """

    config: CLIPTextConfig
    embed: TextTokens
    blocks: Any
    norm: LayerNorm
    head: Any

    def __init__(self, config: CLIPTextConfig):
        if not isinstance(config.eos_token_id, int):
            fix = "the text's vector stands there; CLIP's is 49407"
            got, where = repr(config.eos_token_id), "CLIPTextConfig.eos_token_id"
            raise OptionError("one token that ends a text", got=got, fix=fix, where=where)
        self.config, draws = config, _draws(config)
        self.embed = TextTokens(config, draws)
        self.blocks = text_blocks(config, draws, causal=True)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = _projection(config)

    def pool(self, features: jax.Array, tokens: jax.Array) -> jax.Array:
        """The features (batch, features) at the first end of each text, or at its first token where it has none."""
        end = self.config.eos_token_id
        return at_token(features, jnp.argmax(tokens if end == 2 else tokens == end, axis=1))


class CLIPVision(ImageTower):
    """CLIP's tower for images (batch, height, width, channels): a vector (batch, features) for each.

    Arguments:
        config: a ``CLIPVisionConfig``, whose task says whether the vector is put into the space of both towers.

    Source: Radford et al., "Learning transferable visual models from natural language supervision", 2021.

    >>> import phlox as px
    >>> config = px.models.CLIPVisionConfig(
    ...     hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4, image_size=8, patch_size=4
    ... )
    >>> model = px.models.CLIPVision(config)
    >>> px.output_shape(model, (2, 8, 8, 3)), px.output_shape(model.features, (2, 8, 8, 3))
    ((2, 16), (2, 5, 16))
    """

    config: CLIPVisionConfig
    embed: PatchTokens
    blocks: Any
    norm: LayerNorm
    head: Any

    def __init__(self, config: CLIPVisionConfig):
        self.config, draws = config, _draws(config)
        self.embed = PatchTokens(config, draws, class_token=True, bias=False)
        self.pre_norm: LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.blocks = image_blocks(config, draws)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = _projection(config)

    def start(self, images: jax.Array) -> jax.Array:
        """Images as the first block takes them, normed (batch, tokens, features)."""
        return self.pre_norm(self.embed(images))

    def pool(self, features: jax.Array) -> jax.Array:
        """The class's token (batch, features), normed."""
        return self.norm(features[:, 0])

    def parts(self) -> tuple[str, ...]:
        """The embedding and its norm, each block, the norm and the head."""
        return "embed", "pre_norm", *(f"blocks.{i}" for i in range(len(self.blocks))), "norm", "head"


class CLIP(ImageTextModel):
    r"""A CLIP for images (images, height, width, channels) and tokens (texts, time); scores (images, texts).

    $s_{ij} = e^t \frac{v_i}{|v_i|} \cdot \frac{w_j}{|w_j|}$, with v and w what the towers make of images and texts, and
    t ``logit_scale``. A softmax over texts tells what is in an image; ``px.losses.clip_loss`` trains it.

    Arguments:
        config: a ``CLIPConfig``.

    Source: Radford et al., "Learning transferable visual models from natural language supervision", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4}
    >>> model = px.models.CLIP(px.models.CLIPConfig(
    ...     text_config=px.models.CLIPTextConfig(vocab_size=50, eos_token_id=49, **sizes),
    ...     vision_config=px.models.CLIPVisionConfig(image_size=8, patch_size=4, **sizes), projection_dim=12,
    ... ))
    >>> model(jnp.ones((2, 8, 8, 3)), jnp.array([[1, 2, 49], [3, 49, 0], [4, 5, 49]])).shape
    (2, 3)
    """

    config: CLIPConfig
    text: Any
    vision: Any
    logit_scale: Any

    def __init__(self, config: CLIPConfig):
        self.config = config
        space = {"task": ZERO_SHOT, "projection_dim": config.projection_dim}
        self.text = CLIPText(replace(config.text_config, **space))
        self.vision = CLIPVision(replace(config.vision_config, **space))
        self.logit_scale = jnp.asarray(config.logit_scale_init_value, param_dtype())


def _draws(config: CLIPTextConfig | CLIPVisionConfig) -> Draws:
    """Fresh weights as published: narrower at the end of a branch, the more blocks there are."""
    factor, width = config.initializer_factor, config.hidden_size**-0.5
    deep = (2 * config.num_hidden_layers) ** -0.5 if config.num_hidden_layers else 1.0
    embed = normal(std=factor * (config.initializer_range if isinstance(config, CLIPVisionConfig) else 0.02))
    return Draws(
        embed=embed,
        positions=embed,
        class_token=normal(std=width * factor),
        attention=normal(std=width * deep * factor),
        out=normal(std=width * factor),
        up=normal(std=(2 * config.hidden_size) ** -0.5 * factor),
        down=normal(std=width * deep * factor),
    )


def _projection(config: CLIPTextConfig | CLIPVisionConfig) -> Dense | None:
    """The map into the space of both towers, where the task asks for it."""
    draw = normal(std=config.hidden_size**-0.5 * config.initializer_factor)
    dense = Dense(config.hidden_size, config.projection_dim, bias=False, init=draw)
    return dense if config.task == ZERO_SHOT else None


_IGNORED = ("*position_ids",)


def _text_names(ours: str = "") -> dict[str, str]:
    return {**text_names("text_model.", ours), "text_projection": f"{ours}head"}


def _image_names(ours: str = "") -> dict[str, str]:
    names = image_names("vision_model.", ours)
    return {**names, "vision_model.pre_layrnorm": f"{ours}pre_norm", "visual_projection": f"{ours}head"}


def _variant(
    text: Mapping[str, Any], vision: Mapping[str, Any], space: int, *, act: str = "quick_gelu"
) -> CLIPConfig:  # fmt: skip
    return CLIPConfig(
        text_config=CLIPTextConfig(**text, projection_dim=space, hidden_act=act),
        vision_config=CLIPVisionConfig(**vision, projection_dim=space, hidden_act=act),
        projection_dim=space,
    )


def _sizes(width: int, layers: int, heads: int, hidden: int | None = None, **options: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": hidden or 4 * width, **options}


_TEXT, _LARGE_TEXT = _sizes(512, 12, 8), _sizes(768, 12, 12)
_BASE, _LARGE = _sizes(768, 12, 12), _sizes(1024, 24, 16, patch_size=14)
_HUGE, _GIANT = _sizes(1280, 32, 16, patch_size=14), _sizes(1664, 48, 16, 8192, patch_size=14)
TEXT = Family(
    config=CLIPTextConfig,
    model=CLIPText,
    names={"transformers": NameMap(_text_names(), ignore=_IGNORED)},
    base="text_model.",
)
VISION = Family(
    config=CLIPVisionConfig,
    model=CLIPVision,
    names={"transformers": NameMap(_image_names(), ignore=_IGNORED)},
    base="vision_model.",
)
FAMILY = Family(
    config=CLIPConfig,
    model=CLIP,
    names={
        "transformers": NameMap(
            {**_text_names("text."), **_image_names("vision."), "logit_scale": "logit_scale"}, ignore=_IGNORED
        )
    },
    variants={
        "clip_vit_base_patch32": _variant(_TEXT, _BASE, 512),
        "clip_vit_base_patch16": _variant(_TEXT, {**_BASE, "patch_size": 16}, 512),
        "clip_vit_large_patch14": _variant(_LARGE_TEXT, _LARGE, 768),
        "clip_vit_large_patch14_336": _variant(_LARGE_TEXT, {**_LARGE, "image_size": 336}, 768),
        "clip_vit_h_14_laion2b": _variant(_sizes(1024, 24, 16), _HUGE, 1024, act="gelu"),
        "clip_vit_bigg_14_laion2b": _variant(_sizes(1280, 32, 20), _GIANT, 1280, act="gelu"),
    },
)
