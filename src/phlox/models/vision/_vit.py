"""ViT, the vision transformer.

Source: Dosovitskiy et al., "An image is worth 16x16 words", 2021; sizes Ti and S: Touvron et al., 2021, and Steiner et
al., "How to train your ViT?", 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.vision._blocks import rising
from phlox.models.vision._encoder import EncoderBlock, mlp
from phlox.models.vision._tokens import TIMM as TRUNK
from phlox.models.vision._tokens import ImageTokens, TokenClassifier, TokensConfig, blocks_of, hub_names, layer_names
from phlox.nn import Dense, LayerNorm
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class ViTConfig(TokensConfig):
    """A vision transformer.

    Arguments:
        hidden_size: features of a token.
        num_hidden_layers: blocks.
        num_attention_heads: heads of each block's attention; a divisor of hidden_size.
        intermediate_size: features within a block.
        hidden_act: the activation within a block.
        hidden_dropout_prob: probability of a feature to be zeroed after the embedding and at the end of each branch.
        attention_probs_dropout_prob: probability of a weight of attention to be zeroed.
        drop_path_rate: probability of the last block's branches to be zeroed, in training; it rises from 0 at the
            first. The hub's models have none; training from scratch as DeiT does takes 0.1.
        initializer_range: standard deviation of fresh weights.
        layer_norm_eps: of the norms.
        image_size, patch_size: pixels; one number, or height and width. Images of other sizes get positions between
            those of the table.
        num_channels: of the images.
        qkv_bias: whether queries, keys and values have biases.
    """

    model_type: ClassVar[str] = "vit"
    neutral: ClassVar[frozenset[str]] = frozenset({"encoder_stride", "pooler_act", "pooler_output_size"})

    intermediate_size: int = 3072
    drop_path_rate: float = 0.0


class ViT(TokenClassifier):
    """A vision transformer for images (batch, height, width, channels); scores (batch, classes) of the class's token.

    Arguments:
        config: a ``ViTConfig``.

    Source: Dosovitskiy et al., "An image is worth 16x16 words", 2021.

    >>> import phlox as px
    >>> config = px.models.ViTConfig(
    ...     hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, classes=5
    ... )
    >>> model = px.models.ViT(config)
    >>> px.output_shape(model, (2, 32, 32, 3)), px.output_shape(model, (2, 48, 64, 3))
    ((2, 5), (2, 5))
    """

    config: ViTConfig
    embed: ImageTokens
    blocks: list[EncoderBlock]
    norm: LayerNorm
    head: Dense | None

    def __init__(self, config: ViTConfig):
        self.config = config
        self.embed = ImageTokens(config)
        self.blocks = plain_blocks(config)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = classifier(config, config.hidden_size)


def plain_blocks(config: ViTConfig) -> list[EncoderBlock]:
    """Blocks with two maps for features."""
    act = activation(config.hidden_act, f"{type(config).__name__}.hidden_act")
    draw = normal(std=config.initializer_range)
    features = partial(mlp, config.hidden_size, config.intermediate_size, act, draw)
    return blocks_of(config, features, rising(config.drop_path_rate, config.num_hidden_layers))


def classifier(config: TokensConfig, width: int) -> Dense | None:
    """A head for pooled features, where there are classes."""
    return Dense(width, config.classes, init=normal(std=config.initializer_range)) if config.classes else None


def vit_names(base: str) -> dict[str, Any]:
    """What transformers calls the arrays of a ViT's trunk."""
    layer = f"{base}.encoder.layer.{{i}}"
    return {
        **hub_names(base),
        f"{layer}.layernorm_before": "blocks.{i}.norm1",
        f"{layer}.layernorm_after": "blocks.{i}.norm2",
        f"{layer}.intermediate.dense": "blocks.{i}.mlp.layers.0",
        f"{layer}.output.dense": "blocks.{i}.mlp.layers.1",
    }


TRANSFORMERS = NameMap({**vit_names("vit"), "classifier": "head"}, ignore=("vit.pooler.*", "vit.embeddings.mask_token"))
TIMM = NameMap({**TRUNK, "head": "head"})

_SIZES = {
    "tiny": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
    "small": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "huge": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120},
}


def sized(cls: type[Any], size: str, patch: int, image: int) -> Any:
    """A config of a published size; the norms' ε is that of its authors, which the hub's folders have as 1e-12."""
    return cls(**_SIZES[size], patch_size=patch, image_size=image, layer_norm_eps=1e-6)


_PUBLISHED = {
    "vit": {
        "tiny": {16: (224, 384)},
        "small": {16: (224, 384), 32: (224, 384)},
        "base": {8: (224,), 16: (224, 384), 32: (224, 384)},
        "large": {14: (224,), 16: (224, 384), 32: (224, 384)},
        "huge": {14: (224,)},
    },
    "deit": {"tiny": {16: (224,)}, "small": {16: (224,)}, "base": {16: (224, 384)}},
}
FAMILY = Family(
    config=ViTConfig,
    model=ViT,
    names={"transformers": TRANSFORMERS, "timm": TIMM},
    base="vit.",
    architecture="ViTForImageClassification",
    pool="token",
    modules=layer_names(TRANSFORMERS),
    variants={
        f"{name}_{size}_patch{patch}_{image}": sized(ViTConfig, size, patch, image)
        for name, sizes in _PUBLISHED.items()
        for size, patches in sizes.items()
        for patch, images in patches.items()
        for image in images
    },
)
