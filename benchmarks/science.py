"""A step of Adam on a neural ODE: px.science beside Equinox with Diffrax, in one process, in turns.

Both solve the same equation with the same weights, solver and tolerances; all examples take the same steps, or each its
own. docs/performance.md says what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _measure import Bar, Table, Times, command, interleave, median, quartiles, record, seconds_a_step, short, spreads

import phlox as px

OURS, THEIRS = "px.science", "Equinox + Diffrax"
PACKAGES = ("phlox", "jax", "jaxlib", "diffrax", "equinox", "optax")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
RATE = 1e-3


@dataclass(frozen=True)
class Settings:
    """How long to measure, and of what size."""

    rounds: int = 15
    steps: int = 20
    batch: int = 64
    width: int = 64


QUICK = Settings(rounds=2, steps=2, batch=8, width=8)


@dataclass(frozen=True)
class Race:
    """What was measured of one way to solve a batch."""

    title: str
    times: Times  # seconds a step, one number a round


@dataclass
class Results:
    races: list[Race]
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What a step is held to."""
        return [Bar(f"{r.title}, against {THEIRS}", 1.0, median(r.times, OURS, THEIRS)) for r in self.races]

    def tables(self) -> list[Table]:
        header = ["", "ms a step", f"times {THEIRS}'s", "quartiles, ms"]
        found = []
        for race in self.races:
            rows = [
                [name, short(spread.median), f"{short(median(race.times, name, THEIRS) or 1)}×", quartiles(spread)]
                for name, spread in spreads(race.times, 1e3)
            ]
            found.append(Table(race.title, header, rows))
        bars = Table("Bars for equations", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()])
        return [*found, bars]

    def json(self) -> dict[str, Any]:
        races = {r.title: record(r.times, 1e3, THEIRS) for r in self.races}
        return {"races": races, "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]}


def problem(settings: Settings) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Weights and biases, first states, times, and states to be reached."""
    rng = np.random.default_rng(0)
    sizes = (2, settings.width, settings.width, 2)
    arrays = []
    for a, b in pairwise(sizes):
        arrays += [rng.normal(size=(a, b)).astype("float32") / np.sqrt(a), np.zeros(b, "float32")]
    y0 = rng.normal(size=(settings.batch, 2)).astype("float32")
    ts = np.linspace(0.0, 1.0, 11).astype("float32")
    angle = ts[None, :, None]
    target = np.cos(angle) * y0[:, None] + np.sin(angle) * np.stack([y0[:, 1], -y0[:, 0]], 1)[:, None]
    return arrays, y0, ts, target


def with_phlox(settings: Settings, *, separate: bool) -> Callable[[], Any]:
    """A step of ours."""
    arrays, y0, ts, target = problem(settings)
    layers = [px.Dense.of(jnp.array(w), jnp.array(b), px.tanh) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]
    layers[-1].act = px.identity
    ode = px.science.NeuralODE(px.Chain(*layers), separate=separate)
    opt = px.Optimizer(px.optim.Adam(RATE), ode)

    @px.jit
    def step(ode: Any, opt: Any, y0: Any, ts: Any, target: Any) -> Any:
        loss, grads = px.value_and_grad(lambda ode: jnp.mean((ode(y0, ts) - target) ** 2))(ode)
        opt.update(ode, grads)
        return loss

    given = tuple(map(jnp.asarray, (y0, ts, target)))
    return lambda: step(ode, opt, *given)


def with_equinox(settings: Settings, *, separate: bool) -> Callable[[], Any]:
    """The same step as its users write it."""
    import diffrax
    import equinox as eqx
    import optax

    arrays, y0, ts, target = problem(settings)

    class Field(eqx.Module):
        layers: list[tuple[Any, Any]]

        def __call__(self, t: Any, y: Any, args: Any) -> Any:
            for w, b in self.layers[:-1]:
                y = jnp.tanh(y @ w + b)
            w, b = self.layers[-1]
            return y @ w + b

    def solve(field: Any, ts: Any, y0: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Tsit5(), ts[0], ts[-1], None, y0, saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-6),
        ).ys  # fmt: skip

    def solved(field: Any, ts: Any, y0: Any) -> Any:
        if separate:
            return jax.vmap(solve, in_axes=(None, None, 0))(field, ts, y0)
        return jnp.swapaxes(solve(field, ts, y0), 0, 1)

    adam = optax.adam(RATE)
    field = Field([(jnp.array(w), jnp.array(b)) for w, b in zip(arrays[::2], arrays[1::2], strict=True)])
    held = [field, adam.init(eqx.filter(field, eqx.is_inexact_array))]

    @eqx.filter_jit(donate="all-except-first")
    def step(given: Any, field: Any, state: Any) -> Any:
        y0, ts, target = given
        loss, grads = eqx.filter_value_and_grad(lambda field: jnp.mean((solved(field, ts, y0) - target) ** 2))(field)
        updates, state = adam.update(grads, state)
        return loss, eqx.apply_updates(field, updates), state

    given = tuple(map(jnp.asarray, (y0, ts, target)))

    def run() -> Any:
        loss, *held[:] = step(given, *held)
        return loss

    return run


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    """Both ways to solve a batch."""
    races, notes = [], []
    for title, separate in (("the same steps for all examples", False), ("each example by itself", True)):
        tell(f"{title}: compiling")
        steps = {OURS: with_phlox(settings, separate=separate), THEIRS: with_equinox(settings, separate=separate)}
        losses = {name: [float(step()) for _ in range(3)] for name, step in steps.items()}
        if not np.allclose(losses[OURS], losses[THEIRS], rtol=1e-4):
            notes.append(f"{title} is left out: losses differ, {losses}")
            continue
        tell(f"{title}: timing")
        timer = lambda step: lambda: seconds_a_step(step, settings.steps, jax.block_until_ready)  # noqa: E731
        times = interleave({name: timer(step) for name, step in steps.items()}, settings.rounds)
        races.append(Race(f"A neural ODE of {settings.width} wide, batch {settings.batch}, {title}", times))
    return Results(races, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("science", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
