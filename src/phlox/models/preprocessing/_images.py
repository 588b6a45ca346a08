"""What counts as images, and what is said about the rest."""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from phlox.core import DtypeError, ShapeError, describe

_WHERE = "ImagePreprocessor"
_WIDE = ("I", "F")  # Pillow's modes of more than 8 bits: I, I;16 and its kin, F


def is_pil(image: Any) -> bool:
    """Whether it is an image of Pillow, which is not imported for the question."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def as_array(image: Any, convert_rgb: bool) -> Any:
    """An image or a batch as an array of uint8: JAX's as they are, all else as NumPy's, Pillow's decoded."""
    if is_pil(image):
        return _decoded(image, convert_rgb)
    array = image if isinstance(image, jax.Array) else np.asarray(image)
    if array.dtype != np.uint8:
        raise _no_bytes(array)
    if array.ndim not in (3, 4) or 0 in array.shape[-3:]:
        fix = "grey images need an axis, images[..., None]" if array.ndim == 2 else "give an image or a batch of them"
        raise ShapeError(
            "(height, width, channels), with or without a batch", got=describe(array), fix=fix, where=_WHERE
        )
    return array


def _decoded(image: Any, convert_rgb: bool) -> np.ndarray:
    """(height, width, channels); transparency lies on white where RGB is asked for."""
    if image.mode.startswith(_WIDE):
        fix = "scale its values to 8 bits first: converted as they are, all above 255 would be white"
        raise DtypeError("images of 8 bits a channel", got=f"mode {image.mode}", fix=fix, where=_WHERE)
    if convert_rgb:
        return np.array(_on_white(image).convert("RGB"))
    if image.mode not in ("RGB", "L"):
        fix = 'image.convert("RGB") first, or convert_rgb=True'
        raise DtypeError("images of mode RGB or L", got=f"mode {image.mode}", fix=fix, where=_WHERE)
    array = np.array(image)
    return array[..., None] if array.ndim == 2 else array


def _on_white(image: Any) -> Any:
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image
    module = sys.modules["PIL.Image"]
    white = module.new("RGBA", image.size, (255, 255, 255, 255))
    return module.alpha_composite(white, image.convert("RGBA"))


def _no_bytes(array: Any) -> DtypeError:
    """The error of another dtype; the values say what they probably are."""
    got, fix = describe(array), 'images.astype("uint8"), if they are from 0 to 255'
    if not isinstance(array, Tracer) and array.size and array.dtype.kind in "fiu":
        low, high = float(array.min()), float(array.max())
        got += f" from {low:g} to {high:g}"
        if array.dtype.kind == "f" and low >= 0 and high <= 1:
            fix = '(images * 255).round().astype("uint8"); the preprocessor divides by 255 itself'
    return DtypeError("uint8 images with values from 0 to 255", got=got, fix=fix, where=_WHERE)


def as_rgb(xp: Any, images: Any) -> Any:
    """(..., 1, 3 or 4) as (..., 3): grey repeated, transparency on white."""
    if images.shape[-1] == 1:
        return xp.repeat(images, 3, axis=-1)
    if images.shape[-1] != 4:
        return images
    alpha = images[..., 3:].astype(np.int32)
    blended = alpha * images[..., :3] + (255 - alpha) * 255
    return ((2 * blended + 255) // 510).astype(np.uint8)  # rounded; halves do not occur


def check_channels(images: Any, channels: tuple[int, ...]) -> None:
    """Refuse images of other channels, and say so where they stand first."""
    if images.shape[-1] in channels:
        return
    wanted = " or ".join(map(str, channels))
    if images.shape[-3] in channels:
        fix = "channels are last here: np.moveaxis(images, -3, -1)"
    elif images.shape[-1] == 1:
        fix = "repeat the grey channel: images.repeat(3, -1)"
    else:
        fix = 'convert the images first, as by Pillow\'s image.convert("RGB")'
    raise ShapeError(f"images of {wanted} channels, which stand last", got=describe(images), fix=fix, where=_WHERE)
