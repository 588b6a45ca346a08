"""The program of ``processes.py``: two processes that train together and apart, in turn; times go to a file."""

from __future__ import annotations

import functools
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

import phlox as px

px.parallel.initialize()
warnings.filterwarnings("ignore", message=".*trains by itself.*")


class Clock(px.Callback):
    """Seconds between two steps, with all work done at both."""

    def __init__(self, first: int, last: int):
        self.first, self.last, self.times = first, last, []

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def steps_until(self, run: Any) -> int | None:
        return next((n - run.step for n in (self.first, self.last) if n > run.step), None)

    def on_step_end(self, run: Any) -> None:
        if run.step in (self.first, self.last):
            np.asarray(run.losses)
            self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        return self.times[1] - self.times[0]


def mlp(size: int, rows: int = 1024) -> tuple[px.Module, Any, Any]:
    model = px.Chain(px.Dense(512, size, px.relu), px.Dense(size, size, px.relu), px.Dense(size, 10))
    return model, (512,), rows


def convolution(size: int) -> tuple[px.Module, Any, Any]:
    conv = lambda a, b: px.Conv((3, 3), a, b, px.relu, padding=1)  # noqa: E731
    model = px.Chain(
        conv(3, size), conv(size, size), px.MaxPool((2, 2)), conv(size, size), px.GlobalMeanPool(), px.flatten
    )
    return px.Chain(model, px.Dense(size, 10)), (16, 16, 3), 64


WORKLOADS = {"MLP": mlp, "convolution": convolution, "MLP of few rows": functools.partial(mlp, rows=128)}


def seconds(name: str, size: int, steps: int, together: bool) -> float:
    """Of some steps, behind as many that are not counted; each process has the same rows to work on either way."""
    px.seed(0)
    model, shape, each = WORKLOADS[name](size)
    rng = np.random.default_rng(0)
    batch = each * (jax.process_count() if together else 1)
    x, y = rng.normal(size=(batch, *shape)).astype(np.float32), rng.integers(0, 10, batch).astype(np.int32)
    clock = Clock(steps, 2 * steps)
    px.fit(
        model,
        px.DataLoader((x, y), batch, shard=None if together else (0, 1)),
        loss=px.losses.cross_entropy,
        optimizer=px.optim.Adam(1e-3),
        steps=2 * steps,
        callbacks=[clock],
        progress=False,
        parallel=px.parallel.data_parallel() if together else None,
    )
    return clock.seconds


def messages(numbers: int, rounds: int) -> list[float]:
    """Seconds of sums over both processes, each of so many numbers and alone."""
    mesh = px.parallel.mesh(data=-1)
    own = np.ones((1, numbers), np.float32)
    where = jax.NamedSharding(mesh, jax.P("data"))
    apart = jax.make_array_from_callback((jax.process_count(), numbers), where, lambda _: own)
    total: Any = jax.jit(lambda v: v.sum(0), out_shardings=jax.NamedSharding(mesh, jax.P()))
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        jax.block_until_ready(total(apart))
        times.append(time.perf_counter() - start)
    return times[2:]


def main(given: dict[str, Any], out: Path) -> None:
    found: dict[str, dict[str, list[float]]] = {name: {"together": [], "apart": []} for name in given["sizes"]}
    for turn in range(given["rounds"]):
        for name, size in given["sizes"].items():
            for way in ("together", "apart") if turn % 2 else ("apart", "together"):
                found[name][way].append(seconds(name, size, given["steps"], way == "together"))
    sent = {numbers: messages(numbers, 10 * given["rounds"]) for numbers in given["messages"]}
    told = {"steps": found, "messages": sent}
    out.with_name(f"{out.name}.{jax.process_index()}").write_text(json.dumps(told))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
