"""Calls timed in turns, so that whatever slows the machine down meets both."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ROUND = 5e-3  # seconds at least of a round of calls, which a clock can tell
LEAST, MOST = 5, 50  # rounds
NOISY = 0.25  # of the median, between the quartiles


@dataclass(frozen=True)
class Timing:
    """The median of some rounds, and the quartiles around it: seconds, or how many times as fast."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """Of the numbers of all rounds, two at least."""
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ too much to say anything of a few percent."""
        return self.high - self.low > NOISY * self.median


class Race(NamedTuple):
    """Seconds of a call of each, and how many times as fast the second one is, round by round."""

    first: Timing
    second: Timing
    faster: Timing


def race(first: Callable[[], Any], second: Callable[[], Any], seconds: float) -> Race:
    """Time two calls in turns, each round beginning with the other one.

    Arguments:
        first, second: what is called; each waits for its result.
        seconds: how long about all rounds may take, of which there are 5 at least and 50 at most.
    """
    calls = (first, second)
    once = [min(_seconds(call, 1) for _ in range(3)) for call in calls]  # the first of them compiles
    counts = [max(1, math.ceil(ROUND / max(t, 1e-9))) for t in once]
    together = sum(max(t * n, 1e-9) for t, n in zip(once, counts, strict=True))
    rounds = min(max(int(seconds / together), LEAST), MOST)
    times: list[list[float]] = [[], []]
    gc.collect()
    gc.freeze()
    try:
        for n in range(rounds):
            for which in (0, 1) if n % 2 == 0 else (1, 0):
                times[which].append(_seconds(calls[which], counts[which]))
    finally:
        gc.unfreeze()
    return Race(Timing.of(times[0]), Timing.of(times[1]), Timing.of([a / b for a, b in zip(*times, strict=True)]))


def _seconds(call: Callable[[], Any], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


def of_size(batch: Any, size: int) -> Any:
    """A batch of so many examples: the first of it, over again where it has fewer."""
    most = examples_of(batch)
    rows = np.arange(size) % most
    return jax.tree.map(lambda a: jnp.asarray(a)[rows] if np.shape(a)[:1] == (most,) else a, batch)


def examples_of(batch: Any) -> int:
    """How many examples a batch has."""
    return next((int(np.shape(a)[0]) for a in jax.tree.leaves(batch) if np.ndim(a)), 1)
