"""An attribution drawn over its image; without axes of space as bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, describe, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_WHERE = "Attribution.plot"
_BLUE, _ORANGE, _INK = "#3b7dd8", "#c97316", "#7a808a"
_SIGNS = {"all": None, "positive": 1.0, "negative": -1.0, "absolute": 0.0}
_BARS = 24


def plot_attribution(
    found: Any, image: Any, row: int, sign: str, percentile: float, alpha: float, path: str | Path | None
) -> Figure:
    """The figure that ``Attribution.plot`` gives."""
    if sign not in _SIGNS or not 0 < percentile <= 100 or not 0 <= alpha <= 1:
        got = f"sign={sign!r}, percentile={percentile!r}, alpha={alpha!r}"
        fix = "leave them out"
        raise RangeError(f"sign of {', '.join(_SIGNS)}, percentile in (0, 100], alpha in [0, 1]", got=got, fix=fix,
                         where=_WHERE)  # fmt: skip
    leaves = jax.tree.leaves(found.values)
    if len(leaves) != 1:
        fix = "plot one array, dataclasses.replace(found, values=found.values[0], x=found.x[0])"
        raise ShapeError("an attribution of one array", got=f"{len(leaves)} arrays", fix=fix, where=_WHERE)
    values = np.asarray(leaves[0][found.row(row)], np.float64)
    if values.ndim == 1:
        figure = _bars(found, values)
    elif values.ndim in (2, 3):
        below = image if image is not None else _image_of(found, row, values)
        figure = _over(found.method, values if values.ndim == 2 else values.sum(-1), below, sign, percentile, alpha)
    else:
        fix = "take a slice of it"
        raise ShapeError("an image or a list of features", got=describe(values), fix=fix, where=_WHERE)
    if path is not None:
        figure.savefig(path)
    return figure


def _image_of(found: Any, row: int, values: Any) -> Any:
    leaves = jax.tree.leaves(found.x)
    x = np.asarray(leaves[0][found.row(row)]) if len(leaves) == 1 else None
    fits = x is not None and x.shape[:2] == values.shape[:2] and (x.ndim == 2 or x.shape[-1] in (1, 3, 4))
    return x if fits else None


def _over(method: str, values: Any, image: Any, sign: str, percentile: float, alpha: float) -> Figure:
    side = _SIGNS[sign]
    values = values if side is None else np.abs(values) if side == 0 else np.maximum(side * values, 0)
    most = float(np.percentile(np.abs(values), percentile)) or float(np.abs(values).max()) or 1.0
    height, width = values.shape
    figure = new_figure(4.2 * width / height + (4.2 * width / height if image is not None else 0.8), 4.4, _WHERE)
    parts = np.atleast_1d(figure.subplots(1, 1 if image is None else 2))
    colors: Any = "RdBu" if side is None else "magma"
    if image is not None:
        shown = _shown(image, values.shape)
        parts[0].imshow(shown, cmap="gray")
        gray = shown if shown.ndim == 2 else shown[..., :3].mean(-1)
        parts[1].imshow(gray, cmap="gray", vmin=0, vmax=1)
    share = np.clip(np.abs(values) / most, 0, 1)
    opacity = 1.0 if image is None else (alpha + (1 - alpha) * share) * share**0.5
    drawn = parts[-1].imshow(values, cmap=colors, vmin=-most if side is None else 0, vmax=most, alpha=opacity)
    parts[-1].set_title(method.replace("_", " "), fontsize=10, loc="left", color=_INK)
    bar = figure.colorbar(drawn, ax=parts[-1], fraction=0.046)
    bar.ax.tick_params(labelsize=7, colors=_INK)
    for part in parts:
        part.set_axis_off()
    return figure


def _shown(image: Any, size: tuple[int, int]) -> Any:
    """An image from 0 to 1, whatever it is normalised to."""
    image = np.asarray(image, np.float64)
    if image.shape[:2] != size or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] not in (1, 3, 4)):
        fix = "give it the values' height and width, and 1, 3 or 4 channels last"
        raise ShapeError(f"an image of {size[0]} × {size[1]}", got=f"shape {image.shape}", fix=fix, where=_WHERE)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    low, high = float(image.min()), float(image.max())
    low, high = (
        (0.0, 255.0 if high > 1 else 1.0) if low >= 0 and high <= 255 and (high <= 1 or high > 8) else (low, high)
    )
    return np.clip((image - low) / max(high - low, 1e-12), 0, 1)


def _bars(found: Any, values: Any) -> Figure:
    most = np.sort(np.argsort(-np.abs(values), kind="stable")[:_BARS])
    figure = new_figure(5.2, max(1.6, 0.7 + 0.22 * len(most)), _WHERE)
    axes = figure.subplots()
    axes.barh(range(len(most)), values[most], color=[_BLUE if v >= 0 else _ORANGE for v in values[most]], height=0.7)
    axes.set_yticks(range(len(most)), [str(i) for i in most])
    axes.set_ylim(len(most) - 0.4, -0.6)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_title(found.method.replace("_", " "), fontsize=10, loc="left", color=_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_INK)
    return figure
