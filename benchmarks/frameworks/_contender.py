"""What takes part in a race: a form of running a workload, and the loop around its steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workloads import Workload


@dataclass(frozen=True)
class Form:
    """One way in which a framework runs a workload."""

    name: str
    framework: str  # the file here, and the key of a workload's model
    kind: str = ""  # which of the framework's ways it is
    many: bool = False  # many steps in one dispatch
    trains: bool = True
    infers: bool = True
    dispatch: bool = False  # differs from another form in the cost of a call alone
    images: bool = False  # differs from another form in the layout of images alone
    needs: Sequence[str] = ()  # packages
    env: Mapping[str, str] = field(default_factory=dict)

    def suits(self, workload: Workload) -> bool:
        """Whether it takes part in a workload."""
        if not (self.infers if workload.infers else self.trains):
            return False
        return (workload.tiny or not (self.many or self.dispatch)) and (workload.space == 2 or not self.images)


@dataclass(frozen=True)
class Contender:
    run: Callable[[int], float]  # takes so many steps, waits for the last, and returns its loss
    parameters: int  # numbers that are trained


def one_by_one(take: Callable[..., Any], batches: Sequence[Any]) -> Callable[[int], float]:
    """Steps dispatched as a training loop does it, each with the next batch; one wait, for the last."""
    turn = itertools.cycle(batches)

    def run(steps: int) -> float:
        result = None
        for _ in range(steps):
            result = take(*next(turn))
        return last(result)

    return run


def in_chunks(take: Callable[..., Any], chunk: int, *arrays: Any) -> Callable[[int], float]:
    """A dispatch takes a chunk of steps, with batches along a leading axis, and returns all losses."""

    def run(steps: int) -> float:
        result = None
        for _ in range(steps // chunk):
            result = take(*arrays)
        return last(result)

    return run


def last(result: Any) -> float:
    """The last number of a result, which waits until it is there."""
    return float(result.reshape(-1)[-1])
