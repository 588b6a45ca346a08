"""One observation: what the models say to it, as it is in the data and as it was changed."""

from __future__ import annotations

import numpy as np

from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._editing import editor_of
from phlox.interpret.exploring.panels._style import MODELS, changed, choice, escaped, number, text
from phlox.interpret.probing._counterfactual import nearest_counterfactual

_MOST = 4  # classes whose bars are shown


class Picked:
    """The picked observation, what is said to it, and ways to change it."""

    def __init__(self, session: Session):
        from bokeh.layouts import column, row
        from bokeh.models import Button, Spinner

        self.session, explorer = session, session.explorer
        self.editor = editor_of(session)
        last = explorer.observations.count - 1
        self.row = Spinner(title="observation", value=0, low=0, high=last, step=1, width=110, name="row")
        self.which = choice("class", explorer.classes or ["—"], (explorer.classes or ["—"])[session.which], "class",
                            visible=len(explorer.classes) > 0)  # fmt: skip
        self.restore = Button(label="As in the data", width=120, margin=(23, 5, 5, 5), name="restore")
        self.nearest = Button(
            label="Nearest answered otherwise", button_type="primary", width=190, margin=(23, 5, 5, 5), name="nearest"
        )
        self.answers, self.found = text(name="answers"), text(name="counterfactual")
        self.row.on_change("value", changed(self._typed))
        self.which.on_change("value", changed(lambda: session.choose(explorer.classes.index(self.which.value))))
        self.restore.on_click(lambda: session.pick(session.picked))
        self.nearest.on_click(self._find)
        session.on("picked", self._picked)
        session.on("answered", self._show)
        session.on("class", self._show)
        self._show()
        self.layout = column(
            text("<h2>One observation</h2><p class='soft'>Change it, and see the answer move.</p>"),
            row(self.row, self.which, self.restore, self.nearest, sizing_mode="stretch_width"),
            self.answers, self.found, self.editor.layout, sizing_mode="stretch_width",
        )  # fmt: skip

    def _typed(self) -> None:
        row = self.row.value
        if row is not None and int(row) != self.session.picked:
            self.session.pick(int(row))

    def _picked(self) -> None:
        self.row.value = self.session.picked
        self.found.text = ""
        self._show()

    # --- what the models say ---------------------------------------------------------------------

    def _show(self) -> None:
        explorer, session = self.session.explorer, self.session
        target = explorer.observations.target
        truth = ""
        if target is not None:
            right = (
                target[session.picked] if explorer.codes is None else explorer.classes[explorer.codes[session.picked]]
            )
            truth = f"<p>In the data: <b>{escaped(right)}</b></p>"
        parts = []
        before = session.before(session.picked)
        for subject, old, new, colour in zip(explorer.subjects, before, session.answered, MODELS, strict=False):
            said = f"<p><b>{escaped(subject.name)}</b></p>" if len(explorer.subjects) > 1 else ""
            parts.append(said + (self._number(old, new) if subject.numbers else self._bars(old, new, colour)))
        self.answers.text = truth + "".join(parts)

    def _number(self, old: np.ndarray, new: np.ndarray) -> str:
        moved = "" if old == new else f" <span class='soft'>before {number(float(old))}</span>"
        return f"<p style='font-size: 20px'>{number(float(new))}{moved}</p>"

    def _bars(self, old: np.ndarray, new: np.ndarray, colour: str) -> str:
        """Probabilities of the likeliest classes, and of the one that is looked at; a line says what was before."""
        shown = [int(i) for i in np.argsort(-new, kind="stable")[:_MOST]]
        shown += [] if self.session.which in shown else [self.session.which]
        rows = []
        for i in shown:
            bar = f"<i style='width: {new[i]:.1%}; background: {colour}'></i><b style='left: {old[i]:.1%}'></b>"
            before = "" if np.isclose(old[i], new[i], atol=5e-5) else f"<span class='soft'>before {old[i]:.4f}</span>"
            name = escaped(self.session.explorer.classes[i])
            rows.append(
                f"<tr><td>{name}</td><td><div class='bar'>{bar}</div></td><td>{new[i]:.4f}</td><td>{before}</td></tr>"
            )
        return f"<table>{''.join(rows)}</table>"

    # --- the nearest that is answered otherwise --------------------------------------------------

    def _find(self) -> None:
        explorer, row = self.session.explorer, self.session.picked
        subject = explorer.subjects[0]
        apart = float(subject.scores.std()) if subject.numbers else None

        def job() -> object:
            return nearest_counterfactual(explorer.observations.features(), subject.predicted, row, at_least=apart)

        self.session.ask("counterfactual", job, self._show_nearest)

    def _show_nearest(self, found: object) -> None:
        nearest, distance = found.nearest, found.distance  # type: ignore[attr-defined]
        explorer = self.session.explorer
        subject = explorer.subjects[0]
        said = (
            number(float(subject.scores[nearest])) if subject.numbers else explorer.classes[subject.predicted[nearest]]
        )
        self.found.text = (
            f"<p>Nearest answered otherwise: observation <b>{nearest}</b>, <b>{escaped(said)}</b>, at a distance of "
            f"{number(distance)} standard deviations.</p>"
        )
        self.editor.beside(nearest)
