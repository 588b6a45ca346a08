"""Decisions by slice: thresholds that are moved or chosen, rates, measures of fairness, the confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.core import PhloxError
from phlox.interpret.exploring._probe import NONE
from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring._subject import Subject
from phlox.interpret.exploring.panels._curves import CurvePlots
from phlox.interpret.exploring.panels._style import CATEGORIES, changed, choice, escaped, fill, number, table, text
from phlox.interpret.probing._curves import confusion
from phlox.interpret.probing._rates import ALL, MEASURES, RATES, Fairness, fairness
from phlox.interpret.probing._thresholds import GOALS, choose_thresholds

_MOST = 12  # slices that are shown


class Decisions:
    """What is decided where an answer reaches a threshold, for each slice of the data."""

    def __init__(self, session: Session):
        from bokeh.layouts import column, row
        from bokeh.models import ColumnDataSource, DataTable, Slider, StringEditor, TableColumn

        self.session, explorer = session, session.explorer
        self.thresholds: dict[str, float] = {}
        self.by = choice("slices by", [NONE, *explorer.sliceable], NONE, "slices")
        self.goal = choice("choose thresholds for", [NONE, *GOALS], NONE, "goal")
        self.slider = Slider(
            start=0, end=1, value=0.5, step=0.005, title="threshold of all slices", name="threshold",
            sizing_mode="stretch_width",
        )  # fmt: skip
        self.rates = ColumnDataSource(name="rates")
        names = ("slice", "rows", "threshold", *RATES)
        columns: list[Any] = [TableColumn(field=name, title=name.replace("_", " ")) for name in names]
        columns[2] = TableColumn(field="threshold", title="threshold ✎", editor=StringEditor())
        self.table = DataTable(
            source=self.rates, columns=columns, editable=True, index_position=None, height=130, name="rates table",
            sizing_mode="stretch_width", sortable=False, reorderable=False,
        )  # fmt: skip
        self.counted = text(name="confusion")
        self.curves = CurvePlots()
        self._busy = False
        self.by.on_change("value", changed(self._sliced))
        self.goal.on_change("value", changed(self._chosen))
        self.slider.on_change("value", changed(self._moved))
        self.rates.on_change("data", changed(lambda: session.soon(self._typed)))
        session.on("class", self._sliced)
        self._sliced()
        words = (
            "A row counts as the class from a threshold on. Move it for all, type one into a slice, or choose a goal."
        )
        self.layout = column(
            text(f"<h2>Decisions</h2><p class='soft'>{words}</p>"),
            row(self.by, self.goal, self.slider, sizing_mode="stretch_width"),
            self.table,
            self.counted, self.curves.layout, sizing_mode="stretch_width",
        )  # fmt: skip

    # --- what a person does ----------------------------------------------------------------------

    def _sliced(self) -> None:
        """Slice anew, with one threshold for all."""
        explorer = self.session.explorer
        every = np.full(explorer.observations.count, ALL)
        self.slices = every if self.by.value == NONE else explorer.slices(self.by.value)
        self.thresholds = dict.fromkeys(np.unique(self.slices).tolist(), float(self.slider.value))
        self.goal.value = NONE
        self.curves.ask(self.session, self._scores(), self._positive(), self.slices)
        self.show()

    def _moved(self) -> None:
        if not self._busy:
            self._set(dict.fromkeys(self.thresholds, float(self.slider.value)))

    def _chosen(self) -> None:
        if self.goal.value == NONE:
            return
        try:
            found = choose_thresholds(self._scores()[0], self._positive(), self.slices, goal=self.goal.value)
        except PhloxError as error:
            self.session.say(str(error))
            return
        self._set({name: float(np.clip(value, 0, 1)) for name, value in found.items()}, keep_goal=True)

    def _typed(self) -> None:
        """Read thresholds that were typed; nothing is new where the page set the cells."""
        names = list(self.thresholds)[:_MOST]
        try:
            typed = {name: float(value) for name, value in zip(names, self.rates.data["threshold"], strict=True)
                     if str(value) != number(self.thresholds[name])}  # fmt: skip
        except ValueError:
            self.session.say("a threshold expects a number from 0 to 1\n  fix: type one, such as 0.5")
            self.show()
            return
        if typed:
            self._set(self.thresholds | typed)

    def _set(self, thresholds: dict[str, float], keep_goal: bool = False) -> None:
        self.thresholds = thresholds
        if not keep_goal:
            self.goal.value = NONE
        if len(set(thresholds.values())) == 1:
            self._busy = True
            self.slider.value = next(iter(thresholds.values()))
            self._busy = False
        self.show()

    # --- what is shown of it ---------------------------------------------------------------------

    def _scores(self) -> list[np.ndarray]:
        return [subject.score(self.session.which) for subject in self.session.explorer.subjects]

    def _positive(self) -> np.ndarray:
        codes = self.session.explorer.codes
        assert codes is not None
        return codes == self.session.which

    def show(self) -> None:
        """Count, and show."""
        subjects, positive = self.session.explorer.subjects, self._positive()
        found = [fairness(s, positive, self.slices, thresholds=self.thresholds) for s in self._scores()]
        first, shown = found[0], slice(0, _MOST)
        rates = {name: [f"{value:.3f}" for value in values[shown]] for name, values in first.rates().items()}
        self.table.height = 36 + 26 * min(len(first.slices), _MOST)
        fill(self.table, {
            "slice": list(map(str, first.slices[shown])), "rows": [f"{n:g}" for n in first.count[shown]],
            "threshold": [number(t) for t in first.thresholds[shown]], **rates,
        })  # fmt: skip
        matrices = [self._confusion(s, f) for s, f in zip(subjects, found, strict=True)]
        parts = [self._measures(found), *matrices]
        self.counted.text = "<div class='side'>" + "".join(f"<div>{part}</div>" for part in parts) + "</div>"
        self.curves.mark(found)

    def _confusion(self, subject: Subject, found: Fairness) -> str:
        """Of two classes by the thresholds, of several by the likeliest."""
        explorer = self.session.explorer
        names = [name[:14] for name in explorer.classes]
        head = f"<p><b>{escaped(subject.name)}</b>: rows are what is, columns what is called</p>"
        if len(explorer.classes) == 2:
            cells = [[found.true_negative.sum(), found.false_positive.sum()],
                     [found.false_negative.sum(), found.true_positive.sum()]]  # fmt: skip
            matrix = np.array(cells if self.session.which == 1 else [row[::-1] for row in cells[::-1]]).astype(int)
        elif len(explorer.classes) <= _MOST:
            matrix = confusion(subject.predicted, explorer.codes, len(explorer.classes)).astype(int)
        else:
            return ""
        rows = [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
        return head + table(["", *names], rows)

    def _measures(self, found: list[Fairness]) -> str:
        """The share of right decisions, and what compares slices where there are several."""
        explorer = self.session.explorer
        keys = [""] if len(found) == 1 else [subject.name for subject in explorer.subjects]
        right = [(f.true_positive + f.true_negative).sum() / f.count.sum() for f in found]
        name = escaped(explorer.classes[self.session.which])
        rows = [["right decisions", *(f"{value:.3f}" for value in right)]]
        head = f"<p><b>{name}, or not</b></p>"
        if len(found[0].slices) == 1:
            return head + table(["", *keys], rows)
        rows += [[name.replace("_", " "), *(f"{f.measures()[name]:.3f}" for f in found)] for name in MEASURES]
        keyed = zip(found[0].slices[:_MOST], (*CATEGORIES, *CATEGORIES), strict=False)
        dots = (f"<span class='key' style='background: {colour}'></span>{escaped(one)}" for one, colour in keyed)
        return head + table(["", *keys], rows) + f"<p>{''.join(dots)}</p>"
