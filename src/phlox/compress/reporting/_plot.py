"""A report as a picture: what is left, what layers lost, how far answers moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phlox.core import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT, _LOST, _INK = "#3b7dd8", "#c97316", "#7a808a"  # each reads on white and on black
_LAYERS = 24  # as rows with names; of more, those that moved most


def plot_report(
    shares: Mapping[str, float], layers: Mapping[str, float], changes: Any, flips: Any, path: str | Path | None
) -> Figure:
    """Three panels: shares of size and time, errors of layers, changes of examples and those with other classes."""
    most = _most(layers)
    figure = new_figure(11.5, max(3.0, 0.9 + 0.2 * len(most)), "Report.plot")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.1, 1))
    _shares(left, shares)
    _bars(middle, list(most), list(most.values()), _LOST)
    _dress(middle, "relative error of layers", "change / size")
    _changes(right, changes, flips)
    if path is not None:
        figure.savefig(path)
    return figure


def _most(layers: Mapping[str, float]) -> dict[str, float]:
    """The layers that moved most, in the order in which they are called; what is no number can't be drawn."""
    known = {name: error for name, error in layers.items() if name and np.isfinite(error)}
    most = sorted(known, key=lambda name: -known[name])[:_LAYERS]
    return {name: error for name, error in known.items() if name in most}


def _shares(ax: Any, shares: Mapping[str, float]) -> None:
    _bars(ax, [f"{name}   {share:.2g}" for name, share in shares.items()], list(shares.values()), _LEFT)
    ax.axvline(1, color=_INK, linewidth=1, linestyle="--")
    _dress(ax, "what is left of the model", "after / before")


def _bars(ax: Any, names: list[str], values: list[float], color: str) -> None:
    ax.barh(range(len(names)), values, color=color, height=0.7)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)  # the first on top


def _changes(ax: Any, changes: Any, flips: Any) -> None:
    """How many answers moved how far; those whose class changed on top, where there are classes."""
    known = np.isfinite(changes)
    parts: list[Any] = [changes[known]]
    labels: list[str] | None = None
    if flips is not None:
        other = flips[known] > 0
        parts = [parts[0][~other], parts[0][other]]
        labels = ["the same classes", f"other classes: {other.sum()}"]
    bins = min(40, max(5, known.sum() // 4))
    ax.hist(parts, bins=bins, stacked=True, color=[_LEFT, _LOST][: len(parts)], label=labels)
    if labels is not None:
        ax.legend(frameon=False, fontsize=8, labelcolor=_INK)
    _dress(ax, f"answers to {len(changes)} examples", "change / size")
    ax.set_ylabel("examples", fontsize=9, color=_INK)


def _dress(ax: Any, title: str, x: str) -> None:
    ax.set_title(title, fontsize=10, loc="left", color=_INK)
    ax.set_xlabel(x, fontsize=9, color=_INK)
    ax.tick_params(labelsize=8, colors=_INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_INK)
