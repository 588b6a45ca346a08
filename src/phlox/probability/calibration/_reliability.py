"""Reliability: how often it was so, beside how often it was said to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phlox.core import new_figure
from phlox.metrics import CalibrationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _INK = "#3b7dd8", "#c97316", "#7a808a"


@dataclass(frozen=True)
class Reliability:
    """What was said and what came, in bins of what was said; ``reliability`` makes it.

    Attributes:
        edges: (bins + 1,) of the bins, from 0 to 1.
        count: (bins,) examples in each.
        confidence: (bins,) the mean probability that was said, NaN in an empty bin.
        frequency: (bins,) the share in which it was so, NaN in an empty bin.
        error: the expected calibration error.
        classes: whether probabilities are of the most probable class.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    frequency: np.ndarray
    error: float
    classes: bool

    def plot(self, title: str = "", path: str | Path | None = None) -> Figure:
        """Draw the reliability diagram: bars at the height that came, lines at what was said, and how many there are.

        Arguments:
            title: what is written above it.
            path: a file for the picture.

        Returns:
            The figure of matplotlib.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure = new_figure(4.0, 4.6, "Reliability.plot")
        above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        low, wide = self.edges[:-1], np.diff(self.edges)
        some = self.count > 0
        above.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle="--")
        above.bar(low[some], self.frequency[some], wide[some], align="edge", color=_BLUE, edgecolor="white")
        above.hlines(self.confidence[some], low[some], (low + wide)[some], color=_ORANGE, linewidth=2)
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that was right" if self.classes else "share that was so")
        above.set_title(title or f"calibration error {self.error:.1%}", fontsize=10, loc="left", color=_INK)
        below.bar(low, self.count / max(self.count.sum(), 1), wide, align="edge", color=_INK, edgecolor="white")
        below.set(xlabel="probability that was said", ylabel="share")
        for axes in (above, below):
            axes.tick_params(labelsize=8, colors=_INK)
            axes.spines[["top", "right"]].set_visible(False)
        if path is not None:
            figure.savefig(path)
        return figure


def reliability(
    probabilities: Any,
    target: Any,
    *,
    bins: int = 15,
    classes: bool = False,
    norm: Literal["l1", "l2", "max"] = "l1",
    logits: bool = False,
) -> Reliability:
    """What was said beside what came, in bins of ``px.metrics.CalibrationError``, with its diagram: ``.plot()``.

    Shapes:
        probabilities: (...) of yes, with ``classes`` (..., classes); target: (...) of 0 and 1, or integer classes.

    Arguments:
        probabilities: what was said.
        target: what came.
        bins: of equal width.
        classes: predictions are over classes; then the largest probability is held against whether it is right.
        norm: of the error, as in ``px.metrics.CalibrationError``.
        logits: what was said are logits.

    Raises:
        RangeError, ShapeError, DtypeError: as ``px.metrics.CalibrationError``.

    Source: Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning", 2005; Guo, Pleiss,
    Sun and Weinberger, "On calibration of modern neural networks", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> said, came = jnp.array([0.1, 0.1, 0.7, 0.7, 0.7, 0.7]), jnp.array([0, 0, 1, 1, 1, 0])
    >>> found = px.probability.reliability(said, came, bins=2)
    >>> found.count.tolist(), found.frequency.tolist(), round(found.error, 4)
    ([2.0, 4.0], [0.0, 0.75], 0.0667)
    """
    metric = CalibrationError(bins, classes=classes, norm=norm, logits=logits)
    metric.update(probabilities, target)
    count, said, came = (np.asarray(v, np.float64).sum(0) for v in (metric.count, metric.confidence, metric.correct))
    with np.errstate(invalid="ignore"):
        return Reliability(
            np.linspace(0, 1, bins + 1), count, said / count, came / count, float(metric.compute()), bool(classes)
        )
