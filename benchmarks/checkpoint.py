"""What saving a checkpoint costs a training: steps of a small ResNet, with and without a save among them, in one run.

docs/checkpoints.md says what is measured and what was foretold.
"""

from __future__ import annotations

import operator
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _measure import Bar, Spread, Table, Times, command, interleave, quartiles, short, spreads

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "checkpoints.md"
PACKAGES = ("phlox", "jax", "jaxlib", "orbax-checkpoint", "numpy")
BETWEEN = 50  # steps from one save to the next, in the training that is foretold
PLAIN, SAVING, BLOCKING = "steps alone", "a save among them", "a save that is waited for"


@dataclass(frozen=True)
class Settings:
    rounds: int = 5
    steps: int = 4  # in a round: more than writing takes
    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256)
    batch: int = 32


QUICK = Settings(rounds=2, steps=1, widths=(4, 8), batch=2)


def block(before: int, width: int) -> px.Module:
    """Two convolutions with a shortcut; where the width changes, half the resolution."""
    stride = 1 if before == width else 2
    inner = px.Chain(
        px.Conv((3, 3), before, width, stride=stride, padding="SAME", bias=False),
        px.BatchNorm(width, px.relu),
        px.Conv((3, 3), width, width, padding="SAME", bias=False),
        px.BatchNorm(width),
    )
    if stride == 1:
        return px.SkipConnection(inner, operator.add)
    return px.Parallel(operator.add, inner, px.Conv((1, 1), before, width, stride=2, bias=False))


def resnet(widths: Sequence[int]) -> px.Chain:
    """Blocks of these widths behind one convolution, and a mean over space."""
    stem = px.Conv((3, 3), 3, widths[0], px.relu, padding="SAME")
    blocks = [block(a, b) for a, b in zip((widths[0], *widths), widths, strict=False)]
    return px.Chain(stem, *blocks, px.GlobalMeanPool(), px.flatten, px.Dense(widths[-1], 10))


@px.jit
def step(model: px.Chain, opt: px.Optimizer, x: Any, y: Any) -> jax.Array:
    """One step of training."""
    loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
    opt.update(model, grads)
    return loss


class Rounds:
    """Rounds of a few steps, some with a save at their beginning, which is over before they are."""

    def __init__(self, settings: Settings, folder: str):
        rng, shape = np.random.default_rng(0), (settings.batch, 32, 32, 3)
        with px.seed(0):
            self.model = resnet(settings.widths)
        self.opt = px.Optimizer(px.optim.Adam(), self.model)
        self.data = rng.normal(size=shape).astype(np.float32), rng.integers(0, 10, settings.batch)
        self.steps, self.store = settings.steps, px.CheckpointStore(folder)
        self.store.open()

    def seconds(self, save: bool, wait: bool = False) -> float:
        """Those of one round, until its last step is done and its checkpoint is written."""
        start = time.perf_counter()
        if save:
            about = {"step": 0, "epoch": 0, "score": None, "monitor": None, "mode": None}
            self.store.save(px.Run(self.model, self.opt).state(), about, keep=1, keep_best=0)
            if wait:
                self.store.wait()
        loss = None
        for _ in range(self.steps):
            loss = step(self.model, self.opt, *self.data)
        jax.block_until_ready((loss, px.paths(self.model)))
        self.store.wait()
        return time.perf_counter() - start

    def bytes(self) -> int:
        """Those of a checkpoint's arrays."""
        return sum(v.nbytes for part in (self.model, self.opt) for v in px.paths(part).values())


@dataclass
class Results:
    times: Times
    size: int
    steps: int
    notes: list[str]

    def share(self, name: str) -> Spread:
        """By how much a training with a save every ``BETWEEN`` steps is longer than one without: 1.02 is 2 %."""
        pairs = zip(self.times[name], self.times[PLAIN], strict=True)
        return Spread.of([1 + (a - b) / (b / self.steps * BETWEEN) for a, b in pairs])

    def bars(self) -> list[Bar]:
        """What saving is held to."""
        return [Bar(f"a save every {BETWEEN} steps, against none", 1.05, self.share(SAVING).median)]

    def tables(self) -> list[Table]:
        rows = []
        for name, spread in spreads(self.times, 1e3):
            share = "" if name == PLAIN else f"{100 * self.share(name).median - 100:.2f} %"
            rows.append([name, short(spread.median), quartiles(spread), share])
        title = f"{self.steps} steps of a ResNet, and a checkpoint of {self.size / 1e6:.1f} MB: ms"
        return [
            Table(title, ["round", "median", "quartiles", f"a save every {BETWEEN} steps costs"], rows),
            Table("Bars for checkpoints", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        return {
            "checkpoint": {name: asdict(spread) for name, spread in spreads(self.times, 1e3)},
            "units": {"checkpoint": f"ms for {self.steps} steps"},
            "bytes": self.size,
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    with tempfile.TemporaryDirectory() as folder:
        tell("compiling")
        rounds = Rounds(settings, folder)
        rounds.seconds(save=True)
        rounds.seconds(save=True)
        tell("measuring")
        timers = {
            PLAIN: lambda: rounds.seconds(save=False),
            SAVING: lambda: rounds.seconds(save=True),
            BLOCKING: lambda: rounds.seconds(save=True, wait=True),
        }
        times = interleave(timers, settings.rounds)
        rounds.store.close()
        return Results(times, rounds.bytes(), settings.steps, [])


def main(arguments: Sequence[str] | None = None) -> int:
    return command("checkpoint", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
