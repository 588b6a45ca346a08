"""What a batch costs: Phlox's loader and PyTorch's on arrays in memory, in one run; start-up and steady state apart.

Predictions, written down before the first run:
- steady state: PyTorch indexes item by item and stacks, Phlox gathers a batch at once: at least 2 times faster.
  PyTorch with a BatchSampler gathers too, without putting the batch anywhere: Phlox is at most equal.
- two workers: PyTorch pays for the way between processes; Phlox gathers arrays where they are: 5 times faster.
- start-up: both shuffle the indices; Phlox starts a thread, PyTorch with two workers forks: Phlox is not slower.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _measure import Bar, Table, Times, command, interleave, median, quartiles, record, short, spreads

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "design" / "data.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "grain", "torch")
OURS, OURS_2 = "Phlox", "Phlox, num_workers=2"
TORCH, TORCH_2, TORCH_B = "PyTorch", "PyTorch, num_workers=2", "PyTorch, BatchSampler"


@dataclass(frozen=True)
class Settings:
    rounds: int = 9
    rows: int = 60_000
    width: int = 784
    batch: int = 128
    batches: int = 100


QUICK = Settings(rounds=2, rows=6_000, batches=20)


def contenders(settings: Settings) -> dict[str, Callable[[], Iterable[Any]]]:
    import torch
    from torch.utils import data as of_torch

    x = np.random.default_rng(0).normal(size=(settings.rows, settings.width)).astype(np.float32)
    y = np.zeros(settings.rows, np.int32)
    tensors, size = of_torch.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), settings.batch
    gathered = of_torch.BatchSampler(of_torch.RandomSampler(tensors), size, drop_last=False)
    return {
        OURS: functools.partial(px.DataLoader, (x, y), size, shuffle=True),
        OURS_2: functools.partial(px.DataLoader, (x, y), size, shuffle=True, num_workers=2),
        TORCH: functools.partial(of_torch.DataLoader, tensors, size, shuffle=True),
        TORCH_2: functools.partial(of_torch.DataLoader, tensors, size, shuffle=True, num_workers=2),
        TORCH_B: functools.partial(of_torch.DataLoader, tensors, sampler=gathered, batch_size=None),
    }


def first_batch(make: Callable[[], Iterable[Any]]) -> float:
    """Seconds from making a loader to its first batch."""
    time.sleep(0.02)  # PyTorch's threads go on turning for some time after the contender before
    start = time.perf_counter()
    batches = iter(make())
    batch = next(batches)
    jax.block_until_ready([leaf for leaf in batch if isinstance(leaf, jax.Array)])
    took = time.perf_counter() - start
    del batches  # ends its thread or its processes, which is not counted
    return took


def each_batch(make: Callable[[], Iterable[Any]], count: int) -> float:
    """Seconds a batch, behind the first few."""
    batches = iter(make())
    for _ in range(5):
        batch = next(batches)
    start = time.perf_counter()
    for _ in range(count):
        batch = next(batches)
    jax.block_until_ready([leaf for leaf in batch if isinstance(leaf, jax.Array)])
    return (time.perf_counter() - start) / count


@dataclass
class Results:
    first: Times
    each: Times
    notes: list[str]

    def bars(self) -> list[Bar]:
        pairs = ((OURS, TORCH), (OURS_2, TORCH_2))
        return [
            Bar(f"{name}: {ours}, against {theirs}", 1.0, median(times, ours, theirs))
            for name, times in (("first batch", self.first), ("a batch", self.each))
            for ours, theirs in pairs
        ] + [Bar(f"a batch: {OURS}, against {TORCH_B}", 1.0, median(self.each, OURS, TORCH_B))]

    def tables(self) -> list[Table]:
        def table(title: str, times: Times, factor: float) -> Table:
            rows = [[name, short(s.median), quartiles(s)] for name, s in spreads(times, factor)]
            return Table(title, ["", "median", "quartiles"], rows)

        return [
            table("From making a loader to its first batch: ms", self.first, 1e3),
            table("A batch, steady state: µs", self.each, 1e6),
            Table("Bars for Phlox", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        return {
            "first": record(self.first, 1e3, TORCH),
            "each": record(self.each, 1e6, TORCH),
            "units": {"first": "ms", "each": "µs a batch"},
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    warnings.filterwarnings("ignore", message=".*fork.*")  # PyTorch forks beside JAX's threads
    makers = contenders(settings)
    tell("first batches")
    first = interleave({name: functools.partial(first_batch, make) for name, make in makers.items()}, settings.rounds)
    tell("steady state")
    count = settings.batches
    each = interleave({n: functools.partial(each_batch, make, count) for n, make in makers.items()}, settings.rounds)
    return Results(first, each, [])


def main(arguments: Sequence[str] | None = None) -> int:
    return command("loader", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
