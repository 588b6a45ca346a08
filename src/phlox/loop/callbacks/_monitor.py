"""The number that a callback watches, and whether it is better than the best so far."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from phlox.core import RangeError, StructureError, describe
from phlox.loop.callbacks._direction import mode_of

if TYPE_CHECKING:
    from phlox.loop._run import Run


class Monitor:
    """The name of a logged number, and what counts as better.

    Arguments:
        name: of the number in ``run.logs``.
        mode: ``"min"``, ``"max"``, or ``"auto"``: told from the name.
        min_delta: by more than how much a number must be better, at least 0.
        where: the callback that speaks in errors.

    Raises:
        RangeError: another mode, a name that tells none, a negative ``min_delta``.

    >>> loss = Monitor("loss", "auto", 0.1, "EarlyStopping")
    >>> loss.better(0.85, 1.0), loss.better(0.95, 1.0), loss.better(float("nan"), 1.0), loss.better(7.0, None)
    (True, False, False, True)
    """

    name: str
    where: str
    min_delta: float
    mode: str

    def __init__(self, name: str, mode: str, min_delta: float, where: str):
        if mode not in ("auto", "min", "max"):
            raise RangeError('mode "auto", "min" or "max"', got=repr(mode), fix="choose one of these", where=where)
        if not min_delta >= 0:
            raise RangeError("min_delta of at least 0", got=repr(min_delta), fix="give its size", where=where)
        self.name, self.where, self.min_delta = name, where, float(min_delta)
        self.mode = mode_of(name, where) if mode == "auto" else mode

    def better(self, value: float, best: float | None) -> bool:
        """Whether a number is better than the best so far, None being none yet; NaN and infinity never are."""
        if not math.isfinite(value) or best is None:
            return math.isfinite(value)
        gain = best - value if self.mode == "min" else value - best
        return gain > self.min_delta

    def read(self, run: Run) -> float | None:
        """The number, where it was logged since callbacks last looked; else None.

        Raises:
            StructureError: an epoch is over and nothing of this name is logged; or what is logged is no number.
        """
        if self.name in run.fresh:
            return self._number(run.logs[self.name])
        if self.name in run.logs or not run.epoch_over or (self.name.startswith("val_") and run.validation is not None):
            return None
        raise self._unknown(set(run.history.epochs[-1]))

    def _number(self, value: Any) -> float:
        if np.ndim(value) == 0:
            return float(value)
        raise StructureError(
            f"a number logged as {self.name!r}", got=describe(value), fix="choose a monitor that is one number",
            where=self.where,
        )  # fmt: skip

    def check(self, run: Run) -> None:
        """Refuse, before training, a name that no epoch will have, as far as that is known.

        Raises:
            StructureError: see above.
        """
        of_validation = self.name.startswith("val_") and run.validation is None
        if of_validation or (run.names is not None and self.name not in run.names):
            raise self._unknown(run.names or {"loss"})

    def _unknown(self, names: set[str]) -> StructureError:
        names = names - {"epoch", "step"}
        near = difflib.get_close_matches(self.name, names, 1, cutoff=0.4) or sorted(names)[:1]
        return StructureError(
            f"a logged {self.name!r}",
            got=", ".join(sorted(names)) or "nothing logged",
            fix="pass validation_data to px.fit"
            if self.name.startswith("val_") and not any(name.startswith("val_") for name in names)
            else f"choose one of these as monitor, such as {near[0]!r}, or pass what measures it as metrics=",
            where=self.where,
        )
