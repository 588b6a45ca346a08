"""What a DETR is built from: its transformer, and its backbone as the hub and timm name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

from phlox.core import OptionError, RangeError, describe
from phlox.models._config import Config
from phlox.models.vision import _resnet
from phlox.models.vision._resnet import ResNetConfig

BACKBONES = {
    name: config.with_classes(0) for name, config in _resnet.FAMILY.variants.items() if isinstance(config, ResNetConfig)
}
_KNOWN = {"features_only", "in_chans", "out_indices", "output_stride", "pretrained"}  # of what timm is called with
_WHERE, _FIX = "DetrConfig.from_dict", "no other backbone is supported"


@dataclass(frozen=True, kw_only=True)
class DetrConfig(Config):
    """A DETR over a ResNet.

    Arguments:
        classes: of objects; the class of none comes on top. 0 for no head.
        backbone_config: the ResNet.
        num_queries: how many objects are found at most.
        d_model: features of the transformer.
        encoder_layers, encoder_attention_heads, encoder_ffn_dim: of the encoder: layers, heads, hidden features.
        decoder_layers, decoder_attention_heads, decoder_ffn_dim: of the decoder.
        activation_function: within the feed-forward blocks.
        dropout: probability of a zero in what a layer adds to its input.
        attention_dropout: probability of a weight of the attention to be zeroed.
        activation_dropout: probability of a hidden feature of a feed-forward block to be zeroed.
        auxiliary_loss: whether every layer of the decoder answers; the next one then reads what the norm makes of its
            output, as transformers has it. The paper's has not: leave it out, and call ``model(…, auxiliary=True)``.
        class_cost, bbox_cost, giou_cost: weights of class, distance and overlap where queries are matched to objects.
        bbox_loss_coefficient, giou_loss_coefficient: weights of distance and overlap in the loss.
        eos_coefficient: weight of the class of none in the loss.
    """

    model_type: ClassVar[str] = "detr"
    neutral: ClassVar[frozenset[str]] = frozenset({
        "backbone", "backbone_kwargs", "classifier_dropout", "dice_loss_coefficient", "init_std", "init_xavier_std",
        "mask_loss_coefficient", "max_position_embeddings", "num_channels", "num_hidden_layers", "scale_embedding",
        "use_pretrained_backbone", "use_timm_backbone",
    })  # fmt: skip
    fixed: ClassVar[Mapping[str, Any]] = {
        "position_embedding_type": "sine", "dilation": False, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0
    }  # fmt: skip

    classes: int = 91
    backbone_config: ResNetConfig = field(default_factory=partial(ResNetConfig, classes=0))
    num_queries: int = 100
    d_model: int = 256
    encoder_layers: int = 6
    encoder_attention_heads: int = 8
    encoder_ffn_dim: int = 2048
    decoder_layers: int = 6
    decoder_attention_heads: int = 8
    decoder_ffn_dim: int = 2048
    activation_function: str = "relu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    auxiliary_loss: bool = False
    class_cost: int | float = 1
    bbox_cost: int | float = 5
    giou_cost: int | float = 2
    bbox_loss_coefficient: int | float = 5
    giou_loss_coefficient: int | float = 2
    eos_coefficient: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.backbone_config, ResNetConfig):
            raise OptionError(
                "a ResNetConfig", got=describe(self.backbone_config), where="DetrConfig.backbone_config",
                fix="DetrConfig.from_dict reads the hub's entries",
            )  # fmt: skip

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        read = {key: value for key, value in entries.items() if key != "backbone_config"}
        config = super().from_dict(read)
        backbone = _backbone(entries)
        return cls(**{**vars(config), "backbone_config": backbone})

    def to_dict(self) -> dict[str, Any]:
        backbone = self.backbone_config
        last = len(backbone.depths)
        there = {**backbone.to_dict(), "out_features": [f"stage{last}"], "out_indices": [last]}
        own = {"backbone_config": there, "num_channels": backbone.num_channels, "use_timm_backbone": False}
        return {**super().to_dict(), **own}


def _backbone(entries: Mapping[str, Any]) -> ResNetConfig:
    """The ResNet that ``config.json`` describes, or names as timm does.

    Raises:
        OptionError: an entry of the wrong type. RangeError: another network, or not its last stage at 1/32 of the size.
    """
    nested, options = entries.get("backbone_config"), entries.get("backbone_kwargs") or {}
    if not isinstance(options, Mapping) or set(options) - _KNOWN:
        raise RangeError(
            f"backbone_kwargs of {', '.join(sorted(_KNOWN))}", got=repr(options)[:200], fix=_FIX, where=_WHERE
        )
    if nested is None or (isinstance(nested, Mapping) and nested.get("model_type") == "timm_backbone"):
        nested = nested or {}
        config = _of_timm(
            nested.get("backbone") or entries.get("backbone") or "resnet50",
            [nested.get("num_channels"), options.get("in_chans"), entries.get("num_channels")],
        )
    elif isinstance(nested, Mapping) and nested.get("model_type") == "resnet":
        config = ResNetConfig.from_dict(nested).with_classes(0)
    else:
        raise RangeError("a backbone_config of a resnet", got=repr(nested)[:100], fix=_FIX, where=_WHERE)
    _check_map({**options, **nested}, len(config.depths))
    return config


def _of_timm(name: Any, channels: list[Any]) -> ResNetConfig:
    """The ResNet by timm's name, for images of the first number of channels that is said."""
    if not isinstance(name, str) or name not in BACKBONES:
        raise RangeError(f"a backbone among {', '.join(BACKBONES)}", got=repr(name)[:100], fix=_FIX, where=_WHERE)
    number = next((c for c in channels if c is not None), 3)
    return ResNetConfig.from_dict({**BACKBONES[name].to_dict(), "num_channels": number}).with_classes(0)


def _check_map(said: Mapping[str, Any], last: int) -> None:
    """Refuse another map of features than that of the last stage, at 1/32 of the size.

    Raises:
        RangeError: another one.
    """
    if said.get("output_stride") not in (None, 32):
        got = repr(said["output_stride"])[:100]
        raise RangeError("output_stride = 32", got=got, fix=_FIX, where=_WHERE)
    for name, ends in (("out_features", (f"stage{last}",)), ("out_indices", (last, -1))):
        stages = said.get(name) or ends[:1]
        if not isinstance(stages, list | tuple) or stages[-1] not in ends:
            raise RangeError(f"{name} that end with {ends[0]}", got=repr(stages)[:100], fix=_FIX, where=_WHERE)
