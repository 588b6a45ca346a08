"""Errors of models that answer with numbers, by slice."""

from __future__ import annotations

import numpy as np

from phlox.interpret.exploring._probe import NONE
from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._style import changed, choice, number, table, text
from phlox.interpret.probing._rates import ALL


class Errors:
    """How far answers are from what is right."""

    def __init__(self, session: Session):
        from bokeh.layouts import column

        self.session = session
        self.by = choice("slices by", [NONE, *session.explorer.sliceable], NONE, "slices")
        self.said = text(name="errors")
        self.by.on_change("value", changed(self.show))
        self.show()
        self.layout = column(text("<h2>Errors</h2>"), self.by, self.said, sizing_mode="stretch_width")

    def show(self) -> None:
        """Count, and show."""
        explorer = self.session.explorer
        target = np.asarray(explorer.observations.target, np.float64)
        every = np.full(len(target), ALL)
        slices = every if self.by.value == NONE else explorer.slices(self.by.value)
        rows = []
        for subject in explorer.subjects:
            for name in np.unique(slices).tolist():
                error, truth = (a[slices == name] for a in (subject.scores - target, target))
                spread = float(((truth - truth.mean()) ** 2).sum())
                r2 = number(1 - float((error**2).sum()) / spread) if spread > 0 else "—"
                measured = (np.abs(error).mean(), np.sqrt((error**2).mean()), error.mean())
                rows.append([subject.name, name, len(error), *(number(float(m)) for m in measured), r2])
        head = ["model", "slice", "rows", "mean absolute error", "root mean squared", "mean error", "R²"]
        self.said.text = table(head, rows)
