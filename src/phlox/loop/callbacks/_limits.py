"""Ends of training that are not a number of epochs: a time limit, and a loss that is no number."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from phlox.core import RangeError
from phlox.loop.callbacks._callback import Callback

if TYPE_CHECKING:
    from phlox.loop._run import Run


class TimeLimit(Callback):
    """Ends training after a time; what was trained before a resume counts.

    The clock is looked at after each chunk of steps. The epoch is closed as usual, validation included.

    Arguments:
        limit: seconds, or a ``datetime.timedelta``, above 0.

    Raises:
        RangeError: a limit that is no time, or not above 0.

    >>> from datetime import timedelta
    >>> import phlox as px
    >>> px.TimeLimit(timedelta(minutes=2)).seconds
    120.0
    """

    seconds: float

    def __init__(self, limit: float | timedelta):
        seconds = limit.total_seconds() if isinstance(limit, timedelta) else limit
        if not isinstance(seconds, (int, float, np.number)) or isinstance(seconds, bool) or not seconds > 0:
            fix = "give for example 3600, or datetime.timedelta(hours=1)"
            what = "a limit in seconds, or a timedelta, above 0"
            raise RangeError(what, got=repr(limit), fix=fix, where="TimeLimit")
        self.seconds = float(seconds)

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_step_end(self, run: Run) -> None:
        if run.seconds >= self.seconds:
            run.stop(f"time limit of {self.seconds:g} s", alone=True)

    def on_epoch_end(self, run: Run) -> None:
        self.on_step_end(run)

    def steps_until(self, run: Run) -> int | None:
        return None  # the engine's chunks are short enough
