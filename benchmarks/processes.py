"""What it costs to train together: two processes on a core each, beside two that train apart on as many rows each.

A step sends two messages: the loss with the examples' weights, and all gradients; of these an array of more than a
million elements is one by itself. Between two busy cores a message of up to 4 MB took about 4 ms, one of 21 MB about
20, when each array was one (nine arrays: some 40 ms a step).

Predictions, written down before the first run of these workloads:
- an MLP of 1.6 million weights, 1024 rows each: 10 GFLOP, some 50 ms on a core; 4 and 8 ms for messages, 2 for copies:
  0.8. It needs rows, or fewer ticks of the scheduler's in a message, to reach 0.9.
- a convolution of 12 million multiply-adds an image, 64 rows each, by kernels on both sides: 5 GFLOP, some 25 ms; two
  small messages: 0.75 to 0.8.
- an MLP of 5.3 million weights, 128 rows each, in which each row's share of the weights' 21 MB decides, is no workload
  for data parallelism over a loopback, and has no bar: 34 ms of work, 25 of messages: 0.55.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _measure import Bar, Table, Times, command, median, quartiles, record, short, spreads

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "numpy")
APART, TOGETHER = "apart", "together"
WITHOUT_A_BAR = "MLP of few rows"  # what is sent outweighs what is computed


@dataclass(frozen=True)
class Settings:
    rounds: int = 8
    steps: int = 20
    sizes: dict[str, int] = field(default_factory=lambda: {"MLP": 1024, "convolution": 64, WITHOUT_A_BAR: 2048})
    messages: tuple[int, ...] = (1, 76_000, 1_590_000)  # numbers: a loss, the convolution's gradients, the MLP's


QUICK = Settings(rounds=2, steps=2, sizes={"MLP": 64, "convolution": 8, WITHOUT_A_BAR: 64})


def run(settings: Settings) -> Results:
    """Seconds of each round, and of each message, those of the process that took longer."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "times"
        program = [str(HERE / "_together.py"), json.dumps(asdict(settings)), str(out)]
        launch = [sys.executable, "-m", "phlox", "launch", "--processes", "2", *program]
        subprocess.run(launch, check=True, stdout=sys.stderr)
        both = [json.loads(out.with_name(f"times.{n}").read_text()) for n in range(2)]
    slower = lambda of: [max(pair) for pair in zip(*(of(one) for one in both), strict=True)]  # noqa: E731
    times = {
        name: {way: slower(lambda one, n=name, w=way: one["steps"][n][w]) for way in both[0]["steps"][name]}
        for name in settings.sizes
    }
    sent = {n: slower(lambda one, n=n: one["messages"][n]) for n in both[0]["messages"]}
    return Results(settings, times, {f"{4 * int(n):,} bytes": seconds for n, seconds in sent.items()})


@dataclass
class Results:
    settings: Settings
    times: dict[str, Times]
    sent: Times  # seconds of a message alone, by its size
    notes: list[str] = field(default_factory=list)

    def bars(self) -> list[Bar]:
        found = []
        for name, times in self.times.items():
            if name == WITHOUT_A_BAR:
                continue
            share = median(times, APART, TOGETHER)
            found.append(Bar(f"{name}: throughput together, against apart", 0.9, share, at_most=False))
        return found

    def tables(self) -> list[Table]:
        rows = []
        for name, times in self.times.items():
            for way, spread in spreads(times, 1e3 / self.settings.steps):
                rows.append([f"{name}, {way}", short(spread.median), quartiles(spread)])
        return [
            Table("Two processes, a core each: ms a step", ["", "median", "quartiles"], rows),
            Table("A sum over both, alone: ms", ["", "median", "quartiles"], self._messages()),
            Table("Bars for Phlox", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]),
        ]

    def _messages(self) -> list[list[str]]:
        return [[size, short(spread.median), quartiles(spread)] for size, spread in spreads(self.sent, 1e3)]

    def json(self) -> dict[str, Any]:
        factor = 1e3 / self.settings.steps
        return {
            "times": {name: record(times, factor, APART) for name, times in self.times.items()},
            "messages": record(self.sent, 1e3),
            "units": "ms a step, ms a message",
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, told: Callable[[str], None]) -> Results:
    told("two processes, together and apart")
    return run(settings)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("processes", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    sys.exit(main())
