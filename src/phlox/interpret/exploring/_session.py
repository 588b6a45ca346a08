"""What one visitor looks at, and who wants to know when it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from phlox.core import PhloxError
from phlox.interpret.exploring._observations import Rows
from phlox.interpret.exploring._probe import Probe

EVENTS = ("picked", "edited", "answered", "brushed", "class", "status")


class Session:
    """One visitor's state. Parts of the page change it by its methods, and hear of changes by ``on``.

    Arguments:
        explorer: what is probed.
        later: does something under the page's lock, from another thread.
    """

    explorer: Probe
    picked: int  # the number of an observation
    edited: Any  # the same, as it has been changed
    answered: list[np.ndarray]  # what each model says to it: (classes,) probabilities, or () a number
    which: int  # the class whose probability is shown
    brushed: np.ndarray | None  # (rows,) booleans; None where there is no brush
    status: str

    def __init__(self, explorer: Probe, later: Callable[[Callable[[], Any]], Any]):
        self.explorer, self._later = explorer, later
        self._heard: dict[str, list[Callable[[], None]]] = {event: [] for event in EVENTS}
        self.which = 1 if len(explorer.classes) == 2 else 0
        self.picked, self.brushed, self.status = 0, None, "ready"
        self.edited, self.answered = explorer.observations.one(0), self.before(0)
        self._asked = 0

    def on(self, event: str, hear: Callable[[], None]) -> None:
        """Call a function whenever something changes."""
        self._heard[event].append(hear)

    def _tell(self, event: str) -> None:
        for hear in self._heard[event]:
            hear()

    def pick(self, row: int) -> None:
        """Look at another observation, as it is."""
        self.picked, self.edited = row, self.explorer.observations.one(row)
        self.answered = self.before(row)
        self._tell("picked")

    def edit(self, changed: Any) -> None:
        """Look at the picked observation as it would be otherwise."""
        self.edited = changed
        self._tell("edited")
        explorer = self.explorer

        def job() -> list[np.ndarray]:
            x = explorer.observations.inputs(explorer.observations.some([changed]))
            return [subject.ask(x)[0] for subject in explorer.subjects]

        self.ask("answers", job, self._answer)

    def _answer(self, answered: list[np.ndarray]) -> None:
        self.answered = answered
        self._tell("answered")

    def before(self, row: int) -> list[np.ndarray]:
        """What the models say to an observation as it is."""
        return [subject.scores[row] for subject in self.explorer.subjects]

    def now(self, name: str) -> float | None:
        """Where the changed observation stands in a column that can be drawn; None where it stands as before."""
        observations = self.explorer.observations
        if isinstance(observations, Rows) and name in observations.columns:
            value = self.edited[name]
            return (
                float(value)
                if not isinstance(value, str) and value != observations.columns[name][self.picked]
                else None
            )
        answers = [n for n in self.explorer.names if n.startswith("answer")]
        if name not in answers:
            return None
        found = self.answered[answers.index(name)]
        return float(found[self.which] if self.explorer.classes else found)

    def brush(self, rows: np.ndarray | None) -> None:
        """Look at some of the observations."""
        self.brushed = rows
        self._tell("brushed")

    def choose(self, which: int) -> None:
        """Look at the probability of another class."""
        self.which = which
        self._tell("class")

    def say(self, status: str) -> None:
        """Tell what goes on."""
        self.status = status
        self._tell("status")

    def soon(self, then: Callable[[], Any]) -> None:
        """Do something once what is heard of now is over: a table's cells cannot be set while one is read."""
        self._later(then)

    def ask(self, key: str, job: Callable[[], Any], show: Callable[[Any], None]) -> None:
        """Have the worker do a job, and show what came of it; an error is told on the page."""
        self._asked += 1
        self.say("computing")

        def shown(result: Any, error: BaseException | None) -> None:
            self._asked -= 1
            if error is not None:
                self.say(_in_words(error))
                return
            show(result)
            self.say("ready" if not self._asked else "computing")

        def dropped() -> None:
            self._asked -= 1

        self.explorer.worker.ask(
            (id(self), key), job, lambda result, error: self._later(lambda: shown(result, error)), dropped
        )


def _in_words(error: BaseException) -> str:
    return str(error) if isinstance(error, PhloxError) else f"the model failed: {type(error).__name__}: {error}"
