"""What a checkpoint costs two processes that train a model in parts: a save every 50 steps, and none, in turn.

Prediction, written down before the first run: each process copies its half and a share of the rest, some 30 MB, in some
ten milliseconds, and writes it, compressed and hashed, in about a second and a half beside the steps, on the core on
which it trains; 50 steps take some ten seconds. So half of a core for a second and a half in ten: 3 to 8 %, near the
bar of 5 %.
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

from _measure import Bar, Spread, Table, Times, command, quartiles, short, spreads

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "checkpoints.md"
PACKAGES = ("phlox", "jax", "jaxlib", "orbax-checkpoint", "numpy")
WITHOUT, WITH = "without", "with"


@dataclass(frozen=True)
class Settings:
    rounds: int = 6
    steps: int = 50  # from one save to the next
    size: int = 1024
    batch: int = 512


QUICK = Settings(rounds=1, steps=2, size=64, batch=16)


def run(settings: Settings) -> tuple[Times, int]:
    """Seconds of each round, those of the process that took longer; bytes of a checkpoint's arrays."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "times"
        given = {**asdict(settings), "folder": f"{folder}/checkpoints"}
        launch = [sys.executable, "-m", "phlox", "launch", "--processes", "2", str(HERE / "_sharded.py")]
        subprocess.run([*launch, json.dumps(given), str(out)], check=True, stdout=sys.stderr)
        both = [json.loads(out.with_name(f"times.{n}").read_text()) for n in range(2)]
    pairs = {way: zip(*(one["times"][way] for one in both), strict=True) for way in (WITHOUT, WITH)}
    return {way: [max(pair) for pair in found] for way, found in pairs.items()}, both[0]["bytes"]


@dataclass
class Results:
    settings: Settings
    times: Times
    size: int
    notes: list[str] = field(default_factory=list)

    @property
    def share(self) -> Spread:
        """By how much the steps behind a save are longer: 1.02 is 2 %."""
        return Spread.of([a / b for a, b in zip(self.times[WITH], self.times[WITHOUT], strict=True)])

    def bars(self) -> list[Bar]:
        what = f"two processes, a save every {self.settings.steps} steps, against none"
        return [Bar(what, 1.05, self.share.median)]

    def tables(self) -> list[Table]:
        rows = []
        for way, spread in spreads(self.times, 1e3):
            name = f"{way} a save"
            rows.append([name, short(spread.median), quartiles(spread)])
        title = f"{self.settings.steps} steps of an MLP in two processes, fsdp, {self.size / 1e6:.1f} MB of arrays: ms"
        return [
            Table(title, ["", "median", "quartiles"], rows),
            Table(
                "Bars for checkpoints in parts", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()]
            ),
        ]

    def json(self) -> dict[str, Any]:
        return {
            "times": {way: asdict(spread) for way, spread in spreads(self.times, 1e3)},
            "units": f"ms for {self.settings.steps} steps",
            "bytes": self.size,
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, told: Callable[[str], None]) -> Results:
    told("two processes, with checkpoints and without")
    return Results(settings, *run(settings))


def main(arguments: Sequence[str] | None = None) -> int:
    return command("sharded_checkpoints", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
