"""px.fit beside loops by hand, in turns: an epoch of the one, a pass of each of the others."""

from __future__ import annotations

import time
from typing import Any

import jax
from _measure import Times

import phlox as px

FIT = "px.fit"


class Race(px.Callback):
    """Times the epochs of the fit that it is given to, and between them the loops by hand."""

    def __init__(self, others: dict[str, Any]):
        self.others = others
        self.times: Times = {name: [] for name in (FIT, *others)}
        self.start = 0.0

    def on_epoch_start(self, run: px.Run) -> None:
        jax.block_until_ready(px.paths(run.model))
        for name, loop in self.others.items():
            self.times[name].append(loop.seconds())
        self.start = time.perf_counter()

    def on_epoch_end(self, run: px.Run) -> None:
        jax.block_until_ready(px.paths(run.model))
        self.times[FIT].append((time.perf_counter() - self.start) / len(run.loader))
