"""When a version that is being tried is bad enough that it is put back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from phlox.core import OptionError

_PARTS = 20  # of a window: what is older leaves it part by part


class Counts(NamedTuple):
    """Answers of a version, those that failed, and those that took too long."""

    answers: int = 0
    errors: int = 0
    slow: int = 0


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Bounds for a version that takes a share of the requests.

    Arguments:
        errors: of its answers the share, from 0 to 1, that may be the server's fault: statuses from 500.
        seconds: within which answers should be there.
        slow: of its answers the share that may take longer than that.
        window: seconds that are looked back.
        requests: answers in the window before it is judged.

    Raises:
        OptionError: neither errors nor seconds, or a number that fits none of this.

    >>> guard = Guard(errors=0.1, seconds=0.5, requests=10)
    >>> guard.verdict(Counts(answers=20, errors=3))
    '15% of 20 answers failed, at most 10% may'
    >>> guard.verdict(Counts(answers=9, errors=9)), guard.verdict(Counts(answers=20, errors=2, slow=1))
    (None, None)
    """

    errors: float | None = None
    seconds: float | None = None
    slow: float = 0.05
    window: float = 60.0
    requests: int = 20

    def __post_init__(self) -> None:
        if self.errors is None and self.seconds is None:
            raise _odd("errors or seconds, of which one at least is bounded", None)
        for name, low, high in (("errors", 0, 1), ("slow", 0, 1), ("seconds", 1e-6, 86400), ("window", 0.1, 86400)):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and low <= value <= high):
                raise _odd(f"{name} from {low:g} to {high:g}", value)
        if not isinstance(self.requests, int) or isinstance(self.requests, bool) or self.requests < 1:
            raise _odd("requests as a whole number above 0", self.requests)

    @classmethod
    def of(cls, told: Any) -> Guard:
        """A guard as JSON has it.

        Raises:
            OptionError: something else.
        """
        known = [*cls.__dataclass_fields__]
        odd = [name for name in told if name not in known] if isinstance(told, dict) else ["no object"]
        if odd:
            raise _odd(f"{', '.join(known)} alone", odd[0])
        return cls(**told)

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def verdict(self, counts: Counts) -> str | None:
        """What is wrong with a version; None for nothing, or too little to say."""
        n = counts.answers
        if n < self.requests:
            return None
        if self.errors is not None and counts.errors > self.errors * n:
            return f"{counts.errors / n:.0%} of {n} answers failed, at most {self.errors:.0%} may"
        if self.seconds is not None and counts.slow > self.slow * n:
            return (
                f"{counts.slow / n:.0%} of {n} answers took longer than {self.seconds:g} s, at most {self.slow:.0%} may"
            )
        return None


class Tally:
    """Answers of one version within a window of time.

    Arguments:
        guard: its bounds.
        clock: seconds.
    """

    def __init__(self, guard: Guard, clock: Callable[[], float] = time.monotonic):
        self._guard, self._clock = guard, clock
        self._parts: deque[tuple[int, list[int]]] = deque()

    def add(self, *, failed: bool, seconds: float) -> None:
        """Count an answer."""
        part = self._part()
        if not self._parts or self._parts[-1][0] != part:
            self._parts.append((part, [0, 0, 0]))
        counts = self._parts[-1][1]
        late = self._guard.seconds is not None and seconds > self._guard.seconds
        for at, counted in enumerate((True, failed, late)):
            counts[at] += counted

    def counts(self) -> Counts:
        """What is in the window."""
        oldest = self._part() - _PARTS
        while self._parts and self._parts[0][0] <= oldest:
            self._parts.popleft()
        return Counts(*(sum(counts[at] for _, counts in self._parts) for at in range(3)))

    def _part(self) -> int:
        return int(self._clock() / self._guard.window * _PARTS)


Tallies = Mapping[str, Any]
"""What one process counted, in JSON: by model, of which state of its policy, and by version the three counts."""


def added(several: Iterable[Tallies], model: str, since: int, version: int) -> Counts:
    """The counts of a version over processes, of one state of its model's policy.

    >>> one = {"digits": {"since": 7, "counts": {"2": [10, 1, 0]}}}
    >>> added([one, one, {"digits": {"since": 6, "counts": {"2": [5, 5, 5]}}}, {}], "digits", 7, 2)
    Counts(answers=20, errors=2, slow=0)
    """
    found = (one[model] for one in several if model in one and one[model]["since"] == since)
    counts = [one["counts"].get(str(version), (0, 0, 0)) for one in found]
    return Counts(*map(sum, zip((0, 0, 0), *counts, strict=True)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _odd(expected: str, got: Any) -> OptionError:
    fix = 'write {"errors": 0.05, "seconds": 0.5, "window": 60}'
    return OptionError(expected, got=repr(got)[:100], fix=fix, where="guard")
