"""Ways to change an observation: cells and a slider for a row, squares that cover a picture, a box for a text."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.core import PhloxError
from phlox.interpret.exploring._observations import Pictures, Rows, Texts
from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._style import canvas, changed, choice, escaped, fill, text


def editor_of(session: Session) -> Any:
    """What changes an observation of this kind."""
    return {"rows": RowEditor, "pictures": PictureEditor, "texts": TextEditor}[session.explorer.observations.kind](
        session
    )


class RowEditor:
    """A table of the features with cells to type in, and a slider for one of them."""

    def __init__(self, session: Session):
        from bokeh.layouts import column, row
        from bokeh.models import ColumnDataSource, DataTable, Slider, StringEditor, TableColumn

        self.session = session
        observations = session.explorer.observations
        assert isinstance(observations, Rows)
        self.rows = observations
        self.nearest: int | None = None
        self.cells = ColumnDataSource(name="cells")
        columns = [
            TableColumn(field="feature", title="feature", width=150),
            TableColumn(field="value", title="value ✎", editor=StringEditor(), width=90),
            TableColumn(field="original", title="in the data", width=90),
            TableColumn(field="nearest", title="nearest otherwise", width=110),
        ]
        self.table = DataTable(
            source=self.cells, columns=columns, editable=True, index_position=None, height=250, name="table",
            sizing_mode="stretch_width", sortable=False, reorderable=False,
        )  # fmt: skip
        self._fill()
        names = [name for name, c in self.rows.columns.items() if c.dtype.kind in "fiub"]
        self.feature = choice("feature", names or ["—"], names[0] if names else "—", "feature", visible=bool(names))
        self.slider = Slider(start=0, end=1, value=0, step=0.01, title="value", sizing_mode="stretch_width",
                             name="slider", visible=bool(names), format="0[.][0000]")  # fmt: skip
        self._busy = False
        self.cells.on_change("data", changed(lambda: session.soon(self._typed)))
        self.feature.on_change("value", changed(self._set_slider))
        self.slider.on_change("value", changed(self._slid))
        session.on("picked", self._picked)
        self._set_slider()
        self.layout = column(
            self.table, row(self.feature, self.slider, sizing_mode="stretch_width"), sizing_mode="stretch_width"
        )

    def beside(self, row: int | None) -> None:
        """Show another observation beside the picked one."""
        self.nearest = row
        self._fill()

    def _picked(self) -> None:
        self.nearest = None
        self._fill()
        self._set_slider()

    def _fill(self) -> None:
        original = self.rows.one(self.session.picked)
        other = None if self.nearest is None else self.rows.one(self.nearest)
        shown = [_shown(self.session.edited[name]) for name in original]
        beside = ["" if other is None or other[n] == original[n] else _shown(other[n]) for n in original]
        fill(self.table, {
            "feature": list(original), "value": shown, "original": [_shown(v) for v in original.values()],
            "nearest": beside,
        })  # fmt: skip

    def _typed(self) -> None:
        """Read what was typed; what is no number is told, and put back. Nothing is new where the page set the cells."""
        changed = dict(self.session.edited)
        try:
            for name, value in zip(changed, self.cells.data["value"], strict=True):
                if str(value) != _shown(changed[name]):
                    changed[name] = self.rows.read(name, value)
        except PhloxError as error:
            self.session.say(str(error))
            self._fill()
            return
        if changed != self.session.edited:
            self.session.edit(changed)
            self._fill()
            self._set_slider()

    def _set_slider(self) -> None:
        name = self.feature.value
        if name not in self.rows.columns:
            return
        column, value = self.rows.columns[name].astype(np.float64), float(self.session.edited[name])
        low, high = float(np.nanmin(column)), float(np.nanmax(column))
        whole = self.rows.columns[name].dtype.kind in "iub"
        self._busy = True
        self.slider.update(
            start=min(low, value), end=max(high, value) if high > low else low + 1,
            step=1 if whole else (high - low) / 200 or 0.01, value=value, title=name,
        )  # fmt: skip
        self._busy = False

    def _slid(self) -> None:
        if self._busy:
            return
        self.session.edit({**self.session.edited, self.feature.value: float(self.slider.value)})
        self._fill()


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class PictureEditor:
    """The picture; a click covers a square of it."""

    def __init__(self, session: Session):
        from bokeh.events import Tap
        from bokeh.layouts import column, row
        from bokeh.models import ColumnDataSource

        self.session = session
        observations = session.explorer.observations
        assert isinstance(observations, Pictures)
        self.pictures = observations
        shape = observations.pixels.shape[1:]
        self.source = ColumnDataSource({"image": []}, name="picture")
        self.other = ColumnDataSource({"image": []}, name="other picture")
        self.figure = canvas(self.source, shape, name="canvas", title="picked ✎", toolbar_location=None)
        beside = canvas(self.other, shape, name="beside", title="nearest otherwise", toolbar_location=None)
        self.figure.on_event(Tap, self._covered)
        session.on("picked", self._picked)
        session.on("edited", self.draw)
        self.draw()
        hint = text("<p class='soft'>Click the picture to cover a square of it.</p>")
        self.layout = column(hint, row(self.figure, beside), sizing_mode="stretch_width")

    def draw(self) -> None:
        """Show the picture as it is now."""
        self.source.data = {"image": [packed(self.pictures.shown(self.session.edited))]}

    def beside(self, row: int) -> None:
        """Show another observation beside the picked one."""
        self.other.data = {"image": [packed(self.pictures.shown(self.pictures.one(row)))]}

    def _picked(self) -> None:
        self.other.data = {"image": []}
        self.draw()

    def _covered(self, event: Any) -> None:
        if 0 <= event.x <= 1 and 0 <= event.y <= 1:
            self.session.edit(self.pictures.covered(self.session.edited, event.x, 1 - event.y))


def packed(colours: np.ndarray) -> np.ndarray:
    """Bytes (height, width, 4) as Bokeh draws them: whole numbers of 32 bits, from below."""
    return np.ascontiguousarray(colours[::-1]).view(np.uint32)[..., 0]


class TextEditor:
    """The text in a box to type in."""

    def __init__(self, session: Session):
        from bokeh.layouts import column
        from bokeh.models import TextAreaInput

        self.session = session
        assert isinstance(session.explorer.observations, Texts)
        self.box = TextAreaInput(
            value=session.edited, title="text ✎", rows=6, sizing_mode="stretch_width", name="text", max_length=100_000
        )
        self.near = text()
        self.box.on_change("value", changed(self._typed))
        session.on("picked", self._picked)
        self.layout = column(self.box, self.near, sizing_mode="stretch_width")

    def beside(self, row: int) -> None:
        """Show another observation beside the picked one."""
        self.near.text = f"<p class='soft'>{escaped(self.session.explorer.observations.one(row))}</p>"

    def _picked(self) -> None:
        self.near.text = ""
        self.box.value = self.session.edited

    def _typed(self) -> None:
        if self.box.value != self.session.edited:
            self.session.edit(self.box.value)
