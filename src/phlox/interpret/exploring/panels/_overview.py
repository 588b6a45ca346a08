"""All observations in a scatter: by any two columns, coloured by a third; a click picks one, a box brushes many."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._style import (
    CATEGORIES, INK, changed, choice, escaped, number, places, plot, set_range, set_ticks, text
)  # fmt: skip

_MOST_NAMES = len(CATEGORIES)


class Overview:
    """The scatter, with what it draws to choose."""

    def __init__(self, session: Session):
        from bokeh.events import Reset, SelectionGeometry, Tap
        from bokeh.layouts import column, row
        from bokeh.models import BoxSelectTool, PanTool, Range1d, ResetTool, SaveTool, WheelZoomTool

        self.session, explorer = session, session.explorer
        names = explorer.names
        first = next((n for n in names if n not in ("answer", "predicted", "right", "target")), names[0])
        self.axes = {
            "x": choice("across", names, first, "x"),
            "y": choice("up", names, names[0], "y"),
            "colour": choice("colour", names, _colour(names), "colour"),
        }
        wheel = WheelZoomTool()
        brush = BoxSelectTool(renderers=[])
        self.figure = plot(
            400, [brush, PanTool(), wheel, ResetTool(), SaveTool()], output_backend="webgl", x_range=Range1d(0, 1),
            y_range=Range1d(0, 1), name="scatter", toolbar_location="above",
        )  # fmt: skip
        self.figure.toolbar.active_drag, self.figure.toolbar.active_scroll = brush, None
        self.legend = text(name="legend")
        self.at = {name: np.zeros(explorer.observations.count, np.float32) for name in ("x", "y")}
        self._glyphs()
        self.draw()
        for one in self.axes.values():
            one.on_change("value", changed(self.draw))
        self.figure.on_event(SelectionGeometry, self._brushed)
        self.figure.on_event(Tap, self._tapped)
        self.figure.on_event(Reset, lambda _: session.brush(None))
        session.on("picked", self._mark)
        session.on("answered", self._mark)
        session.on("brushed", self._show_brushed)
        session.on("class", self.draw)
        hint = "<h2>The data</h2><p class='soft'>Click a point to pick it. Draw a box to look at many; the round arrow"
        chosen = row(*self.axes.values(), sizing_mode="stretch_width")
        self.layout = column(
            text(hint + " lets them go.</p>"), chosen, self.figure, self.legend, sizing_mode="stretch_width"
        )

    def _glyphs(self) -> None:
        from bokeh.models import ColumnDataSource, LinearColorMapper
        from bokeh.transform import transform

        self.colours = LinearColorMapper(palette=list(CATEGORIES), low=-0.5, high=len(CATEGORIES) - 0.5)
        self.points = ColumnDataSource({"x": [], "y": [], "colour": []}, name="points")
        self.chosen = ColumnDataSource({"x": [], "y": [], "colour": []}, name="chosen")
        self.mark = ColumnDataSource({"x": [], "y": []}, name="mark")
        self.path = ColumnDataSource({"x": [], "y": []}, name="path")
        fill = transform("colour", self.colours)
        size = 4 if self.session.explorer.observations.count > 5000 else 6
        style: dict[str, Any] = {"size": size, "fill_color": fill, "line_color": None}
        base = self.figure.scatter("x", "y", source=self.points, fill_alpha=0.6, **style)
        base.nonselection_glyph = base.selection_glyph = None
        self.base = base
        self.figure.scatter("x", "y", source=self.chosen, fill_alpha=0.9, **style)
        self.figure.line("x", "y", source=self.path, line_color=INK, line_width=1.5, line_dash=[4, 3])
        self.figure.scatter(
            "x", "y", source=self.mark, size=13, fill_color=None, line_color=INK, line_width=2.5, marker="circle"
        )

    def draw(self) -> None:
        """Draw what is chosen."""
        explorer, which = self.session.explorer, self.session.which
        for axis, shown, seed in (("x", self.figure.x_range, 0), ("y", self.figure.y_range, 1)):
            name = self.axes[axis].value
            at, ticks = places(explorer.column(name, which), seed)
            self.at[axis] = at
            set_range(shown, at)
            drawn = self.figure.xaxis if axis == "x" else self.figure.yaxis
            set_ticks(drawn[0], ticks)
            drawn[0].axis_label = self._named(name)
        colour = self._coloured(explorer.column(self.axes["colour"].value, which))
        self.points.data = {"x": self.at["x"], "y": self.at["y"], "colour": colour}
        self._show_brushed()
        self._mark()

    def _named(self, name: str) -> str:
        """The name of a column, and of the class whose probability it is."""
        classes = self.session.explorer.classes
        return f"{name}: {classes[self.session.which]}" if classes and name.startswith("answer") else name

    def _coloured(self, column: np.ndarray) -> np.ndarray:
        from bokeh.palettes import Viridis256

        values, codes = np.unique(column, return_inverse=True)
        title = escaped(self._named(self.axes["colour"].value))
        if len(values) <= _MOST_NAMES or column.dtype.kind not in "fiub":
            self.colours.update(palette=list(CATEGORIES), low=-0.5, high=_MOST_NAMES - 0.5)
            shown = values[:_MOST_NAMES].tolist()
            keys = (f"<span class='key' style='background: {CATEGORIES[i]}'></span>{escaped(v)}" for i, v in enumerate(shown))
            more = " …" if len(values) > _MOST_NAMES else ""
            self.legend.text = f"<span class='soft'>{title}</span>{''.join(keys)}{more}"
            return (codes % _MOST_NAMES).astype(np.float32)
        low, high = float(np.nanmin(column)), float(np.nanmax(column))
        self.colours.update(palette=list(Viridis256), low=low, high=high)
        stops = ", ".join(Viridis256[::32])
        ramp = f"<span class='ramp' style='background: linear-gradient(90deg, {stops})'></span>"
        self.legend.text = f"<span class='soft'>{title}</span> &nbsp;{number(low)}{ramp}{number(high)}"
        return column.astype(np.float32)

    # --- what a person does ----------------------------------------------------------------------

    def _brushed(self, event: Any) -> None:
        box = event.geometry
        if not event.final or box["type"] != "rect":
            return
        (x0, x1), (y0, y1) = sorted((box["x0"], box["x1"])), sorted((box["y0"], box["y1"]))
        x, y = self.at["x"], self.at["y"]
        rows = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        self.session.brush(rows if rows.any() else None)

    def _tapped(self, event: Any) -> None:
        wide, high = (abs(r.end - r.start) or 1 for r in (self.figure.x_range, self.figure.y_range))
        apart = ((self.at["x"] - event.x) / wide) ** 2 + ((self.at["y"] - event.y) / high) ** 2
        self.session.pick(int(np.nanargmin(apart)))

    # --- what is shown of it ---------------------------------------------------------------------

    def _show_brushed(self) -> None:
        rows = self.session.brushed
        self.base.glyph.fill_alpha = 0.6 if rows is None else 0.08
        data = self.points.data
        self.chosen.data = {k: v[:0] if rows is None else v[rows] for k, v in data.items()}

    def _mark(self) -> None:
        """A ring around the picked one, and a line to where it went."""
        row = self.session.picked
        x, y = (float(self.at[axis][row]) for axis in ("x", "y"))
        moved = self._moved(x, y)
        self.mark.data = {"x": [x, moved[0]], "y": [y, moved[1]]}
        self.path.data = {"x": [x, moved[0]], "y": [y, moved[1]]}

    def _moved(self, x: float, y: float) -> tuple[float, float]:
        places = [self.session.now(self.axes[axis].value) for axis in ("x", "y")]
        return tuple(old if new is None else new for old, new in zip((x, y), places, strict=True))


def _colour(names: list[str]) -> str:
    return next((name for name in ("target", "predicted") if name in names), names[0])
