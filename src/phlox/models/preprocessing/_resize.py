"""resize: one axis after the other, each rounded to 8 bits."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, OptionError, RangeError, ShapeError, describe
from phlox.models.preprocessing._filters import FILTERS, nearest
from phlox.models.preprocessing._windows import BITS, Windows, windows

LARGEST = 2**15  # an edge; a wrong config shall not ask for all the memory
METHODS = ("nearest", *FILTERS)


def resize(images: Any, size: tuple[int, int], method: str = "bilinear", antialias: bool = True) -> jax.Array:
    r"""Images in another size, equal to Pillow's to the last bit.

    $y_i = \sum_j x_j\, f((j - c_i) / s) / \sum_j f((j - c_i) / s)$ along the width, then along the height, with the
    filter f, the middle $c_i = (i + 1/2)\, r - 1/2$ of the output pixel, the ratio r of the old size to the new, and
    $s = \max(r, 1)$, so that a smaller image leaves no pixel out. Images of 8 bits are rounded and clipped after each
    of the two, in Pillow's fixed-point arithmetic; where much more of the height goes than of the width, the height is
    first, as in Pillow 13. Floats are not rounded.

    Shapes:
        images: (..., height, width, channels) uint8 or floats; y: (..., height', width', channels) of the same dtype.

    Arguments:
        images: an array; sizes of height, width and channels are known while tracing.
        size: (height', width') in pixels, each from 1 to 32768.
        method: "bilinear", "bicubic" (a = -1/2), "lanczos" (three lobes), "box", "hamming" or "nearest".
        antialias: whether f is stretched where the image shrinks; Pillow always does. "nearest" never does.

    Raises:
        RangeError: another method, a size out of range. ShapeError: fewer than three axes, or no pixels.
        DtypeError: whole numbers other than uint8. OptionError: a size that is one number.

    Source: Pillow, ``Image.resize``; Turkowski, "Filters for common resampling tasks", 1990.

    >>> import numpy as np, phlox as px
    >>> row = np.array([0, 100, 200, 250], "uint8").reshape(1, 4, 1)
    >>> px.models.resize(row, (1, 2)).ravel().tolist()
    [71, 207]
    """
    if not hasattr(images, "shape"):
        images = np.asarray(images)
    _check(images, size, method)
    return jnp.asarray(resized(images, (int(size[0]), int(size[1])), method, antialias))


def _check(images: Any, size: Any, method: str) -> None:
    where = "resize"
    if method not in METHODS:
        raise RangeError(f"method among {', '.join(METHODS)}", got=repr(method), fix="choose one", where=where)
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise OptionError("size=(height, width)", got=describe(size), fix="give both, in this order", where=where)
    if not all(isinstance(n, int | np.integer) and 1 <= n <= LARGEST for n in size):
        raise RangeError(f"sizes from 1 to {LARGEST}", got=repr(size), fix="give whole numbers of pixels", where=where)
    if images.ndim < 3 or 0 in images.shape[-3:]:
        fix = "put the channels last, one for grey: images[..., None]"
        raise ShapeError("(..., height, width, channels) with pixels", got=describe(images), fix=fix, where=where)
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, np.floating):
        fix = 'images.astype("uint8") for values from 0 to 255, else a float dtype'
        raise DtypeError("images of uint8 or floats", got=describe(images), fix=fix, where=where)


def resized(images: Any, size: tuple[int, int], method: str, antialias: bool) -> Any:
    """As ``resize``, unchecked; a NumPy array gives a NumPy array, and compiles nothing."""
    if images.ndim != 4 or _is_one_or_none(images.shape[0]):
        return _resized(images, size, method, antialias)
    if isinstance(images, np.ndarray):
        return np.stack([_resized(image, size, method, antialias) for image in images])
    if jax.default_backend() != "cpu":
        return _resized(images, size, method, antialias)
    # One by one they stay within the processor's cache: measured, a third of the time.
    return jax.lax.map(partial(_resized, size=size, method=method, antialias=antialias), images)


def _is_one_or_none(count: Any) -> bool:
    return isinstance(count, int) and count <= 1


def _resized(images: Any, size: tuple[int, int], method: str, antialias: bool) -> Any:
    height, width = images.shape[-3:-1]
    if method == "nearest":
        return images[..., nearest(height, size[0])[:, None], nearest(width, size[1]), :]
    xp: Any = np if isinstance(images, np.ndarray) else jnp
    planes = xp.moveaxis(images, -1, -3)
    passes = [(-1, width, size[1]), (-2, height, size[0])]
    for axis, old, new in reversed(passes) if _height_first((height, width), size) else passes:
        if old != new:
            plan = windows(method, old, new, antialias, images.dtype == np.uint8)
            planes = xp.swapaxes(_along_last(xp, xp.swapaxes(planes, axis, -1), plan), axis, -1)
    return xp.moveaxis(planes, -3, -1)


def _height_first(old: tuple[int, int], new: tuple[int, int]) -> bool:
    """Whether the height goes first: Pillow 13 does so where much of the height goes, older ones never."""
    less = old[0] - new[0], old[1] - new[1]
    return less[0] > 0 and less[0] > 2 * less[1]


def _along_last(xp: Any, x: Any, plan: Windows) -> Any:
    """(..., old) resized to (..., new)."""
    wide = np.float64 if x.dtype == np.float64 else np.float32
    parts = xp.stack([x[..., start : start + plan.width] for start in plan.starts], axis=-3)
    parts = parts.astype(wide, order="C") if xp is np else parts.astype(wide)  # BLAS takes no other order
    exact = {} if xp is np else {"precision": jax.lax.Precision.HIGHEST}
    y = xp.matmul(parts, plan.matrices.astype(wide), **exact)  # (..., groups, rows, columns)
    y = y.astype(x.dtype) if plan.shift is None else _rounded(xp, y.astype(np.int32), plan.shift)
    y = xp.swapaxes(y, -2, -3)
    return y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])[..., : plan.new]


def _rounded(xp: Any, y: Any, shift: int) -> Any:
    """Coarse and fine sums as the nearest of 0 to 255, halves upward; in place, where arrays allow it."""
    total, fine = xp.split(y, 2, axis=-1)
    total *= 2**shift
    total += fine
    total += 2 ** (BITS - 1)
    total >>= BITS
    return xp.clip(total, 0, 255).astype(np.uint8)
