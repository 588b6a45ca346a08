"""Pictures in requests as the arrays that an input takes."""

from __future__ import annotations

import io
import warnings

import numpy as np

from phlox.core import MissingExtraError
from phlox.serving._errors import InvalidRequestError, TooLargeError
from phlox.weights import BundleArray

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def takes_image(told: BundleArray) -> bool:
    """Whether a row of an input is a picture: height, width and channels, or height and width alone.

    >>> takes_image(BundleArray("x", ("batch", 28, 28, 1), "uint8")), takes_image(BundleArray("x", ("batch", 4), "f4"))
    (True, False)
    """
    row = told.shape[1:]
    return len(row) == 2 or (len(row) == 3 and row[2] in _MODES)


def read_image(content: bytes, told: BundleArray, most: int, where: str) -> np.ndarray:
    """A picture in an input's height, width, channels and dtype: 0 to 255 in whole numbers, 0 to 1 in real ones.

    It is resized bilinearly where the input has another size.

    Raises:
        InvalidRequestError: these bytes are no picture.
        TooLargeError: it has too many pixels.
        MissingExtraError: there is no Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", got="none", fix='pip install "phlox[images]"', where=where) from error
    height, width, channels = (*told.shape[1:], 1)[:3]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = Image.open(io.BytesIO(content))
            if image.width * image.height > most:
                got, fix = f"{image.width} × {image.height}", "send a smaller picture"
                raise TooLargeError(f"at most {most} pixels", got=got, fix=fix, where=where)
            image = image.convert(_MODES[int(channels)])
    except TooLargeError:
        raise
    except Exception as error:
        got, fix = f"{type(error).__name__}: {str(error)[:100]}", "send a PNG or JPEG"
        raise InvalidRequestError(f"a picture for {told}", got=got, fix=fix, where=where) from error
    size = (width if isinstance(width, int) else image.width, height if isinstance(height, int) else image.height)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(size[1], size[0], *([int(channels)] if len(told.shape) == 4 else []))
    return pixels if "int" in told.dtype else pixels.astype(np.float32) / np.float32(255)
