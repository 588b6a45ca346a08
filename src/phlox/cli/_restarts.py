"""When processes that ended badly are started again, and after which pause."""

from __future__ import annotations

from typing import NamedTuple

_FIRST, _LONGEST = 1.0, 60.0  # seconds of the pause before a start
_ELSEWHERE = 70  # the status of a process that ends because another one is gone, or hangs
_SIGNALS = 128  # from here on, less this, the number of a signal


class End(NamedTuple):
    """How all ended: the status of the first that ended badly, and the furthest step; None where nobody took one."""

    status: int
    step: int | None

    @property
    def by_error(self) -> bool:
        """Whether the program ended by an error of its own, and nobody from outside ended it."""
        return self.status < _SIGNALS and self.status != _ELSEWHERE


class Restarts:
    """So many starts behind the first, with a pause that grows as long as no start gets further than all before it.

    An error of the program's own that comes twice in a row, with one status at one step, would come a third time: then
    no start follows. A kill, a loss and a notice of preemption may come wherever they like.

    Arguments:
        most: how many.

    >>> policy = Restarts(3)
    >>> policy.behind(End(137, 12))
    (1.0, 'starting all again in 1 s, 1 of 3; step 12 was reached')
    >>> policy.behind(End(137, 12))
    (2.0, 'starting all again in 2 s, 2 of 3; step 12 was reached')
    """

    most: int

    def __init__(self, most: int):
        self.most, self.count = most, 0
        self._last: End | None = None
        self._furthest = -1
        self._pause = _FIRST

    def behind(self, end: End) -> tuple[float | None, str]:
        """The pause before the next start, None where none follows, and what to say."""
        at = "before a step was taken" if end.step is None else f"at step {end.step}"
        if end.by_error and end == self._last:
            return None, f"not started again: status {end.status} came twice in a row {at}, and would come again"
        if self.count == self.most:
            return None, f"not started again: {self.most} restart{'' if self.most == 1 else 's'} are used up"
        got_further = end.step is not None and end.step > self._furthest
        self._pause = _FIRST if got_further or self._last is None else min(2 * self._pause, _LONGEST)
        self._furthest = max(self._furthest, -1 if end.step is None else end.step)
        self._last, self.count = end, self.count + 1
        reached = "no step was taken" if end.step is None else f"step {end.step} was reached"
        return self._pause, f"starting all again in {self._pause:.0f} s, {self.count} of {self.most}; {reached}"
