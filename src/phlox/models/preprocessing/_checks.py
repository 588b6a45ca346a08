"""The fields of a preprocessor: lists made tuples, and what cannot be refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phlox.core import RangeError, describe
from phlox.models.preprocessing._resize import LARGEST, METHODS

_CHOICES = {
    "fit": ("stretch", "cover", "contain"),
    "method": METHODS,
    "crop_rounding": ("floor", "even"),
    "order": ("rgb", "bgr"),
}
_MOST = 1e6  # of a factor, a mean, a deviation
_FLAGS = ("antialias", "std_twice", "convert_rgb")


def refused(name: str, wanted: str, value: Any, fix: str) -> RangeError:
    return RangeError(f"{name} {wanted}", got=_shown(value), fix=fix, where="ImagePreprocessor")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, list | tuple | dict) else describe(value)
    return text if len(text) < 100 else text[:97] + "..."


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of an ImagePreprocessor, in their one form.

    Raises:
        RangeError: a value that cannot be, or two that contradict each other.
    """
    made = dict(fields)
    for name, choices in _CHOICES.items():
        if made[name] not in choices:
            raise refused(name, f"among {', '.join(choices)}", made[name], "choose one")
    for name in _FLAGS:
        if not isinstance(made[name], bool):
            raise refused(name, "of True or False", made[name], "give one of them")
    made["size"] = _size("size", made["size"], alone=True)
    made["longest"] = None if made["longest"] is None else edge("longest", made["longest"])
    made["crop"] = _size("crop", made["crop"])
    made["pad"] = made["pad"] if made["pad"] == "largest" else _size("pad", made["pad"])
    made["fill"] = _fill(made["fill"])
    made["rescale"] = None if made["rescale"] is None else _number("rescale", made["rescale"])
    made["offset"] = _number("offset", made["offset"])
    made["mean"], made["std"] = each("mean", made["mean"]), each("std", made["std"])
    _check_together(made)
    return made


def _check_together(made: Mapping[str, Any]) -> None:
    mean, std, size = made["mean"], made["std"], made["size"]
    if (mean is None) != (std is None) or (mean is not None and len(mean) != len(std)):
        raise refused("mean and std", "both or neither, of one length", (mean, std), "give both")
    if std is not None and min(std) <= 0:
        raise refused("std", "above 0", std, "give the standard deviation of each channel")
    if made["std_twice"] and std is None:
        raise refused("std_twice", "only with std", None, "give mean and std")
    if made["longest"] is not None and not isinstance(size, int):
        raise refused("longest", "only with an edge as size", size, "give size=800, for one")
    if made["fit"] != "stretch" and not isinstance(size, tuple):
        raise refused(f"fit={made['fit']!r}", "only with size=(height, width)", size, "give both")


def edge(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= LARGEST:
        raise refused(name, f"of whole pixels from 1 to {LARGEST}", value, "give a whole number")
    return int(value)


def _size(name: str, value: Any, alone: bool = False) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise refused(name, "as (height, width)", value, "give two numbers, in this order")
        return edge(name, value[0]), edge(name, value[1])
    if alone:
        return edge(name, value)
    raise refused(name, "as (height, width)", value, "give two numbers, in this order")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not abs(value) <= _MOST:
        raise refused(name, f"of numbers up to {_MOST:g}", value, "give a number")
    return float(value)


def each(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list | np.ndarray) or len(value) not in (1, 3):
        raise refused(name, "for each channel, one or three", value, "give a tuple of numbers")
    return tuple(_number(name, v) for v in value)


def _fill(value: Any) -> int | tuple[int, ...]:
    several = tuple(value) if isinstance(value, tuple | list) else (value,)
    for level in several:
        if isinstance(level, bool) or not isinstance(level, int | np.integer) or not 0 <= level <= 255:
            raise refused("fill", "from 0 to 255", value, "give whole numbers, of the image before it is rescaled")
    if len(several) not in (1, 3):
        raise refused("fill", "as one value or three", value, "give one for each channel")
    first, *others = (int(v) for v in several)
    return (first, *others) if others else first
