"""When a worker that ended is started again, and when no longer."""

from __future__ import annotations

import time
from collections.abc import Callable

_FIRST, _FACTOR, _LONGEST = 0.1, 4.0, 30.0  # seconds of the pause before a start; by what the next one is longer
_STEADY = 60.0  # seconds that a worker has to serve, so that what was before it does not count


class Restarts:
    """The pause before each start of one worker, longer each time that it ends again soon.

    Arguments:
        most: how often in a row it may end without having served for a minute.
        clock: seconds.

    >>> restarts = Restarts(3, clock=lambda: 0.0)
    >>> [restarts.pause() for _ in range(3)]
    [0.1, 0.4, None]
    """

    most: int

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic):
        self.most, self._clock, self._ended = most, clock, 0
        self._since: float | None = None

    def serves(self) -> None:
        """It serves now."""
        if self._since is None:
            self._since = self._clock()

    def pause(self) -> float | None:
        """It has ended: the seconds before it is started again; None for no more."""
        steady = self._since is not None and self._clock() - self._since >= _STEADY
        self._ended, self._since = 1 if steady else self._ended + 1, None
        if self._ended >= self.most:
            return None
        return min(_FIRST * _FACTOR ** (self._ended - 1), _LONGEST)
