"""Pictures of a run: its history, and the curve of a search for a learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phlox.core import RangeError, new_figure
from phlox.loop.callbacks._direction import mode_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING, VALIDATION, FAINT, INK = "#2563b8", "#d9622b", "#b9cbe6", "#33383f"
_ACROSS = 3  # panels in a row
_NO_PANEL = ("epoch", "step", "seconds", "examples")

Numbers = np.ndarray[Any, Any]
Rows = Sequence[Mapping[str, Any]]  # the numbers of each epoch by name


def plot_history(rows: Rows, losses: Numbers, path: str | Path | None = None) -> Figure:
    """Draw a panel for each number of the epochs, that of validation in the same panel.

    Behind the loss stand the losses of the single steps. A dot marks the best validation.

    Arguments:
        rows: of the epochs.
        losses: (steps,) those of the single steps.
        path: a file to write; its ending says the format.

    Returns:
        The figure of matplotlib.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RangeError: no epoch is over yet.
    """
    if not rows:
        raise RangeError("a history with an epoch", got="none yet", fix="train first", where="History.plot")
    first = {name: value for row in reversed(rows) for name, value in row.items()}  # in its first row
    in_order = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in in_order if name not in _NO_PANEL and np.isscalar(first[name])]
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    figure = new_figure(4.2 * across, 3.1 * down, "plot")
    for place, name in enumerate(panels):
        _panel(figure.add_subplot(down, across, place + 1), rows, losses, name)
    return _written(figure, path)


def _panel(ax: Axes, rows: Rows, losses: Numbers, name: str) -> None:
    epochs = [int(row.get("epoch", i)) + 1 for i, row in enumerate(rows)]
    if name == "loss":
        _step_losses(ax, losses, epochs)
    for column, colour, label in ((name, TRAINING, "training"), (f"val_{name}", VALIDATION, "validation")):
        points = [(e, row[column]) for e, row in zip(epochs, rows, strict=True) if column in row]
        if points:
            at, values = zip(*points, strict=True)
            best = None if column == name else _best(values, name)
            label = label if best is None else f"{label}, best {best:.4g}"
            style = "steps-post" if name == "learning_rate" else "default"
            ax.plot(at, values, color=colour, label=label, linewidth=1.8, drawstyle=style)
            if best is not None:
                ax.plot(at[values.index(best)], best, "o", color=colour, markersize=5)
            elif len(at) == 1:
                ax.plot(at, values, "o", color=colour)
    if any(f"val_{name}" in row for row in rows):
        ax.legend(frameon=False, fontsize=8)
    values = [row[name] for row in rows if name in row]
    if values and min(values) > 0 and max(values) > 10 * min(values):
        ax.set_yscale("log")
    _dress(ax, name.replace("_", " "), "epoch")
    ax.locator_params(axis="x", integer=True)


def _step_losses(ax: Axes, losses: Numbers, epochs: Sequence[int]) -> None:
    """The losses of single steps, spread evenly over the epochs."""
    if len(losses) > 2 * len(epochs):
        at = epochs[0] - 1 + len(epochs) * (np.arange(len(losses)) + 1) / len(losses)
        ax.plot(at, losses, color=FAINT, linewidth=0.7, zorder=1)


def _best(values: Sequence[float], name: str) -> float | None:
    """The best of some numbers; None where nobody knows which is, or all are NaN."""
    known = [v for v in values if not math.isnan(v)]
    try:
        return (min if mode_of(name, "plot") == "min" else max)(known)
    except (RangeError, ValueError):
        return None


def plot_learning_rates(
    rates: Numbers, losses: Numbers, smoothed: Numbers, suggestion: float | None, path: str | Path | None = None
) -> Figure:
    """Draw the losses of a search over the learning rates, smoothed ones on top, the suggestion marked."""
    figure = new_figure(5.4, 3.6, "plot")
    ax = figure.add_subplot()
    ax.plot(rates, losses, color=FAINT, linewidth=0.9, label="loss of a step")
    ax.plot(rates, smoothed, color=TRAINING, linewidth=1.8, label="smoothed")
    ax.set_xscale("log")
    if suggestion is not None:
        low, first = float(smoothed.min()), float(smoothed[0])
        ax.set_ylim(low - 0.15 * (first - low), first + 0.6 * (first - low))
        at = float(smoothed[np.searchsorted(rates, suggestion)])
        ax.axvline(suggestion, color=VALIDATION, linewidth=1.2, linestyle="--")
        ax.plot(suggestion, at, "o", color=VALIDATION, markersize=6, label=f"suggested: {suggestion:.2g}")
    ax.legend(frameon=False, fontsize=8)
    _dress(ax, "loss", "learning rate")
    return _written(figure, path)


def _dress(ax: Axes, title: str, x: str) -> None:
    ax.set_title(title, fontsize=10, loc="left", color=INK)
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _written(figure: Figure, path: str | Path | None) -> Any:
    if path is not None:
        figure.savefig(path)
    return figure
