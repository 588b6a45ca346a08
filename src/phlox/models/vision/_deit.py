"""DeiT: a vision transformer with a second token, which learned what a teacher says.

The plain ones, which learned without a teacher's token, are vision transformers: ``px.models.create("deit_tiny_…")``.

Source: Touvron et al., "Training data-efficient image transformers & distillation through attention", 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from phlox.core import Module
from phlox.models._family import Family
from phlox.models.vision._encoder import EncoderBlock
from phlox.models.vision._tokens import TIMM as TRUNK
from phlox.models.vision._tokens import ImageTokens, TokenClassifier, layer_names
from phlox.models.vision._vit import ViTConfig, classifier, plain_blocks, sized, vit_names
from phlox.nn import Dense, LayerNorm
from phlox.weights import NameMap

_PLAIN, _TAUGHT = "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"


@dataclass(frozen=True, kw_only=True)
class DeiTConfig(ViTConfig):
    """A DeiT with a token for what a teacher says.

    Arguments:
        teacher_head: whether that token has a head of its own, whose scores are averaged with the class's; the hub's
            ``config.json`` says it by the name of the model's class.

    The others are those of ``ViTConfig``.
    """

    model_type: ClassVar[str] = "deit"

    teacher_head: bool = True

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        named = entries.get("architectures")
        found = super().from_dict(entries)
        return replace(found, teacher_head=False) if isinstance(named, list) and _PLAIN in named else found

    def to_dict(self) -> dict[str, Any]:
        entries = super().to_dict()
        return {"architectures": [_TAUGHT if entries.pop("teacher_head") else _PLAIN], **entries}


class TwoHeads(Module):
    """The mean of two heads' scores, of two vectors side by side: the class's token and the teacher's.

    Shapes:
        x: (batch, 2 * width); y: (batch, classes).
    """

    cls: Dense
    teacher: Dense

    def __init__(self, cls: Dense, teacher: Dense):
        self.cls, self.teacher = cls, teacher

    def __call__(self, x: jax.Array) -> jax.Array:
        by_class, by_teacher = self.both(x)
        return (by_class + by_teacher) / 2

    def both(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Scores (batch, classes) by each head: what a loss of distillation asks for."""
        own, teacher = jnp.split(x, 2, axis=-1)
        return self.cls(own), self.teacher(teacher)


class DeiT(TokenClassifier):
    """A DeiT for images (batch, height, width, channels); scores (batch, classes), the mean of two heads.

    For a loss of distillation, ``model.head.both(model.pool(model.features(x)))`` gives the scores of each.

    Arguments:
        config: a ``DeiTConfig``.

    Source: Touvron et al., "Training data-efficient image transformers & distillation through attention", 2021.

    >>> import phlox as px
    >>> config = px.models.DeiTConfig(
    ...     hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, classes=5
    ... )
    >>> model = px.models.DeiT(config)
    >>> px.output_shape(model, (2, 32, 32, 3)), model.width
    ((2, 5), 16)
    """

    config: DeiTConfig
    embed: ImageTokens
    blocks: list[EncoderBlock]
    norm: LayerNorm
    head: TwoHeads | Dense | None

    def __init__(self, config: DeiTConfig):
        self.config = config
        self.embed = ImageTokens(config, distilled=True)
        self.blocks = plain_blocks(config)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        own = classifier(config, config.hidden_size)
        teacher = classifier(config, config.hidden_size) if config.teacher_head else None
        self.head = own if own is None or teacher is None else TwoHeads(own, teacher)

    @property
    def width(self) -> int:
        return self.config.hidden_size * (2 if self.config.teacher_head else 1)

    def pool(self, features: jax.Array) -> jax.Array:
        """The tokens of the class and of the teacher side by side; without the teacher's head, the first alone."""
        first, second = features[:, 0], features[:, 1]
        return jnp.concatenate([first, second], axis=-1) if self.config.teacher_head else first


TRANSFORMERS = NameMap(
    {
        **vit_names("deit"),
        "classifier": "head",
        "cls_classifier": "head.cls",
        "distillation_classifier": "head.teacher",
    },
    ignore=("deit.pooler.*", "deit.embeddings.mask_token"),
)
TIMM = NameMap({**TRUNK, "head": "head.cls", "head_dist": "head.teacher"})

FAMILY = Family(
    config=DeiTConfig,
    model=DeiT,
    names={"transformers": TRANSFORMERS, "timm": TIMM},
    base="deit.",
    architecture=_TAUGHT,
    pool="token",
    modules=layer_names(TRANSFORMERS),
    variants={
        f"deit_{size}_distilled_patch16_{image}": sized(DeiTConfig, size, 16, image)
        for size, image in (("tiny", 224), ("small", 224), ("base", 224), ("base", 384))
    },
)
