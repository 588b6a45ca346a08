"""Bytes as images, arrays, text and numbers, by the ending of a name."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.data.readers._files import extra

Decoder = Callable[[bytes], Any]


class UndecodableError(Exception):
    """Bytes that are not what a decoder takes."""


def image(data: bytes) -> np.ndarray:
    """(height, width, 3) uint8, in red, green and blue, upright as the camera says."""
    pillow: Any = extra("PIL.Image", "pillow", "images", "decoding an image")
    turned: Any = extra("PIL.ImageOps", "pillow", "images", "decoding an image")
    try:
        with pillow.open(io.BytesIO(data)) as file:
            return np.array(turned.exif_transpose(file).convert("RGB"))
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise UndecodableError(f"an image: {error}") from None


def npy(data: bytes) -> np.ndarray:
    """An array as NumPy saves it; pickled objects are refused."""
    file = io.BytesIO(data)
    try:
        found = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise UndecodableError(f"an array: {error}") from None
    if not isinstance(found, np.ndarray):
        raise UndecodableError("an array: several, zipped")
    return found


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
        return int(data)
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
