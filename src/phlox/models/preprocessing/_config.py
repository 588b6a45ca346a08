"""A config as a dict, a file or a folder, read by whose it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from phlox.models.preprocessing._huggingface import fields_of_processor
from phlox.models.preprocessing._timm import fields_of_timm
from phlox.weights import CorruptFileError, file_error, open_regular

_FILES = ("preprocessor_config.json", "processor_config.json", "config.json")
IMAGES, SOUND = ("image_processor", "pretrained_cfg"), ("feature_extractor",)  # where a config stands within another
_MOST = 2**20  # bytes of a config; theirs have two thousand


def fields_of(config: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of the ImagePreprocessor that a config describes."""
    content = content_of(config, "ImagePreprocessor.from_config", IMAGES)
    named = content.get("image_processor_type") or content.get("feature_extractor_type")
    return fields_of_timm(content) if not named and "input_size" in content else fields_of_processor(content)


def content_of(
    config: Mapping[str, Any] | str | os.PathLike[str], where: str, within: tuple[str, ...]
) -> Mapping[str, Any]:
    """What a config says of the preprocessor, whichever file it stands in, and perhaps ``within`` another's entry."""
    content = config if isinstance(config, Mapping) else _read(os.fspath(config), where)
    for inner in within:
        if isinstance(content.get(inner), Mapping):
            content = content[inner]
    return content


def _read(path: str, where: str) -> dict[str, Any]:
    if os.path.isdir(path):
        there = [name for name in _FILES if os.path.exists(os.path.join(path, name))]
        path = os.path.join(path, there[0] if there else _FILES[0])
    try:
        with open_regular(path) as file:
            text = file.read(_MOST + 1)
    except OSError as error:
        raise file_error(error, path, where) from error
    try:
        content = json.loads(text) if len(text) <= _MOST else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        fix = "get the file anew, or give its content as a dict"
        raise CorruptFileError(
            f"{path} to be a JSON object of 1 MiB at most", got="something else", fix=fix, where=where
        )
    return content
