"""All observations in a scatter: by any two columns, coloured by a third; a click picks one, a box brushes many."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interpret.exploring._painting import DIM, FULL, painted
from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._style import (
    CATEGORIES,
    INK,
    changed,
    choice,
    escaped,
    number,
    places,
    plot,
    rgb,
    set_range,
    set_ticks,
    text,
)  # fmt: skip

_GLYPHS = 5000  # points that the browser draws by itself; of more it is sent a picture
_HINT = "Click a point to pick it. Draw a box to look at many; the round arrow lets them go."


class Overview:
    """The scatter, with what it draws to choose."""

    def __init__(self, session: Session):
        from bokeh.events import Reset, SelectionGeometry, Tap
        from bokeh.layouts import column, row
        from bokeh.models import BoxSelectTool, PanTool, Range1d, ResetTool, SaveTool, WheelZoomTool

        self.session, explorer = session, session.explorer
        names = explorer.names
        first = next((n for n in names if n.split(" of ")[0] not in _OURS), names[0])
        self.axes = {
            "x": choice("across", names, first, "x"),
            "y": choice("up", names, names[0], "y"),
            "colour": choice("colour", names, _colour(names), "colour"),
        }
        brush = BoxSelectTool(renderers=[])
        few = explorer.observations.count <= _GLYPHS
        self.figure = plot(
            400, [brush, PanTool(), WheelZoomTool(), ResetTool(), SaveTool(filename="scatter")],
            output_backend="webgl" if few else "canvas", x_range=Range1d(start=0, end=1),
            y_range=Range1d(start=0, end=1), name="scatter",
            toolbar_location="right",
        )  # fmt: skip
        self.figure.toolbar.active_drag, self.figure.toolbar.active_scroll = brush, None
        self.legend = text(name="legend")
        self.at = {name: np.zeros(explorer.observations.count, np.float32) for name in ("x", "y")}
        self.points: Any = _Glyphs(self.figure) if few else _Picture(self.figure)
        self._add_mark()
        self.draw()
        for one in self.axes.values():
            one.on_change("value", changed(self.draw))
        self.figure.on_event(SelectionGeometry, self._brushed)
        self.figure.on_event(Tap, self._tapped)
        self.figure.on_event(Reset, lambda _: session.brush(None))
        session.on("picked", self._mark)
        session.on("answered", self._mark)
        session.on("brushed", self._show)
        session.on("class", self.draw)
        chosen = row(*self.axes.values(), sizing_mode="stretch_width")
        head = text(f"<h2>The data</h2><p class='soft'>{_HINT}</p>")
        self.layout = column(head, chosen, self.figure, self.legend, sizing_mode="stretch_width")

    def _add_mark(self) -> None:
        from bokeh.models import ColumnDataSource

        self.mark = ColumnDataSource({"x": [], "y": []}, name="mark")
        self.figure.line("x", "y", source=self.mark, line_color=INK, line_width=1.5, line_dash=[4, 3])
        self.figure.scatter("x", "y", source=self.mark, size=13, fill_color=None, line_color=INK, line_width=2.5)

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
        colours = self._coloured(explorer.column(self.axes["colour"].value, which))
        self.points.set(self.at["x"], self.at["y"], colours)
        self._show()
        self._mark()

    def _named(self, name: str) -> str:
        """The name of a column, and of the class whose probability it is."""
        classes = self.session.explorer.classes
        return f"{name}: {classes[self.session.which]}" if classes and name.startswith("answer") else name

    def _coloured(self, column: np.ndarray) -> np.ndarray:
        """A colour for each observation, (rows, 3) bytes; the legend says which is what."""
        from bokeh.palettes import Viridis256

        values, codes = np.unique(column, return_inverse=True)
        title = escaped(self._named(self.axes["colour"].value))
        few = len(CATEGORIES)
        if len(values) <= few or column.dtype.kind not in "fiub":
            keys = (
                f"<span class='key' style='background: {colour}'></span>{escaped(value)}"
                for value, colour in zip(values[:few].tolist(), CATEGORIES, strict=False)
            )
            more = " …" if len(values) > few else ""
            self.legend.text = f"<span class='soft'>{title}</span>{''.join(keys)}{more}"
            return np.stack([rgb(colour) for colour in CATEGORIES])[codes % few].astype(np.uint8)
        low, high = float(np.nanmin(column)), float(np.nanmax(column))
        ramp = f"<span class='ramp' style='background: linear-gradient(90deg, {', '.join(Viridis256[::32])})'></span>"
        self.legend.text = f"<span class='soft'>{title}</span> &nbsp;{number(low)}{ramp}{number(high)}"
        share = np.nan_to_num((column.astype(np.float64) - low) / (high - low))
        return np.stack([rgb(colour) for colour in Viridis256])[(255 * share).astype(int)].astype(np.uint8)

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

    def _show(self) -> None:
        self.points.show(self.session.brushed)

    def _mark(self) -> None:
        """A ring around the picked one, and a line to where it went."""
        row = self.session.picked
        there = [float(self.at[axis][row]) for axis in ("x", "y")]
        went = [self.session.now(self.axes[axis].value) for axis in ("x", "y")]
        went = [old if new is None else new for old, new in zip(there, went, strict=True)]
        self.mark.data = {"x": [there[0], went[0]], "y": [there[1], went[1]]}


_OURS = ("answer", "predicted", "right", "target", "error", "difference")


def _colour(names: list[str]) -> str:
    return next((name for name in ("target", "predicted") if name in names), names[0])


class _Glyphs:
    """Points that the browser draws by itself."""

    def __init__(self, figure: Any):
        from bokeh.models import ColumnDataSource

        self.every: Any = ColumnDataSource({"x": [], "y": [], "colour": []}, name="points")
        self.chosen: Any = ColumnDataSource({"x": [], "y": [], "colour": []}, name="chosen")
        style: dict[str, Any] = {"size": 6, "fill_color": "colour", "line_color": None}
        self.base = figure.scatter("x", "y", source=self.every, fill_alpha=FULL, **style)
        figure.scatter("x", "y", source=self.chosen, fill_alpha=0.9, **style)

    def set(self, x: np.ndarray, y: np.ndarray, colours: np.ndarray) -> None:
        """Draw points, (points,), in colours (points, 3)."""
        names = np.array([f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours.tolist()])
        self.every.data = {"x": x, "y": y, "colour": names}

    def show(self, brushed: np.ndarray | None) -> None:
        """Dim all but some."""
        self.base.glyph.fill_alpha = FULL if brushed is None else DIM
        self.chosen.data = {k: v[:0] if brushed is None else v[brushed] for k, v in self.every.data.items()}


class _Picture:
    """Points that are painted here, anew for each part that a person looks at."""

    def __init__(self, figure: Any):
        from bokeh.events import RangesUpdate
        from bokeh.models import ColumnDataSource

        self.figure = figure
        self.source = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []}, name="points")
        figure.image_rgba("image", x="x", y="y", dw="dw", dh="dh", source=self.source)
        figure.on_event(RangesUpdate, lambda _: self.show(self.brushed))
        figure.on_change("inner_width", self._resized)
        figure.on_change("inner_height", self._resized)
        self.brushed: np.ndarray | None = None
        self.size = {"inner_width": 640, "inner_height": 340}  # until the browser has said how large it is

    def _resized(self, attr: str, old: Any, new: int) -> None:
        del old
        self.size[attr] = new
        self.show(self.brushed)

    def set(self, x: np.ndarray, y: np.ndarray, colours: np.ndarray) -> None:
        """Paint points, (points,), in colours (points, 3)."""
        self.x, self.y, self.colours = x, y, colours

    def show(self, brushed: np.ndarray | None) -> None:
        """Dim all but some."""
        self.brushed = brushed
        (left, right), (bottom, top) = ((r.start, r.end) for r in (self.figure.x_range, self.figure.y_range))
        picture = painted(
            self.x,
            self.y,
            self.colours,
            brushed,
            (left, right, bottom, top),
            (self.size["inner_width"], self.size["inner_height"]),
        )
        self.source.data = {
            "image": [picture], "x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom],
        }  # fmt: skip
