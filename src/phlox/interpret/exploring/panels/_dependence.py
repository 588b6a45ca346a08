"""One feature moved over its values: the mean answer, single rows, and the picked one."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interpret.exploring._observations import Rows
from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._style import GREY, INK, MODELS, changed, plot, text
from phlox.interpret.probing._dependence import default_grid

_ROWS, _CURVES, _POINTS = 200, 40, 40  # rows in the mean, curves that are drawn, points of each


class DependencePlot:
    """Partial dependence and ICE of the feature that is looked at."""

    def __init__(self, session: Session, feature: Any):
        from bokeh.layouts import column
        from bokeh.models import ColumnDataSource, SaveTool, Span

        self.session, self.feature = session, feature
        observations = session.explorer.observations
        assert isinstance(observations, Rows)
        self.rows = observations
        count = observations.count
        self.sample = np.sort(np.random.default_rng(0).choice(count, min(_ROWS, count), replace=False))
        self.figure = plot(230, [SaveTool()], toolbar_location="right", name="dependence")
        self.each = ColumnDataSource({"xs": [], "ys": []}, name="ice")
        self.means = [
            ColumnDataSource({"x": [], "y": []}, name=f"mean {i}") for i in range(len(session.explorer.subjects))
        ]
        self.own = ColumnDataSource({"x": [], "y": []}, name="own curve")
        self.at = Span(location=0, dimension="height", line_color=INK, line_dash=[4, 3])
        self.figure.multi_line("xs", "ys", source=self.each, line_color=GREY, line_width=1, line_alpha=0.55)
        for source, colour in zip(self.means, MODELS, strict=False):
            self.figure.line("x", "y", source=source, line_color=colour, line_width=3)
        self.figure.line("x", "y", source=self.own, line_color=INK, line_width=2)
        self.figure.add_layout(self.at)
        feature.on_change("value", changed(self.draw))
        session.on("class", self.draw)
        session.on("picked", self._draw_own)
        session.on("answered", self._draw_own)
        self.draw()
        blue = (
            ""
            if len(session.explorer.subjects) == 1
            else f" (blue {session.explorer.subjects[0].name}, orange the other)"
        )
        words = f"<h2>If this feature were otherwise</h2><p class='soft'>Thick: the mean answer{blue}. Grey: single "
        more = "observations. Black: the picked one, the dashed line where it stands.</p>"
        self.layout = column(text(words + more), self.figure, sizing_mode="stretch_width")

    def draw(self) -> None:
        """Ask about the sample, and draw."""
        name, explorer, which = self.feature.value, self.session.explorer, self.session.which
        grid = default_grid(self.rows.columns[name], _POINTS, "px.interpret.explore")
        some = {n: c[self.sample] for n, c in self.rows.columns.items()}
        self.figure.xaxis[0].axis_label = name
        self.grid = grid.astype(np.float64)

        def job() -> list[np.ndarray]:
            moved = {n: np.tile(c, len(grid)) for n, c in some.items()}
            moved[name] = np.repeat(grid, len(self.sample))
            x = self.rows.inputs(moved)
            return [s.ask_one(x, which).reshape(len(grid), -1).T for s in explorer.subjects]

        self.session.ask("dependence", job, self._show)
        self._draw_own()

    def _show(self, curves: list[np.ndarray]) -> None:
        self.each.data = {"xs": [self.grid] * min(_CURVES, len(self.sample)), "ys": list(curves[0][:_CURVES])}
        for source, found in zip(self.means, curves, strict=True):
            source.data = {"x": self.grid, "y": found.mean(0)}

    def _draw_own(self) -> None:
        """The curve of the picked one, as it is changed."""
        name, grid, which = self.feature.value, self.grid, self.session.which
        subject, one = self.session.explorer.subjects[0], dict(self.session.edited)
        self.at.location = float(one[name])

        def job() -> np.ndarray:
            moved = {n: np.array([value] * len(grid)) for n, value in one.items()} | {name: grid}
            return subject.ask_one(self.rows.inputs(moved), which)

        self.session.ask("own curve", job, lambda curve: self.own.update(data={"x": grid, "y": curve}))
