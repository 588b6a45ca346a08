"""What a page asks for: a picture, a row of numbers or words, or a text, for each input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from phlox.core import DtypeError, RangeError
from phlox.interchange._spec import Spec
from phlox.weights import BundleArray

DTYPES = (
    "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
"""Those that JavaScript has arrays of."""

_ROW = 32  # numbers that have a box each; more are typed as a text
_CHANNELS = (1, 3, 4)  # grey, red green blue, and opacity


def field_of(
    name: str, spec: Spec, pictures: Sequence[str] | None, labels: Mapping[str, Sequence[str]], where: str
) -> dict[str, Any]:
    """How a page asks for an input, as JSON.

    Arguments:
        name: of the input.
        spec: what is said of it.
        pictures: the inputs that are pictures; None for those of four axes, the last of 1, 3 or 4 channels.
        labels: names of the numbers of a row, by input.
        where: the function that speaks in errors.

    Raises:
        DtypeError: a dtype that pages do not have.
        RangeError: sizes that no picture has; other labels than numbers.
    """
    _check_dtype(name, spec.dtype, where)
    if name in pictures if pictures is not None else _looks_so(spec):
        return _picture(name, spec, where)
    count = math.prod(n for n in spec.shape if isinstance(n, int))
    given = labels.get(name)
    open_ended = any(isinstance(n, str) for n in spec.shape[1:])
    if given is not None and (open_ended or len(given) != count):
        got, fix = f"{len(given)} for {spec!r}", "name each number of one example"
        raise RangeError(f"{'no' if open_ended else count} labels for {name!r}", got=got, fix=fix, where=where)
    if open_ended or (given is None and count > _ROW):
        return {"kind": "text"}
    return {"kind": "row", "labels": list(given or (map(str, range(count)) if count > 1 else [name]))}


def check_output(output: BundleArray, where: str) -> None:
    """Refuse an output that a page cannot show.

    Raises:
        DtypeError: its dtype is none that pages have.
    """
    _check_dtype(output.name, output.dtype, where)


def _looks_so(spec: Spec) -> bool:
    """Whether an input has what pictures have by convention: a batch, height, width and channels."""
    return len(spec.shape) == 4 and spec.shape[-1] in _CHANNELS and spec.dtype in ("uint8", "float32", "float64")


def _picture(name: str, spec: Spec, where: str) -> dict[str, Any]:
    last = spec.shape[-1] if len(spec.shape) > 2 else None
    coloured = last in _CHANNELS
    height = len(spec.shape) - (3 if coloured else 2)
    several = [n for n in spec.shape[: max(height, 0)] if isinstance(n, int) and n != 1]
    if height < 0 or several or spec.dtype not in ("uint8", "float32", "float64"):
        fix = 'write px.Spec("batch", height, width, 3, dtype="uint8"), or leave it out of pictures='
        raise RangeError(
            f"the picture {name!r} as one of uint8 or floats, (batch, height, width, 1, 3 or 4 channels)",
            got=repr(spec), fix=fix, where=where,
        )  # fmt: skip
    return {"kind": "picture", "axes": [height, height + 1], "channels": last if coloured else 1}


def _check_dtype(name: str, dtype: str, where: str) -> None:
    if dtype not in DTYPES:
        fix = "convert it in preprocess= or postprocess=: pages have float32, int32, uint8, bool and their like"
        raise DtypeError(f"{name!r} in a dtype that a page has", got=dtype, fix=fix, where=where)
