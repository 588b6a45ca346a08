"""The preprocessor that a config describes, of images or of sound."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from phlox.models.preprocessing._audio import AudioPreprocessor
from phlox.models.preprocessing._audio_config import AUDIO_TYPES, audio_type_of
from phlox.models.preprocessing._config import IMAGES, SOUND, content_of
from phlox.models.preprocessing._preprocessor import ImagePreprocessor


def preprocessor(config: Mapping[str, Any] | str | PathLike[str]) -> ImagePreprocessor | AudioPreprocessor:
    """The preprocessor that a config describes, of images or of sound, by the type it names.

    Arguments:
        config: the content of a ``preprocessor_config.json`` or of timm's ``pretrained_cfg``, the path of a file
            with it, or a folder with such a file.

    Raises:
        RangeError, MissingFileError, CorruptFileError: as ``from_config`` of ``ImagePreprocessor`` and
        ``AudioPreprocessor``.

    >>> import phlox as px
    >>> type(px.models.preprocessor({"feature_extractor_type": "WhisperFeatureExtractor"})).__name__
    'AudioPreprocessor'
    """
    content = content_of(config, "preprocessor", (*IMAGES, *SOUND))
    is_audio = audio_type_of(content) in AUDIO_TYPES and not content.get("image_processor_type")
    return (AudioPreprocessor if is_audio else ImagePreprocessor).from_config(content)
