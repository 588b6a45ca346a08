"""A pretrained_cfg of timm: its entries as the fields of an ImagePreprocessor."""

from __future__ import annotations

import math
from typing import Any

from phlox.models.preprocessing._checks import edge, refused
from phlox.models.preprocessing._entries import MEAN, STD, Config, check_known, choice, each_channel, positive

CROP_PCT = 0.875
_METHODS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
_READ = "input_size interpolation crop_pct crop_mode mean std"
_HARMLESS = (  # where the weights are from, what the head looks like, and sizes to be asked for
    "url file state_dict hf_hub_id hf_hub_filename hf_hub_revision source architecture tag custom_load test_input_size "
    "min_input_size fixed_input_size test_crop_pct num_classes label_offset label_names label_descriptions pool_size "
    "test_pool_size first_conv classifier license description origin_url paper_name paper_ids notes"
)


def fields_of_timm(config: Config) -> dict[str, Any]:
    """The fields, as timm's transform for evaluation understands the entries."""
    check_known(config, {*_READ.split(), *_HARMLESS.split()}, "timm")
    channels, *crop = _input_size(config)
    share = positive(config, "crop_pct", CROP_PCT)
    size = tuple(math.floor(e / share) for e in crop)
    fields: dict[str, Any] = {
        "crop": tuple(crop),
        "crop_rounding": "even",
        "method": choice(config, "interpolation", {m: m for m in _METHODS}, "bicubic"),
        "mean": _channels(each_channel(config, "mean", MEAN), channels),
        "std": _channels(each_channel(config, "std", STD), channels),
    }
    mode = choice(config, "crop_mode", {m: m for m in ("center", "squash", "border")}, "center")
    if mode == "squash":
        return fields | {"size": size}
    if mode == "border":
        if not all(0 <= v <= 1 for v in fields["mean"]):
            raise refused("the config's mean", "from 0 to 1 beside a border", fields["mean"], "correct the file")
        first, *others = (round(255 * v) for v in fields["mean"])
        return fields | {"size": size, "fit": "contain", "fill": (first, *others) if others else first}
    if size[0] == size[1]:
        return fields | {"size": size[0]}
    return fields | {"size": size, "fit": "cover"}


def _input_size(config: Config) -> tuple[int, int, int]:
    size = (3, 224, 224) if config.get("input_size") is None else config["input_size"]
    if not isinstance(size, list | tuple) or len(size) != 3 or size[0] not in (1, 3):
        raise refused("the config's input_size", "of 1 or 3 channels, height and width", size, "correct the file")
    return size[0], edge("the config's input_size", size[1]), edge("the config's input_size", size[2])


def _channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return tuple(values) * channels if len(values) == 1 else values
