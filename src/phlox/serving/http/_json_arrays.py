"""Arrays in JSON, and back."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import orjson

from phlox.core import DtypeError, RangeError, ShapeError
from phlox.serving._errors import InvalidRequestError
from phlox.serving.engine._servable import TEXT, Servable
from phlox.weights import BundleArray


def read_array(value: Any, told: BundleArray, servable: Servable, where: str) -> Any:
    """An input out of JSON: an array of numbers, or text.

    Whole numbers are taken for real ones, as JSON does not tell them apart; nothing else is converted.

    Raises:
        ShapeError: lists of different lengths.
        DtypeError: values of another kind.
        RangeError: a number that the dtype does not hold.
    """
    if told.dtype == TEXT or (told.name in servable.encoders and _holds_text(value)):
        return _text(value, where)
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError) as error:
        fix = "send lists of the same length at each level"
        raise ShapeError(f"{told}", got="lists of different lengths", fix=fix, where=where) from error
    kind = found.dtype.kind
    if kind not in "biuf":
        fix = "send numbers, in lists of the same length at each level"
        raise DtypeError(f"{told}", got=_said(value), fix=fix, where=where)
    if (kind == "b") != (told.dtype == "bool") and found.size:
        raise DtypeError(f"{told}", got=f"{found.dtype}{list(found.shape)}", fix=f"send {told.dtype}", where=where)
    return _real(found, told, where) if told.dtype not in ("bool", "key") and "int" not in told.dtype else found


def _real(found: np.ndarray, told: BundleArray, where: str) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return found.astype(_dtype(told.dtype))
    except FloatingPointError as error:
        fix = "scale the input, or write Infinity where that is meant"
        raise RangeError(f"{told}", got="a number that it does not hold", fix=fix, where=where) from error


@cache
def _dtype(name: str) -> np.dtype[Any]:
    """NumPy's dtype of a name, bfloat16 and its like among them."""
    return np.dtype(getattr(ml_dtypes, name, name))


def _holds_text(value: Any) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, str | dict)


def _text(value: Any, where: str) -> Any:
    """Text and bytes in lists, as an array of objects."""
    if isinstance(value, list):
        parts = [_text(x, where) for x in value]
        made = np.empty((len(parts), *(parts[0].shape if parts and isinstance(parts[0], np.ndarray) else ())), object)
        for i, part in enumerate(parts):
            if np.shape(part) != made.shape[1:]:
                fix = "send lists of the same length at each level"
                raise ShapeError("text in even lists", got="lists of different lengths", fix=fix, where=where)
            made[i] = part
        return made
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(value) == {"b64"}:
        return decoded(value["b64"], where)
    fix = 'send strings, or {"b64": "…"} for bytes'
    raise DtypeError("text", got=_said(value), fix=fix, where=where)


def decoded(text: Any, where: str) -> bytes:
    """The bytes of base64.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        fix = "encode the bytes as RFC 4648 says"
        raise InvalidRequestError("base64 in b64", got=str(error)[:100], fix=fix, where=where) from error


def write_array(found: np.ndarray | np.generic) -> Any:
    """An output as ``answer_arrays`` takes it: an array of numbers as it is, text, and bytes as base64.

    Numbers have as few digits as tell them from their neighbours in their dtype. Those that JSON does not have are
    written by Python, as ``NaN``, ``Infinity`` and ``-Infinity``.

    >>> write_array(np.array([1.5, 2.0], np.float32)), write_array(np.array(["a", b"b"], object))
    (array([1.5, 2. ], dtype=float32), ['a', {'b64': 'Yg=='}])
    """
    found = np.asarray(found)
    if found.dtype.kind == "V":  # bfloat16 and its like
        found = found.astype(np.float32)
    if found.dtype.kind == "c":
        found = np.stack([np.real(found), np.imag(found)], -1)
    if found.dtype.kind in "OSU":
        return _plain(found.tolist())
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        return orjson.Fragment(json.dumps(found.tolist()))
    return np.ascontiguousarray(found) if found.ndim else found.item()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(x) for x in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value


def scores_of(outputs: Mapping[str, np.ndarray], rows: int) -> tuple[str, np.ndarray] | None:
    """The output that scores classes: ``scores``, or the only one of real numbers with an axis behind the rows."""
    fits = {n: y for n, y in outputs.items() if y.ndim == 2 and len(y) == rows and y.dtype.kind in "fV"}
    if "scores" in fits:
        return "scores", fits["scores"]
    return next(iter(fits.items())) if len(fits) == 1 else None


def labels_of(servable: Servable, count: int) -> Sequence[str]:
    """The names of so many classes; empty ones where they have none."""
    return servable.classes if len(servable.classes) == count else [""] * count


def _said(value: Any) -> str:
    while isinstance(value, list) and value:
        value = value[0]
    return f"a {type(value).__name__}" if value is not None else "null"
