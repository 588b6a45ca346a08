"""What a training step costs beside its arithmetic: Phlox, plain JAX, Equinox, Flax NNX and PyTorch, in one run.

The model is so small that almost all of a step is the road into and out of the compiled program. docs/performance.md
says what is measured and how; `make bench` runs this file.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _measure import (
    Bar,
    Spread,
    Table,
    Times,
    command,
    fastest,
    import_seconds,
    interleave,
    median,
    quartiles,
    record,
    seconds_a_step,
    short,
    spreads,
)

import phlox as px

WIDTH, BATCH, RATE = 8, 16, 1e-3
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "jax", "jaxlib", "optax", "numpy", "equinox", "flax", "torch")


@dataclass(frozen=True)
class Settings:
    rounds: int = 30
    eager_rounds: int = 20
    import_rounds: int = 9
    steps: Mapping[int, int] = field(default_factory=lambda: {1: 500, 10: 100, 100: 20})  # in a block, by layers
    eager_layers: int = 10
    eager_steps: int = 20


QUICK = Settings(rounds=3, eager_rounds=3, import_rounds=2, steps={1: 100, 10: 20, 100: 5}, eager_steps=5)


# --- the problem, and what takes part -----------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Layers y = tanh(x W + b) one after another, and a batch to fit in the mean square."""

    layers: Sequence[tuple[np.ndarray, np.ndarray]]  # W (in, out) and b (out,)
    x: np.ndarray  # (batch, in)
    y: np.ndarray  # (batch, out)

    @classmethod
    def of(cls, layers: int) -> Problem:
        rng = np.random.default_rng(layers)
        draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
        weights = [(draw(WIDTH, WIDTH) / math.sqrt(WIDTH), 0.1 * draw(WIDTH)) for _ in range(layers)]
        weights = [(w.astype(np.float32), b.astype(np.float32)) for w, b in weights]
        return cls(weights, draw(BATCH, WIDTH), np.tanh(draw(BATCH, WIDTH)))

    def batch(self) -> tuple[jax.Array, jax.Array]:
        return jnp.array(self.x), jnp.array(self.y)


@dataclass(frozen=True)
class Contender:
    step: Callable[[], Any]  # takes one training step and returns its loss
    arrays: Callable[[], list[Any]]  # the weights as they are now: W, b of the first layer, of the second, …
    out_in: bool = False  # W is stored (out, in)

    def weights(self) -> list[np.ndarray]:
        """The weights as NumPy arrays, W as (in, out)."""
        found = [np.asarray(a.detach() if hasattr(a, "detach") else a) for a in self.arrays()]
        return [a.T if self.out_in and a.ndim == 2 else a for a in found]


def phlox_step(problem: Problem, compiled: bool) -> Contender:
    model = px.Chain(*[px.Dense.of(jnp.array(w), jnp.array(b), px.tanh) for w, b in problem.layers])
    opt = px.Optimizer(px.optim.Adam(RATE), model)
    x, y = problem.batch()

    def step(model: px.Chain, opt: px.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
        def loss_fn(model: px.Chain) -> jax.Array:
            return px.losses.mse(model(x), y)

        loss, grads = px.value_and_grad(loss_fn)(model)
        opt.update(model, grads)
        return loss

    take = px.jit(step) if compiled else step
    return Contender(lambda: take(model, opt, x, y), lambda: [a for d in model for a in (d.weight, d.bias)])


def dict_step(problem: Problem, compiled: bool, donate: bool = False) -> Contender:
    count = len(problem.layers)
    params = {f"w{i}": jnp.array(w) for i, (w, _) in enumerate(problem.layers)}
    params |= {f"b{i}": jnp.array(b) for i, (_, b) in enumerate(problem.layers)}
    adam = optax.adam(RATE)
    state = adam.init(params)
    x, y = problem.batch()

    def loss_fn(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        for i in range(count):
            x = jnp.tanh(x @ params[f"w{i}"] + params[f"b{i}"])
        return jnp.mean((x - y) ** 2)

    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, state = adam.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    advance = jax.jit(step, donate_argnums=(0, 1) if donate else ()) if compiled else step

    def take() -> jax.Array:
        nonlocal params, state
        params, state, loss = advance(params, state, x, y)
        return loss

    return Contender(take, lambda: [params[f"{k}{i}"] for i in range(count) for k in "wb"])


def equinox_step(problem: Problem, donate: str = "none", leaves: bool = False) -> Contender:
    """With ``leaves``, what crosses the jit boundary is flattened by hand: Equinox's advice for tiny steps."""
    import equinox as eqx

    class MLP(eqx.Module):
        layers: list[eqx.nn.Linear]

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in self.layers:
                x = jnp.tanh(layer(x))
            return x

    def linear(w: np.ndarray, b: np.ndarray) -> eqx.nn.Linear:
        blank = eqx.nn.Linear(WIDTH, WIDTH, key=jax.random.key(0))
        return eqx.tree_at(lambda m: (m.weight, m.bias), blank, (jnp.array(w.T), jnp.array(b)))

    adam = optax.adam(RATE)
    model: Any = MLP([linear(w, b) for w, b in problem.layers])
    state: Any = adam.init(eqx.filter(model, eqx.is_inexact_array))
    batch = problem.batch()
    model_def, state_def = jax.tree.structure(model), jax.tree.structure(state)

    def step(batch: Any, model: Any, state: Any) -> Any:
        x, y = batch
        if leaves:
            model, state = jax.tree.unflatten(model_def, model), jax.tree.unflatten(state_def, state)
        loss_fn = lambda model: jnp.mean((jax.vmap(model)(x) - y) ** 2)  # noqa: E731
        loss, grads = eqx.filter_value_and_grad(loss_fn)(model)
        updates, state = adam.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        model = eqx.apply_updates(model, updates)
        return (jax.tree.leaves(model), jax.tree.leaves(state), loss) if leaves else (model, state, loss)

    if leaves:
        model, state = jax.tree.leaves(model), jax.tree.leaves(state)
    advance = eqx.filter_jit(step, donate=donate)  # type: ignore[arg-type]

    def take() -> jax.Array:
        nonlocal model, state
        model, state, loss = advance(batch, model, state)
        return loss

    return Contender(take, lambda: jax.tree.leaves(model), out_in=True)


def nnx_step(problem: Problem, form: str, graph: bool = True) -> Contender:
    """``form`` is jit, cached_partial, jit_partial, or split: the loop that merges and splits inside jax.jit."""
    from flax import nnx

    class MLP(nnx.Module):
        def __init__(self, layers: Sequence[tuple[np.ndarray, np.ndarray]]):
            self.layers = nnx.List([self.linear(jnp.array(w), jnp.array(b)) for w, b in layers])

        def linear(self, w: jax.Array, b: jax.Array) -> nnx.Linear:
            given: dict[str, Any] = dict(kernel_init=lambda *_: w, bias_init=lambda *_: b)
            return nnx.Linear(WIDTH, WIDTH, **given, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in self.layers:
                x = jnp.tanh(layer(x))
            return x

    model: Any = MLP(problem.layers)
    opt = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param, graph=graph)
    batch = problem.batch()

    def step(model: MLP, opt: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = nnx.value_and_grad(lambda model: jnp.mean((model(x) - y) ** 2), graph=graph)(model)
        opt.update(model, grads)
        return loss

    if form == "split":
        return _nnx_split(nnx, step, model, opt, batch)
    arrays = lambda: [v.get_value() for d in model.layers for v in (d.kernel, d.bias)]  # noqa: E731
    if form == "jit":
        jitted = nnx.jit(step, donate_argnums=(0, 1), graph=graph)
        return Contender(lambda: jitted(model, opt, *batch), arrays)
    if form == "cached_partial":
        bound = nnx.cached_partial(nnx.jit(step, donate_argnums=(0, 1)), model, opt)
    else:  # the bound arguments arrive as one list, the first argument
        from flax.nnx import jit_partial

        bound = jit_partial(step, model, opt, donate_argnums=0, graph=graph)
    return Contender(lambda: bound(*batch), arrays)


def _nnx_split(nnx: Any, step: Callable[..., jax.Array], model: Any, opt: Any, batch: Any) -> Contender:
    graphdef, state = nnx.split((model, opt))

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: Any, x: jax.Array, y: jax.Array) -> Any:
        model, opt = nnx.merge(graphdef, state)
        loss = step(model, opt, x, y)
        return nnx.state((model, opt)), loss

    def take() -> jax.Array:
        nonlocal state
        state, loss = advance(state, *batch)
        return loss

    def arrays() -> list[jax.Array]:
        model, _ = nnx.merge(graphdef, state)
        return [v.get_value() for d in model.layers for v in (d.kernel, d.bias)]

    return Contender(take, arrays)


def torch_step(problem: Problem, fused: bool) -> Contender:
    import torch

    torch.set_num_threads(1)  # arrays this small gain nothing from a second one, and lose much on a busy machine

    def linear(w: np.ndarray, b: np.ndarray) -> torch.nn.Linear:
        layer = torch.nn.Linear(WIDTH, WIDTH)
        layer.load_state_dict({"weight": torch.tensor(w.T.copy()), "bias": torch.tensor(b)})
        return layer

    model = torch.nn.Sequential(*[m for w, b in problem.layers for m in (linear(w, b), torch.nn.Tanh())])
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused)
    x, y = torch.tensor(problem.x), torch.tensor(problem.y)

    def take() -> torch.Tensor:
        adam.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        adam.step()
        return loss.detach()

    return Contender(take, lambda: [p.detach() for p in model.parameters()], out_in=True)


Builder = Callable[[Problem], Contender]
PHLOX, DONATED, NNX_JIT = "Phlox, px.jit", "jax.jit on a dict, donated", "Flax, nnx.jit"
FILTER_JIT = ("Equinox, filter_jit", "Equinox, filter_jit, donated")
PHLOX_EAGER, TORCH = "Phlox, eager", ("PyTorch, eager", "PyTorch, eager, fused Adam")
TORCHES: dict[str, Builder] = {
    name: functools.partial(torch_step, fused=fused) for name, fused in zip(TORCH, (False, True), strict=True)
}
COMPILED: dict[str, Builder] = {
    PHLOX: functools.partial(phlox_step, compiled=True),
    DONATED: functools.partial(dict_step, compiled=True, donate=True),
    "jax.jit on a dict": functools.partial(dict_step, compiled=True),
    FILTER_JIT[0]: equinox_step,
    FILTER_JIT[1]: functools.partial(equinox_step, donate="warn-except-first"),  # "all-…" also filters warnings
    "Equinox, filter_jit on leaves": functools.partial(equinox_step, donate="warn-except-first", leaves=True),
    NNX_JIT: functools.partial(nnx_step, form="jit"),
    "Flax, nnx.jit, tree": functools.partial(nnx_step, form="jit", graph=False),
    "Flax, nnx.cached_partial": functools.partial(nnx_step, form="cached_partial"),
    "Flax, nnx.jit_partial, tree": functools.partial(nnx_step, form="jit_partial", graph=False),
    "Flax, nnx.split, jax.jit": functools.partial(nnx_step, form="split"),
    **TORCHES,
}
EAGER: dict[str, Builder] = {
    PHLOX_EAGER: functools.partial(phlox_step, compiled=False),
    "plain JAX on a dict, eager": functools.partial(dict_step, compiled=False),
    **TORCHES,
}
IMPORTS = ("phlox", "optax", "equinox", "flax.nnx")


# --- measuring ----------------------------------------------------------------------------------------


def build(builders: Mapping[str, Builder], problem: Problem, notes: list[str]) -> dict[str, Contender]:
    """Make and warm up the contenders; leave out, with a note, what is missing or computes another loss."""
    ready: dict[str, Contender] = {}
    losses: dict[str, list[float]] = {}
    for name, builder in builders.items():
        try:
            contender = builder(problem)
        except ImportError as missing:
            notes.append(f"{name} is left out: {missing}")
            continue
        losses[name] = [float(contender.step()) for _ in range(3)]
        ready[name] = contender
    reference = next(iter(losses.values()), [])
    for name, found in losses.items():
        if not np.allclose(found, reference, rtol=1e-4):
            notes.append(f"{name} is left out: its first losses are {found}, those of {next(iter(losses))} {reference}")
            del ready[name]
    return ready


def timer(contender: Contender, steps: int) -> Callable[[], float]:
    def block() -> float:
        took = seconds_a_step(contender.step, steps, jax.block_until_ready)
        jax.block_until_ready(contender.arrays())  # the rest of the last step must not run into the next block
        return took

    return block


def race(builders: Mapping[str, Builder], layers: int, steps: int, rounds: int, notes: list[str]) -> Times:
    contenders = build(builders, Problem.of(layers), notes)
    return interleave({name: timer(c, steps) for name, c in contenders.items()}, rounds)


def import_times(rounds: int, notes: list[str]) -> Times:
    found = [m for m in IMPORTS if importlib.util.find_spec(m.partition(".")[0])]
    notes += [f"import {m} is left out: not installed" for m in IMPORTS if m not in found]
    timers = {m: functools.partial(import_seconds, m, after="jax") for m in found}
    interleave(timers, 1)  # compiles files, and fills the system's cache
    return interleave(timers, rounds)


@dataclass
class Results:
    compiled: dict[int, Times]  # by layers
    eager: Times
    imports: Times
    eager_layers: int
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What Phlox is held to; where a peer has several forms, against the fastest of them."""
        found = []
        for layers in (10, 100):
            times = self.compiled.get(layers, {})
            where = f"compiled step of {layers} layers"
            best = fastest(times, FILTER_JIT) or FILTER_JIT[0]
            found += [
                Bar(f"{where}, against {DONATED}", 1.05, median(times, PHLOX, DONATED)),
                Bar(f"{where}, faster than {best}", 2.5, median(times, best, PHLOX), at_most=False),
                Bar(f"{where}, faster than {NNX_JIT}", 10, median(times, NNX_JIT, PHLOX), at_most=False),
            ]
        where = f"eager step of {self.eager_layers} layers"
        found.append(Bar(f"{where}, against {TORCH[0]}", 8, median(self.eager, PHLOX_EAGER, TORCH[0])))
        seconds = Spread.of(self.imports["phlox"]).scaled(1e3).median if "phlox" in self.imports else None
        return [*found, Bar("import phlox, above import jax", 150, seconds, unit="ms")]

    def tables(self) -> list[Table]:
        return [
            _compiled_table(self.compiled),
            _eager_table(self.eager, self.eager_layers),
            Table(
                "Import: ms above import jax",
                ["", "ms", "quartiles"],
                [[m, short(s.median), quartiles(s)] for m, s in spreads(self.imports, 1e3)],
            ),
            Table("Bars for Phlox", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        return {
            "compiled": {layers: record(times, 1e6, DONATED) for layers, times in self.compiled.items()},
            "eager": {self.eager_layers: record(self.eager, 1e6, TORCH[0])},
            "imports": record(self.imports, 1e3),
            "units": {"compiled": "µs a step", "eager": "µs a step", "imports": "ms"},
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    notes: list[str] = []
    compiled: dict[int, Times] = {}
    for layers, steps in settings.steps.items():
        tell(f"compiled steps, {layers} layer{'s' if layers > 1 else ''}")
        compiled[layers] = race(COMPILED, layers, steps, settings.rounds, notes)
    tell(f"eager steps, {settings.eager_layers} layers")
    eager = race(EAGER, settings.eager_layers, settings.eager_steps, settings.eager_rounds, notes)
    tell("imports")
    imports = import_times(settings.import_rounds, notes)
    return Results(compiled, eager, imports, settings.eager_layers, list(dict.fromkeys(notes)))


def _compiled_table(compiled: Mapping[int, Times]) -> Table:
    rows = []
    for name in COMPILED:
        cells = [_cell(times, name, DONATED) for times in compiled.values()]
        if any(cells):
            rows.append([name, *[cell or "–" for cell in cells]])
    header = ["", *[f"{layers} layer{'s' if layers > 1 else ''}" for layers in compiled]]
    return Table("One compiled Adam step: µs, and times the donated dict", header, rows)


def _eager_table(times: Times, layers: int) -> Table:
    rows = [[name, _cell(times, name, TORCH[0]), quartiles(s)] for name, s in spreads(times, 1e6)]
    title = f"One eager Adam step of {layers} layers: µs, and times {TORCH[0]}"
    return Table(title, ["", f"{layers} layers", "quartiles, µs"], rows)


def _cell(times: Times, name: str, against: str) -> str:
    """The median in µs and the ratio to another contender; empty where nothing was measured."""
    if name not in times:
        return ""
    value = median(times, name, against)
    took = short(1e6 * Spread.of(times[name]).median)
    return took if value is None else f"{took} ({short(value)}×)"


def main(arguments: Sequence[str] | None = None) -> int:
    return command("dispatch", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
