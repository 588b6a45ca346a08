"""Integrated gradients of a ResNet-18 beside Captum's, 64 steps for one image, with the same weights.

Both run in one process, in turns, on two cores; Captum with as many steps at once as is fastest for it. It needs
Captum, which `make test-area AREA=interpret` installs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Table, Times, command, interleave, median, quartiles, record, short, spreads

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "numpy", "torch", "captum", "transformers")
OURS, THEIRS = "Phlox", "Captum"
EQUAL = 1e-3  # of attributions, relative to the largest


@dataclass(frozen=True)
class Settings:
    rounds: int = 7
    steps: int = 64
    image: int = 224
    at_once: tuple[int, ...] = (8, 16, 64)  # of Captum's steps, the fastest of which races


QUICK = Settings(rounds=1, steps=4, image=64, at_once=(4,))


@dataclass
class Results:
    times: Times  # seconds an attribution, one number a round
    at_once: int
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What ours is held to."""
        return [Bar("integrated gradients, against Captum's", 0.8, median(self.times, OURS, THEIRS))]

    def tables(self) -> list[Table]:
        rows = []
        for name, spread in spreads(self.times, 1e3):
            against = median(self.times, name, THEIRS)
            title = f"{name}, {self.at_once} steps at once" if name == THEIRS else name
            rows.append(
                [title, short(spread.median), "–" if against is None else f"{short(against)}×", quartiles(spread)]
            )
        header = ["", "ms an attribution", "times Captum's", "quartiles, ms"]
        return [
            Table("integrated gradients of ResNet-18, one image", header, rows),
            Table("Bars for attributions", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        bars = [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]
        return {"times": record(self.times, 1e3, THEIRS), "at_once": self.at_once, "bars": bars}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ours_of(folder: Path, x: np.ndarray, settings: Settings) -> Callable[[], np.ndarray]:
    """A call that gives the attribution, channels last."""
    model = px.models.load(folder)

    def call() -> np.ndarray:
        found = px.interpret.integrated_gradients(model, x, target=3, steps=settings.steps, progress=False)
        return np.asarray(found.values)

    return call


def theirs_of(folder: Path, x: np.ndarray, settings: Settings) -> Callable[[int], np.ndarray]:
    """A call that gives theirs for a number of steps at once, with the delta as ours has it."""
    import torch
    import transformers
    from captum.attr import IntegratedGradients

    torch.set_num_threads(2)
    inner = transformers.ResNetForImageClassification.from_pretrained(folder).eval()
    method = IntegratedGradients(lambda x: inner(x).logits)
    image = torch.tensor(x).permute(0, 3, 1, 2).contiguous()

    def call(at_once: int) -> np.ndarray:
        found, _ = method.attribute(
            image, target=3, n_steps=settings.steps, internal_batch_size=at_once, return_convergence_delta=True
        )
        return found.permute(0, 2, 3, 1).numpy()

    return call


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    x = np.random.default_rng(0).standard_normal((1, settings.image, settings.image, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        with px.seed(0):
            px.models.save(px.models.create("resnet18"), folder)
        tell("compiling")
        ours, theirs = ours_of(Path(folder), x, settings), theirs_of(Path(folder), x, settings)
        first, second = ours(), theirs(settings.at_once[0])
        far = float(np.abs(first - second).max() / np.abs(second).max())
        assert far < EQUAL, f"attributions differ by {far:.2g} of the largest"
        tell("choosing how many steps Captum takes at once")
        at_once = min(settings.at_once, key=lambda n: seconds(lambda: theirs(n)))
        tell("racing")
        timers = {OURS: lambda: seconds(ours), THEIRS: lambda: seconds(lambda: theirs(at_once))}
        times = interleave(timers, settings.rounds)
    return Results(times, at_once, [f"attributions differ by {far:.1g} of the largest at most"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    return command("attributions", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    sys.exit(main())
