"""What the configs of speech models have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phlox.core import RangeError
from phlox.models.language._config import TextConfig

RECOGNITION, CLASSIFICATION = "automatic-speech-recognition", "audio-classification"


@dataclass(frozen=True, kw_only=True)
class SpeechConfig(TextConfig):
    """A model of speech.

    Arguments:
        use_weighted_layer_sum: whether the head for classes sees a weighted sum of all layers, in place of the last.
        classifier_proj_size: features within the head for classes.
        apply_spec_augment: whether anything is masked in training.
        mask_time_prob, mask_feature_prob: share of steps of time, and of features, that spans would mask if they did
            not overlap.
        mask_time_length, mask_feature_length: steps or features of a span.
        mask_time_min_masks, mask_feature_min_masks: spans at the least.

    The others are those of models of text: the task, the vocabulary and its special tokens.
    """

    task: str = RECOGNITION
    use_weighted_layer_sum: bool = False
    classifier_proj_size: int = 256
    apply_spec_augment: bool = True
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mask_time_prob", "mask_feature_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise _range(self, f"{name} from 0 to 1", getattr(self, name), "give a share of all steps")
        for name in ("mask_time_length", "mask_feature_length"):
            if getattr(self, name) < 1:
                raise _range(self, f"{name} of at least 1", getattr(self, name), "give the length of a span")


def _range(config: SpeechConfig, expected: str, got: Any, fix: str) -> RangeError:
    return RangeError(expected, got=repr(got), fix=fix, where=type(config).__name__)
