"""Stopping when a number no longer improves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from phlox.core import RangeError, load_state_dict, state_dict
from phlox.loop.callbacks._callback import Callback
from phlox.loop.callbacks._monitor import Monitor

if TYPE_CHECKING:
    from phlox.loop._run import Run


class EarlyStopping(Callback):
    """Ends training when a number has not improved for some epochs.

    An epoch improves when its number is better than the best so far by more than ``min_delta``; NaN and infinity never
    are. After ``patience`` epochs in a row that do not, training ends. Where the number comes from validation, epochs
    without one are passed over, and validations inside an epoch, as ``px.fit(steps=…, validation_every=…)`` has them,
    count as epochs do.

    Arguments:
        monitor: the name of the number in ``run.logs``.
        patience: how many epochs in a row without an improvement end training, at least 1.
        min_delta: by more than how much a number must be better, at least 0.
        mode: ``"min"`` or ``"max"``; ``"auto"`` tells it from the name, and refuses a name that tells nothing.
        restore_best: give the model, when ``fit`` ends, the arrays of its best epoch, State included. An interruption
            leaves the model as it is, so that training can go on.
        baseline: a number that an epoch must beat to be the first best.

    Attributes:
        best, best_epoch: the best number so far and its epoch from 0, or None.

    Raises:
        RangeError: an argument outside its range.
        StructureError: where nothing of this name is logged: before training as far as that is known, else at the
            end of the first epoch.

    Source: Prechelt, "Early stopping, but when?", 1998.

    >>> import phlox as px
    >>> stopping = px.EarlyStopping("val_loss", patience=3, restore_best=True)
    >>> stopping.state()
    {'best': None, 'best_epoch': None, 'bad': 0}
    """

    order: ClassVar[int] = 10  # behind those that log
    monitor: Monitor
    patience: int
    restore_best: bool
    bad: int

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = False,
        baseline: float | None = None,
    ):
        if not patience >= 1:
            raise RangeError(
                "patience of at least 1", got=repr(patience), fix="give a number of epochs", where="EarlyStopping"
            )
        if baseline is not None and not math.isfinite(baseline):
            raise RangeError(
                "a baseline that is a finite number", got=repr(baseline), fix="leave it out", where="EarlyStopping"
            )
        self.monitor = Monitor(monitor, mode, min_delta, "EarlyStopping")
        self.patience, self.restore_best = patience, restore_best
        self.baseline = baseline
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = self.baseline
        self.best_epoch: int | None = None
        self.bad = 0  # epochs since the best
        self._weights: dict[str, Any] | None = None
        self._failed = False

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def check_run(self, run: Run) -> None:
        self.monitor.check(run)

    def on_fit_start(self, run: Run) -> None:
        self._forget()

    def on_validation_logged(self, run: Run) -> None:
        self.on_epoch_end(run)

    def on_epoch_end(self, run: Run) -> None:
        value = self.monitor.read(run)
        if value is None:
            return
        if self.monitor.better(value, self.best):
            self.best, self.best_epoch, self.bad = value, run.epoch, 0
            self._weights = dict(state_dict(run.model)) if self.restore_best else None
            return
        self.bad += 1
        if self.bad >= self.patience:
            run.stop(self._reason())

    def _reason(self) -> str:
        best = "no number" if self.best is None else f"{self.best:.6g}"
        since = "" if self.best_epoch is None else f" since epoch {self.best_epoch + 1}"
        return f"{self.monitor.name} no better than {best}{since}"

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._failed = True

    def on_fit_end(self, run: Run) -> None:
        if self._weights is not None and not self._failed:
            load_state_dict(run.model, self._weights)

    def state(self) -> dict[str, Any]:
        kept = {} if self._weights is None else {"weights": dict(self._weights)}
        return {"best": self.best, "best_epoch": self.best_epoch, "bad": self.bad, **kept}

    def prepare(self, run: Run, state: dict[str, Any]) -> None:
        self.restore(state)
        if self.bad >= self.patience:  # it had ended the run
            run.stop(self._reason())

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.bad = state["best"], state["best_epoch"], state["bad"]
        self._weights = state.get("weights")
