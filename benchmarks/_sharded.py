"""The program of ``sharded_checkpoints.py``: two processes, a model in parts, with checkpoints and without."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _together import Clock

import phlox as px


class Work:
    """A training whose model, optimiser and moments lie in halves on both processes."""

    def __init__(self, size: int, batch: int, steps: int):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(batch, 512)).astype(np.float32)
        self.y = rng.integers(0, 10, batch).astype(np.int32)
        self.size, self.steps, self.bytes = size, steps, 0

    def seconds(self, folder: str | None) -> float:
        """Those of some steps behind as many; with a folder they begin with a save, which is written meanwhile."""
        with px.seed(0):
            size = self.size
            model = px.Chain(px.Dense(512, size, px.relu), px.Dense(size, size, px.relu), px.Dense(size, 10))
        clock = Clock(self.steps, 2 * self.steps)
        saving: Any = [] if folder is None else [px.Checkpoint(folder, every=self.steps, keep=1, keep_best=0)]
        history = px.fit(
            model,
            px.DataLoader((self.x, self.y), len(self.x)),
            loss=px.losses.cross_entropy,
            optimizer=px.optim.Adam(1e-3),
            steps=2 * self.steps,
            callbacks=[clock, *saving],
            progress=False,
            parallel=px.parallel.fsdp(),
        )
        arrays = [v for part in (model, history.optimizer) for v in px.paths(part).values()]
        self.bytes = sum(v.nbytes for v in arrays)
        return clock.seconds


def main(given: dict[str, Any], out: Path) -> None:
    work, found = Work(given["size"], given["batch"], given["steps"]), {"without": [], "with": []}
    for turn in range(given["rounds"] + 1):
        for way in ("without", "with") if turn % 2 else ("with", "without"):
            found[way].append(work.seconds(f"{given['folder']}/{turn}" if way == "with" else None))
    first = {way: times[1:] for way, times in found.items()}  # the first round compiles
    text = json.dumps({"times": first, "bytes": work.bytes})
    out.with_name(f"{out.name}.{jax.process_index()}").write_text(text)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
