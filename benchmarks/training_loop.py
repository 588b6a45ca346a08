"""What the training loop costs beside the loop that you would write: px.fit and a px.jit loop, in one run.

Both take the same steps on the same batches. docs/training.md says what is measured and what was foretold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _measure import Bar, Table, Times, command, median, quartiles, record, short, spreads
from _race import FIT, Race

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
PACKAGES = ("phlox", "jax", "jaxlib", "optax", "numpy")
LOADER, LIST = "loader", "list"
HAND, READ = "by hand", "by hand, reading each loss"

Batches = Any  # what gives them, once an epoch: a px.DataLoader, or a list of NumPy arrays


@dataclass(frozen=True)
class Settings:
    rounds: int = 15
    steps: int = 938  # in a round, an epoch of the small model: 60,000 examples, as MNIST has


QUICK = Settings(rounds=3, steps=40)


@dataclass(frozen=True)
class Workload:
    """A classifier of layers with ReLU, trained by Adam."""

    name: str
    widths: tuple[int, ...]
    batch: int
    share: float = 1.0  # of the steps of a round
    source: str = LOADER

    def __str__(self) -> str:
        return f"{self.name}, {self.source}"

    def model(self) -> px.Chain:
        with px.seed(0):
            sizes = zip(self.widths[:-2], self.widths[1:-1], strict=True)
            return px.Chain(*[px.Dense(a, b, px.relu) for a, b in sizes], px.Dense(*self.widths[-2:]))

    def steps(self, settings: Settings) -> int:
        return max(4, int(settings.steps * self.share))

    def batches(self, count: int) -> Batches:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(count * self.batch, self.widths[0])).astype(np.float32)
        y = rng.integers(0, self.widths[-1], len(x)).astype(np.int32)
        if self.source == LOADER:
            return px.DataLoader((x, y), self.batch, shuffle=True)
        return [(x[i : i + self.batch], y[i : i + self.batch]) for i in range(0, len(x), self.batch)]


TINY = Workload("tiny: 16 × 8-8-8", (8, 8, 8), 16)
SMALL = Workload("small: 64 × 784-128-10", (784, 128, 10), 64)
LISTED = replace(SMALL, source=LIST)
MEDIUM = Workload("medium: 256 × 1024-1024-1024-10", (1024, 1024, 1024, 10), 256, 0.064)
LARGE = Workload("large: 256 × 1024-2048-2048-10", (1024, 2048, 2048, 10), 256, 0.032)
WORKLOADS = (TINY, SMALL, LISTED, MEDIUM, LARGE)


@px.jit
def step(model: px.Chain, opt: px.Optimizer, x: Any, y: Any) -> jax.Array:
    """The step of the loop by hand."""
    loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
    opt.update(model, grads)
    return loss


class ByHand:
    """The loop that you would write; it reads the loss of every step, or of the last alone."""

    def __init__(self, workload: Workload, batches: Batches, read: bool):
        self.model, self.batches, self.read = workload.model(), batches, read
        self.opt = px.Optimizer(px.optim.Adam(), self.model)

    def seconds(self) -> float:
        """Those of one epoch, by the step."""
        start, total, loss = time.perf_counter(), 0.0, None
        for x, y in self.batches:
            loss = step(self.model, self.opt, x, y)
            if self.read:
                total += float(loss)
        jax.block_until_ready((loss, px.paths(self.model)))
        assert np.isfinite(total)
        return (time.perf_counter() - start) / len(self.batches)


def race(workload: Workload, settings: Settings, notes: list[str]) -> Times:
    """Seconds a step of each loop, a number a round; the first two rounds compile and are left out."""
    steps = workload.steps(settings)
    others = {name: ByHand(workload, workload.batches(steps), name == READ) for name in (HAND, READ)}
    callback, model = Race(others), workload.model()
    px.fit(
        model,
        workload.batches(steps),
        loss=px.losses.cross_entropy,
        optimizer=px.optim.Adam(),
        epochs=settings.rounds + 2,
        callbacks=[callback],
        progress=False,
    )
    ours, theirs = px.paths(model), px.paths(others[HAND].model)
    if not all(np.allclose(ours[path], theirs[path], rtol=1e-3, atol=1e-4) for path in ours):
        notes.append(f"{workload}: the loops end at other weights")
    return {name: values[2:] for name, values in callback.times.items()}


@dataclass
class Results:
    times: dict[str, Times]  # by the text of the workload
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What the engine is held to."""
        large, medium, small = (self.times[str(workload)] for workload in (LARGE, MEDIUM, SMALL))
        return [
            Bar("large, against the loop by hand", 1.02, median(large, FIT, HAND)),
            Bar("medium, against the loop by hand", 1.02, median(medium, FIT, HAND)),
            Bar("small, faster than the loop by hand", 1.5, median(small, HAND, FIT), at_most=False),
            Bar("small, faster than by hand, reading each loss", 1.5, median(small, READ, FIT), at_most=False),
        ]

    def tables(self) -> list[Table]:
        rows = []
        for workload, times in self.times.items():
            for name, spread in spreads(times, 1e6):
                against = median(times, name, HAND)
                rows.append([workload, name, short(spread.median), quartiles(spread), f"{short(against or 0)}×"])
        return [
            Table("A step in the loop: µs", ["", "loop", "median", "quartiles", "times by hand"], rows),
            Table("Bars for the engine", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        return {
            "loop": {workload: record(times, 1e6, HAND) for workload, times in self.times.items()},
            "units": {"loop": "µs a step"},
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    notes: list[str] = []
    times = {}
    for workload in WORKLOADS:
        tell(str(workload))
        times[str(workload)] = race(workload, settings, notes)
    return Results(times, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("loop", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
