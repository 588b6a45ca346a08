"""A preprocessor_config.json: its entries as the fields of an ImagePreprocessor."""

from __future__ import annotations

from typing import Any

from phlox.models.preprocessing._checks import edge, refused
from phlox.models.preprocessing._entries import Config, check_known, choice, each_channel, flag, positive
from phlox.models.preprocessing._types import TYPES, Type

RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}

_READ = (
    "do_resize size default_to_square resample do_center_crop crop_size do_rescale rescale_factor do_normalize "
    "image_mean image_std do_convert_rgb do_pad pad_size"
)
_HARMLESS = (  # names, layouts of arrays that come from elsewhere, and what is done to labels
    "image_processor_type feature_extractor_type processor_class auto_map data_format input_data_format device "
    "return_tensors disable_grouping image_seq_length _valid_processor_keys _valid_kwargs_names "
    "do_reduce_labels reduce_labels format do_convert_annotations"
)
_MORE = {
    "convnext": ["crop_pct"],
    "detr": ["max_size", "pad_and_return_pixel_mask"],
    "efficientnet": ["rescale_offset", "include_top"],
    "mobilevit": ["do_flip_channel_order"],
}


def fields_of_processor(config: Config) -> dict[str, Any]:
    """The fields, as the processor named in the config understands its entries."""
    name = _type_of(config)
    kind = TYPES[name]
    check_known(config, {*_READ.split(), *_HARMLESS.split(), *_MORE.get(kind.rule, [])}, name)
    fields: dict[str, Any] = {
        "method": choice(config, "resample", RESAMPLE, kind.resample),
        "convert_rgb": flag(config, "do_convert_rgb", kind.rgb),
        "rescale": positive(config, "rescale_factor", 1 / 255) if flag(config, "do_rescale", True) else None,
    }
    if flag(config, "do_resize", True):
        fields |= _resizing(config, kind)
    if kind.crop is not None and flag(config, "do_center_crop", kind.crops):
        if "crop" in fields:
            raise refused(f"{name} to crop once", "", "do_center_crop beside crop_pct", "set do_center_crop to false")
        fields["crop"] = _pair("crop_size", kind.crop if config.get("crop_size") is None else config["crop_size"])
    if kind.normalizes is not None and flag(config, "do_normalize", kind.normalizes):
        fields |= {s: each_channel(config, f"image_{s}", getattr(kind, s)) for s in ("mean", "std")}
    if kind.rule == "efficientnet":
        fields |= _efficientnet(config, kind, fields)
    if kind.rule == "mobilevit":
        fields["order"] = "bgr" if flag(config, "do_flip_channel_order", True) else "rgb"
    return fields | _padding(config, name, kind)


def _type_of(config: Config) -> str:
    """The processor's type, without the endings that name its backend."""
    given = config.get("image_processor_type") or config.get("feature_extractor_type")
    name = str(given).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if name not in TYPES:
        fix = "write an ImagePreprocessor of your own, with the steps of that processor"
        raise refused("image_processor_type", f"among {', '.join(TYPES)}", given, fix)
    return name


def _resizing(config: Config, kind: Type) -> dict[str, Any]:
    size = _size(config, kind)
    if set(size) == {"height", "width"}:
        if kind.rule == "convnext":
            raise refused("the config's size", "with shortest_edge", size, "correct the file")
        return {"size": (size["height"], size["width"])}
    if set(size) == {"shortest_edge", "longest_edge"} and kind.rule in ("plain", "detr"):
        return {"size": size["shortest_edge"], "longest": size["longest_edge"]}
    if set(size) != {"shortest_edge"} or kind.rule == "detr":
        raise refused("the config's size", "of height and width, or of the shortest edge", size, "correct the file")
    short = edge("the config's size", size["shortest_edge"])
    if kind.rule == "levit":
        return {"size": int(256 / 224 * short)}
    return _convnext(config, kind, short) if kind.rule == "convnext" else {"size": short}


def _size(config: Config, kind: Type) -> dict[str, Any]:
    """The size, by name of its edges."""
    size = kind.size if config.get("size") is None else config["size"]
    if isinstance(size, dict):
        return {name: value for name, value in size.items() if value is not None}
    if isinstance(size, list | tuple):
        height, width = _pair("size", size)
        return {"height": height, "width": width}
    if flag(config, "default_to_square", kind.square):
        return {"height": size, "width": size}
    if kind.rule == "detr":
        return {"shortest_edge": size, "longest_edge": 1333 if config.get("max_size") is None else config["max_size"]}
    return {"shortest_edge": size}


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """(height, width) of a number, a list or a dict."""
    if isinstance(value, dict) and set(value) == {"height", "width"}:
        return value["height"], value["width"]
    if isinstance(value, list | tuple) and len(value) == 2:
        return value[0], value[1]
    if isinstance(value, int):
        return value, value
    raise refused(f"the config's {name}", "of height and width", value, "correct the file")


def _convnext(config: Config, kind: Type, short: int) -> dict[str, Any]:
    """Below 384 pixels more is resized than is kept; from there on the whole image is stretched."""
    if short >= 384:
        return {"size": (short, short)}
    share = positive(config, "crop_pct", kind.crop_pct or 1.0)
    return {"size": int(short / share), "crop": (short, short)}


def _efficientnet(config: Config, kind: Type, fields: dict[str, Any]) -> dict[str, Any]:
    """The image may go below zero, and be divided by its deviation once more."""
    made: dict[str, Any] = {}
    if fields["rescale"] is not None and flag(config, "rescale_offset", False):
        made["offset"] = -1.0
    if flag(config, "include_top", True):
        std = each_channel(config, "image_std", kind.std)
        made |= {"std_twice": True} if "mean" in fields else {"mean": (0.0,) * len(std), "std": std}
    return made


def _padding(config: Config, name: str, kind: Type) -> dict[str, Any]:
    default = flag(config, "pad_and_return_pixel_mask", bool(kind.pads)) if kind.rule == "detr" else bool(kind.pads)
    if not flag(config, "do_pad", default):
        return {}
    if kind.pads is None:
        raise refused(f"a config of {name}", "without do_pad", True, "pad the images yourself")
    return {"pad": "largest" if config.get("pad_size") is None else _pair("pad_size", config["pad_size"])}
