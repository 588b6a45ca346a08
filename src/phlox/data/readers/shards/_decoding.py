"""Bytes as images, arrays, text and numbers, by the ending of a name."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.data.readers._pixels import FORMATS, UndecodableError, decoded

Decoder = Callable[[bytes], Any]
_NPY = b"\x93NUMPY"
_DIGITS = 20  # of a whole number: more is none that an array could hold


def image(data: bytes) -> np.ndarray:
    """(height, width, 3) uint8, in red, green and blue, upright as the camera says."""
    return np.array(decoded(io.BytesIO(data), "RGB", FORMATS, "decoding an image"))


def npy(data: bytes) -> np.ndarray:
    """An array as NumPy saves it; pickled objects are refused."""
    if not data.startswith(_NPY):
        raise UndecodableError(f"an array: bytes that begin with {data[:8]!r}")
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # whatever a damaged header, which is evaluated, leads NumPy to
        raise UndecodableError(f"an array: {error or type(error).__name__}") from None


def text(data: bytes) -> str:
    """Text in UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UndecodableError(f"text in UTF-8: {error}") from None


def from_json(data: bytes) -> Any:
    """What a JSON text says."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UndecodableError(f"JSON: {error}") from None


def integer(data: bytes) -> int:
    """A whole number in digits."""
    try:
        return int(data if len(data.strip()) <= _DIGITS else b"")
    except ValueError:
        raise UndecodableError(f"a whole number in digits: {data[:20]!r}") from None


DECODERS: dict[str, Decoder] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm"), image),
    "npy": npy,
    **dict.fromkeys(("txt", "text"), text),
    "json": from_json,
    **dict.fromkeys(("cls", "index"), integer),
}


def decoders(decode: bool | Mapping[str, Decoder | str], where: str) -> dict[str, Decoder]:
    """A decoder for each ending: none, the table's, or the table's and one's own.

    Raises:
        RangeError: the name of a decoder that is not in the table.
    """
    if isinstance(decode, bool):
        return DECODERS if decode else {}
    return DECODERS | {ending.lower(): decoder(each, where) for ending, each in decode.items()}


def decoder(given: Decoder | str, where: str) -> Decoder:
    """A function of bytes, by itself or by the ending that it is for."""
    if callable(given):
        return given
    found = DECODERS.get(given) if isinstance(given, str) else None
    if found is None:
        fix = "choose one, or give a function of bytes"
        raise RangeError(f"a decoder among {', '.join(DECODERS)}", got=repr(given), fix=fix, where=where)
    return found
