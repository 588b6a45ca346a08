"""One column of all observations as a histogram, and that of what is brushed within it."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._style import ACCENT, GREY, changed, choice, number, plot, set_ticks, text

_BINS = 40


class Distribution:
    """The histogram, and numbers of what is brushed."""

    def __init__(self, session: Session):
        from bokeh.layouts import column
        from bokeh.models import ColumnDataSource, SaveTool

        self.session = session
        names = session.explorer.names
        self.name = choice("how many have which", names, names[0], "counted")
        self.bars = ColumnDataSource({n: [] for n in ("left", "right", "all", "chosen")}, name="bars")
        self.figure = plot(180, [SaveTool()], toolbar_location="right", name="histogram")
        self.figure.y_range.start = 0
        for top, colour in (("all", GREY), ("chosen", ACCENT)):
            self.figure.quad(
                left="left", right="right", bottom=0, top=top, source=self.bars, fill_color=colour, line_color="white"
            )
        self.said = text(name="brushed")
        self.asked: tuple[str, int] | None = None
        self.name.on_change("value", changed(self.draw))
        session.on("brushed", self.draw)
        session.on("class", self.draw)
        self.draw()
        self.layout = column(self.name, self.figure, self.said, sizing_mode="stretch_width")

    def draw(self) -> None:
        """Count, and draw."""
        asked = (self.name.value, self.session.which)
        if asked != self.asked:
            self.asked, self.bins = asked, _bins(self.session.explorer.column(*asked))
        edges, codes, ticks = self.bins
        rows = self.session.brushed
        every = np.bincount(codes[codes >= 0], minlength=len(edges) - 1)
        some = every if rows is None else np.bincount(codes[rows & (codes >= 0)], minlength=len(edges) - 1)
        set_ticks(self.figure.xaxis[0], ticks)
        self.bars.data = {
            "left": edges[:-1], "right": edges[1:], "all": every.astype(np.float64), "chosen": some.astype(np.float64),
        }  # fmt: skip
        self.said.text = self._words(rows)

    def _words(self, rows: Any) -> str:
        explorer = self.session.explorer
        count = explorer.observations.count if rows is None else int(rows.sum())
        parts = [f"<b>{count:,}</b> {'observations' if rows is None else 'brushed'}"]
        every = np.ones(explorer.observations.count, bool) if rows is None else rows
        for subject in explorer.subjects:
            of = "" if len(explorer.subjects) == 1 else f" of {subject.name}"
            parts.append(f"mean answer{of} {number(float(subject.score(self.session.which)[every].mean()))}")
            if explorer.codes is not None:
                right = (subject.predicted == explorer.codes)[every].mean()
                parts.append(f"accuracy{of} {right:.1%}")
        return " &nbsp;·&nbsp; ".join(parts)


def _bins(column: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[float, str]]:
    """Edges of bins, the number of each observation's bin (−1 where it has none), and names of ticks."""
    values, codes = np.unique(column, return_inverse=True)
    if column.dtype.kind not in "fiub" or len(values) <= 12:
        ticks = {i: v if isinstance(v, str) else number(v) for i, v in enumerate(values.tolist())}
        return np.arange(len(values) + 1) - 0.5, codes, {float(i): tick for i, tick in ticks.items()}
    numbers = column.astype(np.float64)
    edges = np.histogram_bin_edges(numbers[np.isfinite(numbers)], _BINS)
    found = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, _BINS - 1)
    return edges, np.where(np.isfinite(numbers), found, -1), {}
