"""ROC and precision-recall curves, one for each slice or model, with a dot where the threshold is."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._style import CATEGORIES, GREY, MODELS, plot, text
from phlox.interpret.probing._curves import ScoreCurves, curves_by_slice
from phlox.interpret.probing._rates import Fairness

_POINTS = 400  # of a curve that are drawn
_MOST = 8  # curves


class CurvePlots:
    """Both kinds of curves; of the first model by slice, or of all models where there are no slices."""

    def __init__(self) -> None:
        from bokeh.layouts import column, row
        from bokeh.models import ColumnDataSource, Range1d, SaveTool

        self.lines = {kind: ColumnDataSource({"xs": [], "ys": [], "colour": []}, name=kind) for kind in ("roc", "pr")}
        self.dots = {
            kind: ColumnDataSource({"x": [], "y": [], "colour": []}, name=f"{kind} dots") for kind in ("roc", "pr")
        }
        labels = {"roc": ("false positive rate", "true positive rate"), "pr": ("recall", "precision")}
        plots = []
        for kind, (x, y) in labels.items():
            made = plot(
                260, [SaveTool()], x_range=Range1d(start=-0.02, end=1.02),
                y_range=Range1d(start=-0.02, end=1.03), name=f"{kind} plot",
                toolbar_location="right", x_axis_label=x, y_axis_label=y,
            )  # fmt: skip
            if kind == "roc":
                made.line([0, 1], [0, 1], line_color=GREY, line_dash=[4, 4])
            made.multi_line("xs", "ys", source=self.lines[kind], line_color="colour", line_width=2)
            made.scatter(
                "x", "y", source=self.dots[kind], size=10, fill_color="colour", line_color="white", line_width=2
            )
            plots.append(made)
        self.said = text(name="areas")
        self.layout = column(row(*plots, sizing_mode="stretch_width"), self.said, sizing_mode="stretch_width")

    def ask(self, session: Session, scores: list[np.ndarray], positive: np.ndarray, slices: np.ndarray) -> None:
        """Have the curves worked out."""
        names = [subject.name for subject in session.explorer.subjects]

        def job() -> dict[str, ScoreCurves]:
            if len(np.unique(slices)) > 1 or len(scores) == 1:
                return curves_by_slice(scores[0], positive, slices)
            found = [next(iter(curves_by_slice(s, positive).values())) for s in scores]
            return dict(zip(names, found, strict=True))

        session.ask("curves", job, self._show)

    def _show(self, found: dict[str, ScoreCurves]) -> None:
        found = dict(list(found.items())[:_MOST])
        colours = [CATEGORIES[i % len(CATEGORIES)] for i in range(len(found))]
        curves = list(found.values())
        for kind, x, y in (("roc", "false_positive_rate", "true_positive_rate"), ("pr", "recall", "precision")):
            self.lines[kind].data = {
                "xs": [_thinned(getattr(c, x)) for c in curves], "ys": [_thinned(getattr(c, y)) for c in curves],
                "colour": colours,
            }  # fmt: skip
        areas = (f"{name}: area {c.area:.3f}, average precision {c.average_precision:.3f}" for name, c in found.items())
        self.said.text = "<p class='soft'>" + " &nbsp;·&nbsp; ".join(areas) + "</p>"

    def mark(self, found: list[Fairness]) -> None:
        """Put dots where the thresholds are."""
        first = found[0]
        if len(first.slices) > 1:
            found, palette = [first], CATEGORIES
        else:
            palette = MODELS
        rates = {
            "roc": ("false_positive_rate", "true_positive_rate"),
            "pr": ("true_positive_rate", "precision"),
        }
        for kind, (x, y) in rates.items():
            xs, ys = (np.concatenate([getattr(f, name)[:_MOST] for f in found]) for name in (x, y))
            self.dots[kind].data = {"x": xs, "y": ys, "colour": [palette[i % len(palette)] for i in range(len(xs))]}


def _thinned(values: np.ndarray) -> Any:
    if len(values) <= _POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, _POINTS).round().astype(int)]
