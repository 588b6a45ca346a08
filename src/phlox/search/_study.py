"""What came of a search: every trial, the best one, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phlox.core import StructureError
from phlox.search._result import DONE, FAILED, PRUNED, RUNNING, TrialResult


class Study:
    """The trials of a search. It prints as a table, the best first.

    Attributes:
        trials: in the order in which they began.
        mode: "min" or "max", which way values are better.
        name: of the study.
        source: that of Optuna behind it, for what has no method here.
    """

    trials: list[TrialResult]
    mode: str
    name: str
    source: Any

    def __init__(self, trials: Sequence[TrialResult], mode: str, name: str = "study", source: Any = None):
        self.trials, self.mode, self.name, self.source = list(trials), mode, name, source

    @property
    def ranked(self) -> list[TrialResult]:
        """The trials that are done, from the best on."""
        done = [trial for trial in self.trials if trial.state == DONE and trial.value is not None]
        return sorted(done, key=lambda trial: (trial.value or 0.0) * (1 if self.mode == "min" else -1))

    @property
    def best(self) -> TrialResult:
        """The best trial that is done; of equals the first.

        Raises:
            StructureError: none is done.
        """
        if not self.ranked:
            states = ", ".join(f"{self.count(state)} {state}" for state in (PRUNED, FAILED, RUNNING)) or "none"
            fix = "look at why trials fail, or let the search go on"
            raise StructureError("a trial that is done", got=states, fix=fix, where=f"Study({self.name!r})")
        return self.ranked[0]

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw values by trial, what trials reported, and values by each setting; write it where a path is given.

        Returns:
            The figure of matplotlib.

        Raises:
            MissingExtraError: matplotlib is not installed.
            StructureError: no trial is done.
        """
        from phlox.search._pictures import plot_trials  # matplotlib is an extra

        return plot_trials(self.trials, self.best, self.mode, path)

    def __repr__(self) -> str:
        states = ", ".join(f"{n} {s}" for s in (DONE, PRUNED, FAILED, RUNNING) if (n := self.count(s)))
        first = f"Study({self.name!r}: {states or 'no trial yet'})"
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.settings))
        rows = [["trial", "value", *names]]
        rows += [[str(t.number), _cell(t.value), *[_cell(t.settings.get(n)) for n in names]] for t in self.ranked[:10]]
        if len(rows) == 1:
            return first
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join([first, *["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in rows]])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else getattr(value, "__name__", None) or str(value)
