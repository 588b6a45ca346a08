"""Pillow's filters: the pixels that an output pixel is made of, and their shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]


def _box(x: np.ndarray) -> np.ndarray:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _hamming(x: np.ndarray) -> np.ndarray:
    a, b = float(np.float32(0.54)), float(np.float32(0.46))  # Pillow's two constants are of single precision
    return np.where(np.abs(x) < 1.0, np.sinc(x) * (a + b * np.cos(np.pi * x)), 0.0)


def _cubic(x: np.ndarray) -> np.ndarray:
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where((x >= -3.0) & (x < 3.0), np.sinc(x) * np.sinc(x / 3.0), 0.0)


FILTERS: dict[str, tuple[Curve, float]] = {  # the curve, and how far from its middle it ends
    "box": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


def shares(method: str, old: int, new: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``new`` pixels the first of the ``old`` ones in it, (new,), and their shares, (new, taps).

    The curve is stretched by the ratio where the image shrinks, is cut off at the edges, and sums to 1.
    """
    curve, radius = FILTERS[method]
    ratio = old / new
    stretch = max(ratio, 1.0) if antialias else 1.0
    middle = (np.arange(new) + 0.5) * ratio
    first = np.maximum((middle - radius * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((middle + radius * stretch + 0.5).astype(np.int64), old)
    at = first[:, None] + np.arange((last - first).max())
    share = np.where(at < last[:, None], curve((at - middle[:, None] + 0.5) * (1.0 / stretch)), 0.0)
    total = np.add.accumulate(share, axis=1)[:, -1:]  # one after the other, as Pillow adds them
    return first, share / np.where(total == 0.0, 1.0, total)


def nearest(old: int, new: int) -> np.ndarray:
    """For each of ``new`` pixels the one of the ``old`` that it is, (new,); steps are added up, as Pillow does."""
    step = old / new
    return np.add.accumulate(np.r_[0.5 * step, np.full(new - 1, step)]).astype(np.int64).clip(0, old - 1)
