"""A step of Adam on a neural ODE and on a physics-informed network: px.science beside others, in one process, in turns.

Equinox with Diffrax solves the same equation with the same weights, solver and tolerances; all examples take the same
steps, or each its own. Plain JAX takes the same step on the same points, and so does DeepXDE on PyTorch, which
`scripts/install .venv-serve-deepxde deepxde` fetches. docs/performance.md says what is measured.
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
from _physics import weights_and_points, with_deepxde, with_grad, with_jvp
from _physics import with_phlox as with_pinn

import phlox as px

OURS, THEIRS = "px.science", "Equinox + Diffrax"
BY_GRAD, BY_JVP, DEEPXDE = "JAX, grad of grad", "JAX, jvp of jvp", "DeepXDE on PyTorch"
PACKAGES = ("phlox", "jax", "jaxlib", "diffrax", "equinox", "optax", "deepxde", "torch")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
RATE = 1e-3


@dataclass(frozen=True)
class Settings:
    """How long to measure, and of what size."""

    rounds: int = 15
    steps: int = 20
    batch: int = 64
    width: int = 64
    points: int = 2048
    layers: int = 4  # hidden ones of the physics-informed network


QUICK = Settings(rounds=2, steps=2, batch=8, width=8, points=32, layers=2)


@dataclass(frozen=True)
class Race:
    """What was measured of one problem."""

    title: str
    times: Times  # seconds a step, one number a round
    bounds: dict[str, float]  # how many times theirs a step of ours may take

    @property
    def first(self) -> str:
        """Whom all are compared with in the table."""
        return next(iter(self.bounds))


@dataclass
class Results:
    races: list[Race]
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What a step is held to."""
        return [
            Bar(f"{r.title}, against {name}", bound, median(r.times, OURS, name))
            for r in self.races
            for name, bound in r.bounds.items()
        ]

    def tables(self) -> list[Table]:
        found = []
        for race in self.races:
            header = ["", "ms a step", f"times {race.first}'s", "quartiles, ms"]
            rows = [
                [name, short(spread.median), f"{short(median(race.times, name, race.first) or 1)}×", quartiles(spread)]
                for name, spread in spreads(race.times, 1e3)
            ]
            found.append(Table(race.title, header, rows))
        bars = Table("Bars for equations", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()])
        return [*found, bars]

    def json(self) -> dict[str, Any]:
        races = {r.title: record(r.times, 1e3, r.first) for r in self.races}
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
    """Both ways to solve a batch, and a physics-informed step."""
    races, notes = [], []
    for title, separate in (("the same steps for all examples", False), ("each example by itself", True)):
        steps = {OURS: with_phlox(settings, separate=separate), THEIRS: with_equinox(settings, separate=separate)}
        title = f"A neural ODE of {settings.width} wide, batch {settings.batch}, {title}"
        races += raced(title, steps, {THEIRS: 1.0}, settings, notes, tell)
    arrays, points = weights_and_points(settings.points, settings.width, settings.layers)
    makers = {OURS: with_pinn, BY_GRAD: with_grad, BY_JVP: with_jvp, DEEPXDE: with_deepxde}
    made = {name: make(arrays, points) for name, make in makers.items()}
    if made[DEEPXDE] is None:
        notes.append("DeepXDE is left out: scripts/install .venv-serve-deepxde deepxde, and PyTorch beside ours")
    title = f"Burgers' equation by a network, {settings.layers} layers of {settings.width}, {settings.points} points"
    steps = {name: step for name, step in made.items() if step is not None}
    races += raced(title, steps, {BY_GRAD: 1.0, BY_JVP: 1.0, DEEPXDE: 0.7}, settings, notes, tell)
    return Results(races, notes)


def raced(
    title: str,
    steps: dict[str, Callable[[], Any]],
    bounds: dict[str, float],
    settings: Settings,
    notes: list[str],
    tell: Callable[[str], None],
) -> list[Race]:
    """One race, or a note where losses differ after some steps."""
    tell(f"{title}: compiling")
    losses = {name: losses_of(step) for name, step in steps.items()}
    if not all(np.allclose(losses[OURS], other, rtol=1e-4) for other in losses.values()):
        notes.append(f"{title} is left out: losses differ, {losses}")
        return []
    tell(f"{title}: timing")
    timer = lambda step: lambda: seconds_a_step(step, settings.steps, jax.block_until_ready)  # noqa: E731
    return [Race(title, interleave({name: timer(step) for name, step in steps.items()}, settings.rounds), bounds)]


def losses_of(step: Callable[[], Any]) -> list[float]:
    """The losses before each of three steps."""
    if not hasattr(step, "loss"):
        return [float(step()) for _ in range(3)]
    losses = []
    for _ in range(3):
        losses.append(step.loss())
        step()
    return losses


def main(arguments: Sequence[str] | None = None) -> int:
    return command("science", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
