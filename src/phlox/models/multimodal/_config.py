"""What the configs of two towers have in common: each tower's, and that of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from phlox.core import OptionError, RangeError, describe
from phlox.models.language._config import NEUTRAL, TaskConfig
from phlox.models.vision._tokens import grid_of

ZERO_SHOT = "zero-shot-image-classification"
"""What vectors of images and texts in one space are for."""


@dataclass(frozen=True, kw_only=True)
class TowerConfig(TaskConfig):
    """A transformer that makes one vector of an image or of a text.

    Arguments:
        hidden_size: features of a token.
        intermediate_size: features within a block.
        num_hidden_layers: blocks.
        num_attention_heads: heads of attention.
        hidden_act: the activation within a block.
        layer_norm_eps: ε of the norms.
        attention_dropout: probability of a weight of attention to be zeroed, in training.
    """

    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"dropout"}

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size < 1:
            where, fix = type(self).__name__, "give the features of a token"
            raise RangeError("hidden_size of at least 1", got=str(self.hidden_size), fix=fix, where=where)


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig(TowerConfig):
    """A tower for text.

    Arguments:
        vocab_size: tokens that there are.
        max_position_embeddings: tokens of the longest text.
        pad_token_id, bos_token_id, eos_token_id: tokens that mean nothing, a beginning, and an end.

    The others are those of every tower.
    """

    vocab_size: int = 32000
    max_position_embeddings: int = 64
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int | tuple[int, ...] | None = 49407


@dataclass(frozen=True, kw_only=True)
class ImageTowerConfig(TowerConfig):
    """A tower for images.

    Arguments:
        image_size: height and width of images, in pixels; others are taken too.
        patch_size: of a patch, in pixels.
        num_channels: channels of images.

    The others are those of every tower.
    """

    neutral: ClassVar[frozenset[str]] = TowerConfig.neutral | {"bos_token_id", "eos_token_id", "pad_token_id"}

    image_size: int | tuple[int, ...] = 224
    patch_size: int | tuple[int, ...] = 16
    num_channels: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        grid_of(self.image_size, self.patch_size, type(self).__name__)


@dataclass(frozen=True, kw_only=True)
class PairConfig(TaskConfig):
    """Two towers, for text and for images; a subclass has their configs, ``text_config`` and ``vision_config``."""

    towers: ClassVar[Mapping[str, type[TowerConfig]]] = {}
    """The kinds of both configs, by name."""
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"text_config_dict", "vision_config_dict"}

    task: str = ZERO_SHOT

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in self.towers.items():
            if not isinstance(found := getattr(self, name), kind):
                where, fix = f"{type(self).__name__}.{name}", f"{type(self).__name__}.from_dict reads the hub's entries"
                raise OptionError(f"a {kind.__name__}", got=describe(found), fix=fix, where=where)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """The config that the entries of a ``config.json`` say, with a tower's entries below its name.

        An older form has ``text_config_dict`` and ``vision_config_dict`` too, which then count.

        Raises:
            OptionError: an entry of the wrong type. RangeError: a size beyond reason, or an option that Phlox lacks.
        """
        towers = {}
        for name in cls.towers:
            older, newer = entries.get(f"{name}_dict"), entries.get(name)
            said = older if older is not None else {} if newer is None else newer
            towers[name] = {k: v for k, v in said.items() if k != "architectures"} if isinstance(said, dict) else said
        return super().from_dict({**entries, **towers})

    def without_head(self) -> Self:
        """The same: what scores is the two towers."""
        return self
