"""Encoded images as Pillow's, by the decoders that were promised and no others.

Pillow knows many formats, looks at the bytes and not at the name, and starts a program, Ghostscript, for one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phlox.data.readers._files import extra

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM")
_WIDE = ("I", "F")  # the modes of more than 8 bits: I, I;16 and its kin, F


class UndecodableError(Exception):
    """Bytes that are not what a decoder takes; ``fix`` says what to do where that is known."""

    def __init__(self, text: str, fix: str | None = None):
        super().__init__(text)
        self.fix = fix


def decoded(source: Any, mode: str, formats: Sequence[str], where: str) -> Any:
    """Pillow's image of a path or an open file, in one of the modes of 8 bits, upright as the camera says.

    Raises:
        UndecodableError: no image of these formats, a damaged one, or one of more than 8 bits a channel.
    """
    pillow: Any = extra("PIL.Image", "pillow", "images", where)
    turned: Any = extra("PIL.ImageOps", "pillow", "images", where)
    try:
        with pillow.open(source, formats=formats) as file:
            image, found = None, file.mode
            if not found.startswith(_WIDE):
                image = turned.exif_transpose(file).convert(mode)
    except Exception as error:  # whatever damaged bytes lead Pillow's decoders to
        raise UndecodableError(f"an image: {error or type(error).__name__}") from None
    if image is None:
        fix = "scale its values to 8 bits first, or decode it by a function of your own: converted, they would saturate"
        raise UndecodableError(f"an image of 8 bits a channel: Pillow's mode {found}", fix)
    return image
