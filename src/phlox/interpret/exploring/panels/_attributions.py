"""What made the model answer so: bars of features, a picture in colours, words in colours."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interpret.exploring._attributing import Parts, attributed, methods
from phlox.interpret.exploring._observations import Pictures, Texts
from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._editing import packed
from phlox.interpret.exploring.panels._style import (
    ACCENT,
    OTHER,
    canvas,
    changed,
    choice,
    escaped,
    number,
    plot,
    rgb,
    text,
)

_MOST = 12  # features that are shown


class Attributions:
    """The attributions of the picked observation, as it is changed."""

    def __init__(self, session: Session):
        from bokeh.layouts import column

        self.session, explorer = session, session.explorer
        self.subject = explorer.subjects[0]
        ways = methods(self.subject, explorer.observations)
        self.method = choice("by", ways or ["—"], (ways or ["—"])[0], "method")
        self.said = text(name="attributed")
        self.drawing = {Pictures: _Picture, Texts: _Words}.get(type(explorer.observations), _Bars)(session)
        head = text("<h2>What made it answer so</h2>")
        if not ways:
            note = "Attributions of pictures follow a Module that reads them as they are: leave prepare= out."
            self.layout = column(head, text(f"<p class='soft'>{note}</p>"), sizing_mode="stretch_width")
            return
        self.method.on_change("value", changed(self.ask))
        for event in ("picked", "edited", "class"):
            session.on(event, self.ask)
        self.ask()
        self.layout = column(head, self.method, self.said, self.drawing.layout, sizing_mode="stretch_width")

    def ask(self) -> None:
        """Have it worked out anew."""
        session, method = self.session, self.method.value
        one, which = session.edited, session.which
        self.session.ask(
            "attributions",
            lambda: attributed(self.subject, session.explorer.observations, one, which, method),
            self._show,
        )

    def _show(self, parts: Parts) -> None:
        self.drawing.show(parts)
        total = number(float(parts.values.sum()))
        self.said.text = f"<p class='soft'>Against {escaped(parts.against)}; all together {total}.</p>"


class _Bars:
    """Features by how much they did."""

    def __init__(self, session: Session):
        from bokeh.models import ColumnDataSource, FactorRange, SaveTool

        del session
        self.source = ColumnDataSource({"name": [], "value": [], "colour": []}, name="attributions")
        self.layout = plot(
            290, [SaveTool()], y_range=FactorRange(factors=[]), toolbar_location="right", name="attribution bars"
        )
        self.layout.hbar(y="name", right="value", height=0.7, source=self.source, fill_color="colour", line_color=None)
        self.layout.ygrid.visible = False

    def show(self, parts: Parts) -> None:
        """Draw the largest."""
        order = np.argsort(-np.abs(parts.values), kind="stable")[:_MOST][::-1]
        names = [parts.names[i] for i in order]
        values = parts.values[order]
        self.layout.y_range.factors = names
        self.source.data = {
            "name": names, "value": values, "colour": [ACCENT if value >= 0 else OTHER for value in values],
        }  # fmt: skip


class _Picture:
    """The picture in grey, with what spoke for the answer in blue and what spoke against it in orange."""

    def __init__(self, session: Session):
        from bokeh.models import ColumnDataSource, SaveTool

        self.session = session
        observations = session.explorer.observations
        assert isinstance(observations, Pictures)
        self.pictures = observations
        self.source = ColumnDataSource({"image": []}, name="attributions")
        self.layout: Any = canvas(
            self.source, observations.pixels.shape[1:], [SaveTool()], toolbar_location="right",
            name="attribution picture",
        )  # fmt: skip

    def show(self, parts: Parts) -> None:
        """Colour the picture."""
        most = np.percentile(np.abs(parts.values), 99) or 1.0
        share = np.clip(np.abs(parts.values) / most, 0, 1)[..., None]
        colours = np.where(parts.values[..., None] >= 0, rgb(ACCENT), rgb(OTHER))
        grey = self.pictures.shown(self.session.edited)[..., :3].mean(-1, keepdims=True) * 0.4 + 140
        mixed = grey * (1 - share) + colours * share
        alpha = np.full((*mixed.shape[:2], 1), 255)
        self.source.data = {"image": [packed(np.concatenate([mixed, alpha], -1).astype(np.uint8))]}


class _Words:
    """The text, each word in a colour."""

    def __init__(self, session: Session):
        del session
        self.layout = text(name="words")

    def show(self, parts: Parts) -> None:
        """Colour the words."""
        most = float(np.abs(parts.values).max(initial=0)) or 1.0
        spans = []
        for word, value in zip(parts.names, parts.values, strict=True):
            red, green, blue = rgb(ACCENT if value >= 0 else OTHER)
            colour = f"rgba({red}, {green}, {blue}, {0.75 * abs(float(value)) / most:.3f})"
            spans.append(f"<mark style='background: {colour}' title='{number(float(value))}'>{escaped(word)}</mark>")
        self.layout.text = f"<p style='font-size: 15px; line-height: 1.8'>{' '.join(spans)}</p>"
