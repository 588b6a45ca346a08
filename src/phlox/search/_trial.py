"""One trial of a search, as its objective sees it, and the callback that ends one early."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phlox.core import RangeError
from phlox.loop import Callback, History, Monitor

if TYPE_CHECKING:
    from phlox.loop import Run


class Trial:
    """One trial: what was chosen, by name, and where to report.

    ``trial["rate"]`` is what was chosen for ``rate``, ``dict(trial.settings)`` all of it.

    Attributes:
        number: which it is; a trial that is done again because its process died has the number of the first time.
        settings: what was chosen, by name.
        seed: a whole number of this trial, for ``px.seed`` and ``px.fit``; the same whenever the study is repeated.
        folder: a folder of its own within the ``log_dir`` of the search, None without one.
        pruned: whether it was ended early.
    """

    number: int
    settings: Mapping[str, Any]
    seed: int
    folder: Path | None
    pruned: bool

    def __init__(
        self,
        number: int,
        settings: Mapping[str, Any],
        *,
        seed: int = 0,
        log_dir: Path | None = None,
        report: Callable[[int, float], bool] | None = None,
    ):
        self.number, self.settings, self.seed = number, dict(settings), seed
        self.folder = None if log_dir is None else log_dir / f"trial-{number:04}"
        self.pruned = self.interrupted = False
        self._report = report

    def __getitem__(self, name: str) -> Any:
        """What was chosen.

        Raises:
            RangeError: nothing of this name is searched for.
        """
        if name not in self.settings:
            known = ", ".join(self.settings)
            raise RangeError("the name of a setting", got=repr(name), fix=f"choose among {known}", where="Trial")
        return self.settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def report(self, step: int, value: float) -> bool:
        """Tell how it stands, in a loop of your own; true where it is to end, since others stood better by then."""
        if self._report is not None and not self.pruned:
            self.pruned = self._report(int(step), float(value))
        return self.pruned

    def pruning(self, monitor: str = "val_loss", mode: str = "auto") -> Pruning:
        """The callback for ``px.fit`` that reports a number as it is logged, and ends a training that lags behind.

        Raises:
            RangeError: a mode that is none, or none given for a name that does not tell.
        """
        return Pruning(self, monitor, mode)

    def __repr__(self) -> str:
        return f"Trial({self.number}, {dict(self.settings)})"


class Pruning(Callback):
    """Ends a training that the search finds to lag behind: see ``Trial.pruning``.

    ``px.fit`` then returns the history as usual, with the reason.
    """

    order: ClassVar[int] = 20
    monitor: str

    def __init__(self, trial: Trial, monitor: str, mode: str):
        self.trial, self.monitor = trial, monitor
        self._watched = Monitor(monitor, mode, 0.0, "Pruning")

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def check_run(self, run: Run) -> None:
        self._watched.check(run)

    def on_epoch_end(self, run: Run) -> None:
        self._look(run)

    def on_validation_logged(self, run: Run) -> None:
        self._look(run)

    def on_fit_end(self, run: Run) -> None:
        self.trial.interrupted |= run.interruption.number is not None

    def _look(self, run: Run) -> None:
        value = self._watched.read(run)
        if value is not None and self.trial.report(run.step, value):
            run.stop(f"pruned at step {run.step}: {self.monitor} {value:.4g} lags behind other trials")


def value_of(returned: Any, trial: Trial, monitor: str, mode: str, where: str) -> float | None:
    """What a trial comes to: the number that its objective returned, or the best of a history.

    None where it is no finite number.

    Raises:
        RangeError: the objective returned neither, or a history without the number.
    """
    if isinstance(returned, History):
        return _best_of(returned, trial, monitor, mode, where)
    if not isinstance(returned, Real) and not (hasattr(returned, "dtype") and np.ndim(returned) == 0):
        fix = "return a float, or what px.fit returned"
        got = repr(returned)[:60]
        raise RangeError("an objective that returns a number, or a px.History", got=got, fix=fix, where=where)
    value = float(returned)
    return value if math.isfinite(value) else None


def _best_of(history: History, trial: Trial, monitor: str, mode: str, where: str) -> float | None:
    trial.interrupted |= history.interrupted
    if monitor in history:
        column = [float(v) for v in history[monitor] if math.isfinite(v)]
        return (min if mode == "min" else max)(column) if column else None
    if trial.interrupted or trial.pruned:
        return None
    known = ", ".join(name for name in history.names if name not in ("epoch", "step")) or "none"
    fix = f"pass monitor= with one of these: {known}"
    raise RangeError(f"a history with {monitor!r}", got=f"one with {known}", fix=fix, where=where)
