"""What a step over two devices costs in Phlox beside the loop that you would write in plain JAX, on the same mesh.

The devices are two virtual ones of this machine's CPU: what goes between them is a copy in memory, so this measures
what Phlox adds to a step, and not what a network does. docs/performance.md says what is measured.
"""

from __future__ import annotations

import os

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")  # read when JAX starts

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _measure import Bar, Table, Times, command, median, quartiles, record, short, spreads
from _race import FIT, Race
from jax.sharding import NamedSharding, PartitionSpec

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "optax", "numpy")
PLACED, HAND = "placement.jit", "plain JAX"
STRATEGIES = {"data_parallel": px.parallel.data_parallel, "fsdp": px.parallel.fsdp}
RATE = 1e-3
ALIKE = 3  # steps behind which all have the same weights


@dataclass(frozen=True)
class Settings:
    rounds: int = 11
    steps: int = 20  # in a round


QUICK = Settings(rounds=3, steps=8)


@dataclass(frozen=True)
class Workload:
    """A classifier of layers with ReLU, trained by Adam."""

    name: str
    widths: tuple[int, ...]
    batch: int
    strategy: str

    def __str__(self) -> str:
        return f"{self.name}, {self.strategy}"

    def model(self) -> px.Chain:
        with px.seed(0):
            sizes = zip(self.widths[:-2], self.widths[1:-1], strict=True)
            return px.Chain(*[px.Dense(a, b, px.relu) for a, b in sizes], px.Dense(*self.widths[-2:]))

    def batches(self, count: int) -> list[Any]:
        rng = np.random.default_rng(0)
        draw = lambda: rng.normal(size=(self.batch, self.widths[0])).astype(np.float32)  # noqa: E731
        return [(draw(), rng.integers(0, self.widths[-1], self.batch).astype(np.int32)) for _ in range(count)]


def workloads() -> list[Workload]:
    sizes = {
        "medium: 256 × 1024-1024-1024-10": ((1024, 1024, 1024, 10), 256),
        "large: 256 × 1024-2048-2048-10": ((1024, 2048, 2048, 10), 256),
    }
    return [Workload(name, *size, strategy) for name, size in sizes.items() for strategy in STRATEGIES]


class Ahead:
    """Keeps a loop by hand two steps ahead of the devices, as ``px.fit`` is.

    With dozens of steps in flight XLA's threads of a CPU may all wait for each other's parts of a sum.
    """

    def __init__(self) -> None:
        self.flying: deque[Any] = deque()

    def note(self, loss: Any) -> None:
        """A step was handed over; waits for an older one."""
        self.flying.append(loss)
        if len(self.flying) > 2:
            jax.block_until_ready(self.flying.popleft())


class Placed:
    """A loop by hand in Phlox."""

    def __init__(self, workload: Workload, batches: list[Any]):
        self.model, self.batches = workload.model(), batches
        self.placement = px.parallel.shard(self.model, STRATEGIES[workload.strategy]())
        self.opt = px.Optimizer(px.optim.Adam(RATE), self.model)

        @self.placement.jit
        def step(model: px.Chain, opt: px.Optimizer, batch: Any) -> jax.Array:
            x, y = batch
            loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
            opt.update(model, grads)
            return loss

        self.step = step

    def seconds(self) -> float:
        """Those of one pass over the batches, by the step."""
        start, ahead = time.perf_counter(), Ahead()
        for batch in self.batches:
            ahead.note(self.step(self.model, self.opt, self.placement.spread(batch)))
        jax.block_until_ready(px.paths(self.model))
        return (time.perf_counter() - start) / len(self.batches)

    def weights(self) -> list[np.ndarray]:
        return _weights(self.model)


class Hand:
    """The loop of plain JAX and optax: the same mesh, arrays cut alike, activations held to the batch, donated."""

    def __init__(self, workload: Workload, batches: list[Any]):
        mesh = px.parallel.mesh(batch=-1)
        lie = lambda *cut: NamedSharding(mesh, PartitionSpec(*cut))  # noqa: E731
        self.rows, self.batches = lie("batch"), batches
        adam, rows = optax.adam(RATE), self.rows
        cut = workload.strategy == "fsdp"

        def lies(v: Any) -> NamedSharding:
            if not cut or v.size <= 1024:
                return lie()
            longest = max(range(v.ndim), key=lambda at: (v.shape[at], at))
            return lie(*["batch" if at == longest else None for at in range(v.ndim)])

        arrays = list(px.paths(workload.model()).values())
        self.params = [jax.device_put(v, lies(v)) for v in arrays]
        state = adam.init(self.params)
        where = jax.tree.map(lies, (self.params, state))
        self.state = jax.device_put(state, where[1])

        def loss_of(params: list[Any], x: Any, y: Any) -> Any:
            for at in range(0, len(params), 2):
                x = x @ params[at] + params[at + 1]
                x = jax.lax.with_sharding_constraint(x if at == len(params) - 2 else jnp.maximum(x, 0), rows)
            return optax.softmax_cross_entropy_with_integer_labels(x, y).mean()

        def step(params: Any, state: Any, x: Any, y: Any) -> Any:
            loss, grads = jax.value_and_grad(loss_of)(params, x, y)
            updates, state = adam.update(jax.lax.with_sharding_constraint(grads, where[0]), state, params)
            return optax.apply_updates(params, updates), state, loss

        self.step: Any = jax.jit(step, donate_argnums=(0, 1), out_shardings=(*where, lie()))

    def seconds(self) -> float:
        start, ahead = time.perf_counter(), Ahead()
        for batch in self.batches:
            x, y = jax.device_put(batch, self.rows)
            self.params, self.state, loss = self.step(self.params, self.state, x, y)
            ahead.note(loss)
        jax.block_until_ready(self.params)
        return (time.perf_counter() - start) / len(self.batches)

    def weights(self) -> list[np.ndarray]:
        return [np.asarray(v) for v in self.params]


def _weights(model: px.Module) -> list[np.ndarray]:
    return [np.asarray(v) for v in px.paths(model).values()]


def unlike(workload: Workload) -> list[str]:
    """Which loops have other weights than plain JAX behind a few steps; later, rounding has grown by Adam."""
    batches, model = workload.batches(ALIKE), workload.model()
    placed, hand = Placed(workload, batches), Hand(workload, batches)
    fit(model, workload, batches, epochs=1)
    placed.seconds()
    hand.seconds()
    same = lambda weights: all(  # noqa: E731
        np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(weights, hand.weights(), strict=True)
    )
    return [name for name, weights in {FIT: _weights(model), PLACED: placed.weights()}.items() if not same(weights)]


def fit(model: px.Module, workload: Workload, batches: list[Any], **more: Any) -> None:
    """The contender that is a training."""
    px.fit(
        model,
        batches,
        loss=px.losses.cross_entropy,
        optimizer=px.optim.Adam(RATE),
        parallel=STRATEGIES[workload.strategy](),
        progress=False,
        **more,
    )


def race(workload: Workload, settings: Settings, notes: list[str]) -> Times:
    """Seconds a step of each loop, a number a round; the first two rounds compile and are left out."""
    notes += [f"{workload}: {name} has other weights than {HAND} behind {ALIKE} steps" for name in unlike(workload)]
    batches = workload.batches(settings.steps)
    callback = Race({PLACED: Placed(workload, batches), HAND: Hand(workload, batches)})
    fit(workload.model(), workload, batches, epochs=settings.rounds + 2, callbacks=[callback])
    return {name: values[2:] for name, values in callback.times.items()}


@dataclass
class Results:
    times: dict[str, Times]  # by the text of the workload
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What a spread step is held to."""
        return [
            Bar(f"{workload}, {name} against {HAND}", 1.03, median(times, name, HAND))
            for workload, times in self.times.items()
            for name in (FIT, PLACED)
        ]

    def tables(self) -> list[Table]:
        rows = []
        for workload, times in self.times.items():
            for name, spread in spreads(times, 1e3):
                against = median(times, name, HAND)
                rows.append([workload, name, short(spread.median), quartiles(spread), f"{short(against or 0)}×"])
        return [
            Table("A step over two devices: ms", ["", "loop", "median", "quartiles", f"times {HAND}"], rows),
            Table("Bars for a spread step", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        return {
            "spread": {workload: record(times, 1e3, HAND) for workload, times in self.times.items()},
            "units": {"spread": "ms a step"},
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    notes: list[str] = []
    times = {}
    for workload in workloads():
        tell(str(workload))
        times[str(workload)] = race(workload, settings, notes)
    return Results(times, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("spread", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
