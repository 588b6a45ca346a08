"""ONNX files read by ``px.load_onnx`` beside the networks of Phlox that they were written from.

The files are those of benchmarks/exported.py; reader and original run under ``px.jit`` in one process, in turns, and
ONNX Runtime runs the same file. docs/performance.md says what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Table, Times, command, interleave, median, quartiles, record, seconds_a_step, short, spreads
from exported import OURS, PACKAGES, PAGE, QUICK, Settings, agree, export_ours, in_folders, session, write

import phlox as px

READ, RUNTIME = "px.load_onnx", "ONNX Runtime"
MODELS = ("resnet50", "bert_base_uncased")


@dataclass(frozen=True)
class Race:
    """What was measured of one network."""

    title: str
    times: Times  # seconds a call, one number a round
    reading: float  # seconds


@dataclass
class Results:
    races: list[Race]
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What imported files are held to."""
        return [
            Bar(f"{r.title}: imported, against the original", 1.05, median(r.times, READ, OURS)) for r in self.races
        ]

    def tables(self) -> list[Table]:
        header = ["", "ms a call", f"times {OURS}'s", "quartiles, ms"]
        found = []
        for race in self.races:
            rows = []
            for name, spread in spreads(race.times, 1e3):
                against = median(race.times, name, OURS)
                rows.append([name, short(spread.median), f"{short(against or 1)}×", quartiles(spread)])
            found.append(Table(f"{race.title}; {short(race.reading)} s to read", header, rows))
        bars = Table("Bars for imported files", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()])
        return [*found, bars]

    def json(self) -> dict[str, Any]:
        races = {r.title: {"times": record(r.times, 1e3, OURS), "reading": r.reading} for r in self.races}
        return {"races": races, "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]}


def raced(name: str, folder: Path, settings: Settings, tell: Callable[[str], None]) -> Race | str:
    """One network and what was read of its file, in turns; or why not."""
    tell(f"{name}: writing it")
    example = write(name, folder, settings)
    export_ours(folder, example)
    begin = time.perf_counter()
    read = px.load_onnx(folder / "ours" / "model.onnx")
    reading = time.perf_counter() - begin
    contenders = {OURS: px.jit(px.models.load(folder)), READ: px.jit(read)}
    calls: dict[str, Callable[[], Any]] = {key: partial(f, example) for key, f in contenders.items()}
    runtime = session(folder / "ours" / "model.onnx")
    calls[RUNTIME] = partial(runtime, example)
    results = {key: np.asarray(call()) for key, call in calls.items()}
    for key, y in results.items():
        if not agree(y, results[OURS]):
            return f"{name} is left out: {key} gives something else"
    tell(f"{name}: timing")
    step = lambda key: lambda: seconds_a_step(calls[key], settings.steps, _wait)  # noqa: E731
    times = interleave({key: step(key) for key in calls}, settings.rounds)
    return Race(f"{name}, {' × '.join(map(str, example.shape))}", times, reading)


def _wait(y: Any) -> None:
    getattr(y, "block_until_ready", lambda: None)()


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    return Results(*in_folders(MODELS, lambda name, folder: raced(name, folder, settings, tell)))


def main(arguments: Sequence[str] | None = None) -> int:
    return command("imported", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
