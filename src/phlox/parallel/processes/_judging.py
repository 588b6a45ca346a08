"""Who does not go on, and who keeps the others waiting, from what all processes tell of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median_low
from typing import Any

from phlox.parallel.processes._pulse import WINDOW, Told

TIMES = 2.0  # as slow as the median, from which on a process is named
SHARE = 0.2  # of a step that the others lose by it, at least


def hanging(told: Mapping[int, Told], seconds: float) -> list[int]:
    """The processes that are furthest behind in their training, where none of these has gone on for so long.

    The others wait for them in a sum. Where all stand at one place, all are named.

    >>> stands = Told("a", "cpu:0", 1, 7, 2, "in the step", 40.0, None, None)
    >>> hanging({0: stands, 1: stands._replace(marks=6, doing="in its callbacks")}, 30)
    [1]
    """
    training = {n: (t.training, t.marks) for n, t in told.items() if t.training}
    behind = [n for n, place in training.items() if place == min(training.values())]
    return behind if all(told[n].idle >= seconds for n in behind) else []


def slow(told: Mapping[int, Told]) -> dict[int, float]:
    """How many times as long as the median (of an even number the lower) each slow process needs between two steps.

    Slow is one that needs more than twice the median, and by it makes a step at least a fifth longer. Nobody is,
    unless all have told of a whole window of steps.

    >>> quick = Told("a", "cpu:0", 1, 90, 40, "in the step", 0.0, 0.01, 0.1)
    >>> slow({0: quick, 1: quick._replace(own=0.05), 2: quick})
    {1: 5.0}
    """
    own = {n: t.own for n, t in told.items() if t.training and t.own is not None and t.whole is not None}
    if len(own) < len(told) or len({t.training for t in told.values()}) != 1:
        return {}
    middle = max(median_low(own.values()), 1e-6)
    late: dict[int, float] = {}
    for n, seconds in own.items():
        whole: Any = told[n].whole
        if seconds > TIMES * middle and seconds - middle > SHARE * whole:
            late[n] = seconds / middle
    return late


def told_of_slow(who: str, told: Told, times: float) -> str:
    """A slow process in words."""
    assert told.own is not None
    assert told.whole is not None
    writes = " Process 0 also shows, and writes checkpoints." if who.startswith("process 0") else ""
    return (
        f"{who} keeps the others waiting: between two steps it needs {told.own:.3g} s, {times:.1f} times the median of "
        f"all; a step takes {told.whole:.3g} s as a whole, over the last {WINDOW} steps up to step {told.step}. Look "
        f"at its data, its callbacks and its machine.{writes}"
    )
