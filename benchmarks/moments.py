"""What moments in 8 bits save and cost: updates of AdamW alone, with float32 and with 8 bits, bytes and time.

docs/optimisers.md says what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _measure import Bar, Table, Times, command, interleave, quartiles, short, spreads

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "optimisers.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy")
FULL, SMALL = "AdamW", "EightBit(AdamW)"
RULES = {FULL: px.optim.AdamW(1e-3), SMALL: px.optim.EightBit(px.optim.AdamW(1e-3))}
AT_MOST = 0.27  # of the bytes that float32 takes


@dataclass(frozen=True)
class Settings:
    rounds: int = 20
    layers: int = 8
    width: int = 1024


QUICK = Settings(rounds=2, layers=2, width=128)


@px.jit
def update(model: px.Module, opt: px.Optimizer, grads: dict[str, Any]) -> None:
    """One step, of gradients that are there."""
    opt.update(model, grads)


class Updates:
    """A model, its optimiser by one of the rules, and gradients."""

    def __init__(self, settings: Settings, rule: px.optim.Rule):
        with px.seed(0):
            self.model = px.Chain(*[px.Dense(settings.width, settings.width) for _ in range(settings.layers)])
        self.opt = px.Optimizer(rule, self.model)
        rng = np.random.default_rng(0)
        shapes = {path: v.shape for path, v in px.paths(self.model).items()}
        self.grads = {path: jax.numpy.asarray(rng.normal(size=s), "float32") for path, s in shapes.items()}

    def seconds(self) -> float:
        """Those of one update, to its end."""
        start = time.perf_counter()
        update(self.model, self.opt, self.grads)
        jax.block_until_ready(px.paths(self.model))
        return time.perf_counter() - start

    def bytes(self) -> tuple[int, int]:
        """Those of the optimiser's state, and those that a step needs besides."""
        found = px.memory(update, self.model, self.opt, self.grads)
        return found.optimizer, found.temporaries + found.activations


@dataclass
class Results:
    times: Times
    bytes: dict[str, tuple[int, int]]
    numbers: int
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What moments in 8 bits are held to."""
        share = self.bytes[SMALL][0] / self.bytes[FULL][0]
        return [Bar("bytes of state, against float32", AT_MOST, share)]

    def tables(self) -> list[Table]:
        rows = [
            [name, short(spread.median), quartiles(spread), *(f"{n / 1e6:.1f}" for n in self.bytes[name])]
            for name, spread in spreads(self.times, 1e3)
        ]
        title = f"An update of {self.numbers / 1e6:.1f} million weights"
        header = ["rule", "ms", "quartiles", "state, MB", "a step's temporaries, MB"]
        return [
            Table(title, header, rows),
            Table("Bars for moments in 8 bits", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        return {
            "moments": {name: asdict(spread) for name, spread in spreads(self.times, 1e3)},
            "units": {"moments": "ms for an update"},
            "bytes": self.bytes,
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    tell("compiling")
    made = {name: Updates(settings, rule) for name, rule in RULES.items()}
    for updates in made.values():
        updates.seconds()
    found = {name: updates.bytes() for name, updates in made.items()}
    tell("measuring")
    times = interleave({name: updates.seconds for name, updates in made.items()}, settings.rounds)
    return Results(times, found, sum(v.size for v in px.paths(made[FULL].model).values()), [])


def main(arguments: Sequence[str] | None = None) -> int:
    return command("moments", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
