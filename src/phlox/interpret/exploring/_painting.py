"""Many points painted into one picture: a browser shows it at once, however many there are."""

from __future__ import annotations

import numpy as np

DIM, FULL = 0.08, 0.6  # how far one point covers what is below it, beside brushed ones and by itself


def painted(
    x: np.ndarray,
    y: np.ndarray,
    colours: np.ndarray,
    brushed: np.ndarray | None,
    within: tuple[float, float, float, float],
    size: tuple[int, int],
) -> np.ndarray:
    """A picture of points as Bokeh draws them: RGBA in whole numbers of 32 bits (height, width), from below.

    Where several points lie over each other a pixel has their mean colour, and is the less transparent.

    Arguments:
        x, y: places, (points,); those that are no numbers, or outside, are left out.
        colours: (points, 3) bytes.
        brushed: (points,) booleans, those that are seen in full; None for all.
        within: left, right, bottom and top of the picture.
        size: its width and height in pixels.
    """
    layers = [_layer(x, y, colours, FULL, within, size, brushed)]
    if brushed is not None:
        layers.insert(0, _layer(x, y, colours, DIM, within, size, None))
    colour, cover = layers[0]
    for upper, upper_cover in layers[1:]:
        both = upper_cover + cover * (1 - upper_cover)
        with np.errstate(invalid="ignore"):
            mixed = (upper * upper_cover + colour * cover * (1 - upper_cover)) / both
        colour, cover = np.where(both > 0, mixed, 0), both
    picture = np.concatenate([colour, 255 * cover], -1).round().astype(np.uint8)
    return np.ascontiguousarray(picture).view(np.uint32)[..., 0]


def _layer(
    x: np.ndarray,
    y: np.ndarray,
    colours: np.ndarray,
    alpha: float,
    within: tuple[float, float, float, float],
    size: tuple[int, int],
    rows: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour (height, width, 3) and the cover (height, width, 1) of some points."""
    (left, right, bottom, top), (width, height) = within, size
    across, up = (x - left) / (right - left) * width, (y - bottom) / (top - bottom) * height
    with np.errstate(invalid="ignore"):
        seen = (across >= 0) & (across < width) & (up >= 0) & (up < height)
    seen = seen if rows is None else seen & rows
    at = up[seen].astype(np.int64) * width + across[seen].astype(np.int64)
    counts = _stamped(np.bincount(at, minlength=width * height).reshape(height, width))
    sums = [_stamped(np.bincount(at, channel, width * height).reshape(height, width)) for channel in colours[seen].T]
    mean = np.stack(sums, -1) / np.maximum(counts, 1)[..., None]
    return mean, (1 - (1 - alpha) ** counts)[..., None]


def _stamped(sums: np.ndarray) -> np.ndarray:
    """Each point on its pixel and the four beside it: a cross, three pixels wide."""
    spread = sums.astype(np.float64)
    spread[1:] += sums[:-1]
    spread[:-1] += sums[1:]
    spread[:, 1:] += sums[:, :-1]
    spread[:, :-1] += sums[:, 1:]
    return spread
