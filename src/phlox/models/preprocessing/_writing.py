"""A preprocessor as a config again: of transformers where a type of processor says the same, else of timm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from phlox.core import RangeError
from phlox.models.preprocessing._huggingface import RESAMPLE, fields_of_processor
from phlox.models.preprocessing._timm import fields_of_timm

Fields = Mapping[str, Any]
_DEFAULTS = {
    "longest": None,
    "fit": "stretch",
    "fill": 0,
    "offset": 0.0,
    "order": "rgb",
    "std_twice": False,
    "pad": None,
}


def config_of(fields: Fields) -> dict[str, Any]:
    """The config; what is written is read again, and must say the same.

    Raises:
        RangeError: nothing written does.
    """
    for write, read in ((_processor, fields_of_processor), (_timm, fields_of_timm)):
        config = write(fields)
        if config is not None and _same(read(config), fields):
            return config
    raise RangeError(
        "steps that a config of transformers or of timm can say",
        got=", ".join(f"{k}={v!r}" for k, v in fields.items() if k in _DEFAULTS and v != _DEFAULTS[k]) or "others",
        fix="keep dataclasses.asdict(preprocessor), and build it from that",
        where="ImagePreprocessor.to_config",
    )


def _same(read: Fields, fields: Fields) -> bool:
    silent = {"size": None, "antialias": True, "crop": None, "crop_rounding": "floor", "rescale": 1 / 255}
    silent |= {"mean": None, "std": None, "convert_rgb": False, **_DEFAULTS}
    return all(_plain(read.get(name, silent.get(name))) == _plain(value) for name, value in fields.items())


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _processor(fields: Fields) -> dict[str, Any]:
    """The entries of the type of processor that goes furthest towards these fields."""
    size, mean = fields["size"], fields["mean"]
    config: dict[str, Any] = {
        "image_processor_type": _type(fields),
        "do_resize": size is not None,
        "resample": {name: number for number, name in RESAMPLE.items()}[fields["method"]],
        "do_center_crop": fields["crop"] is not None,
        "do_rescale": fields["rescale"] is not None,
        "do_normalize": mean is not None,
        "do_convert_rgb": fields["convert_rgb"],
        "do_pad": fields["pad"] is not None,
    }
    if size is not None:
        config["size"] = _edges(size) if isinstance(size, tuple) else {"shortest_edge": size}
        if fields["longest"] is not None:
            config["size"]["longest_edge"] = fields["longest"]
    config |= {name: _edges(fields[f]) for name, f in (("crop_size", "crop"), ("pad_size", "pad")) if _pair(fields[f])}
    if fields["rescale"] is not None:
        config["rescale_factor"] = fields["rescale"]
    if mean is not None:
        config |= {"image_mean": _one_or_each(mean), "image_std": _one_or_each(fields["std"])}
    if config["image_processor_type"] == "EfficientNetImageProcessor":
        config |= {"rescale_offset": fields["offset"] == -1.0, "include_top": fields["std_twice"]}
    return config


def _type(fields: Fields) -> str:
    if fields["offset"] or fields["std_twice"]:
        return "EfficientNetImageProcessor"
    if fields["order"] == "bgr":
        return "MobileViTImageProcessor"
    if fields["crop"] is None and (fields["longest"] is not None or fields["pad"] is not None):
        return "DetrImageProcessor"  # it hands a mask on, too
    return "BitImageProcessor"


def _one_or_each(values: tuple[float, ...]) -> float | list[float]:
    """A number by itself is for all channels there; a list of one is not, where an image has more."""
    return values[0] if len(values) == 1 else list(values)


def _pair(value: Any) -> bool:
    return isinstance(value, tuple)


def _edges(size: tuple[int, int]) -> dict[str, int]:
    return {"height": size[0], "width": size[1]}


def _timm(fields: Fields) -> dict[str, Any] | None:
    size, crop, mean = fields["size"], fields["crop"], fields["mean"]
    if size is None or crop is None or mean is None or fields["crop_rounding"] != "even":
        return None
    sizes = size if isinstance(size, tuple) else (size, size)
    return {
        "input_size": [len(mean), *crop],
        "interpolation": fields["method"],
        "crop_pct": _share(crop, sizes),
        "crop_mode": _mode(fields),
        "mean": list(mean),
        "std": list(fields["std"]),
    }


def _mode(fields: Fields) -> str:
    if isinstance(fields["size"], int) or fields["fit"] == "cover":
        return "center"
    return "border" if fields["fit"] == "contain" else "squash"


def _share(crop: tuple[int, int], sizes: tuple[int, int]) -> float:
    """A share by which timm comes from the crop to these sizes; where there is none, the comparison will tell."""
    for more in (0.0, 0.25, 0.5, 0.75):
        for c, s in zip(crop, sizes, strict=True):
            share = c / (s + more)
            if all(math.floor(c / share) == s for c, s in zip(crop, sizes, strict=True)):
                return share
    return crop[0] / sizes[0]
