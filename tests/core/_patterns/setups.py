"""How each pattern is set up for its test: its objects, and the batches of its steps."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from registry import spread

FOLDER = Path(__file__).parents[3] / "examples" / "patterns"


@cache
def example(name: str) -> Any:
    """The program of a pattern, imported from its file."""
    spec = importlib.util.spec_from_file_location(f"pattern_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def double() -> Iterator[None]:
    """Float64 throughout, so that rounding stays far below every difference that matters."""
    with jax.enable_x64(True), px.dtypes(param=jnp.float64):
        yield


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def share(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape)


def classes(seed: int, n: int, of: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, of, n)


Setup = tuple[list[Any], list[tuple[Any, ...]]]  # the objects that a step takes and changes, and what else it takes


def made(build: Callable[[], Any], seed: int = 0) -> Any:
    """A model from the stream of a seed, moved off its zeros and ones."""
    with px.seed(seed):
        return spread(build())


def gan(program: Any, steps: int) -> Setup:
    with px.seed(0):
        generator, discriminator = (spread(m) for m in program.build())
    opts = [px.Optimizer(px.optim.Adam(2e-3, b1=0.5), m) for m in (generator, discriminator)]
    return [generator, discriminator, *opts], [(normal(i, 6, 2), normal(50 + i, 6, 4)) for i in range(steps)]


def distillation(program: Any, steps: int) -> Setup:
    teacher, student = made(lambda: program.build(10, 0.3)), made(lambda: program.build(5, 0.2), 1)
    opt = px.Optimizer(px.optim.AdamW(1e-2), student)
    return [student, opt, teacher], [(normal(i, 7, 2), classes(i, 7, 3)) for i in range(steps)]


def averaged_copy(program: Any, steps: int) -> Setup:
    model = made(program.build)
    return [model, px.copy(model), px.Optimizer(px.optim.Adam(2e-2), model)], [
        (normal(i, 6, 1), normal(50 + i, 6, 1), 0.8) for i in range(steps)
    ]


def gradient_penalty(program: Any, steps: int) -> Setup:
    critic = made(program.build)
    return [critic, px.Optimizer(px.optim.Adam(2e-3, b1=0.5), critic)], [
        (normal(i, 5, 2) + 1, normal(50 + i, 5, 2), share(i, 5, 1)) for i in range(steps)
    ]


def maml(program: Any, steps: int) -> Setup:
    model = made(program.build)
    batch = lambda i: tuple(normal(i + j, 3, 4, 1) for j in (0, 50))  # noqa: E731
    return [model, px.Optimizer(px.optim.Adam(3e-3), model)], [(batch(i), batch(100 + i)) for i in range(steps)]


def shared_encoder(program: Any, steps: int) -> Setup:
    model = made(lambda: program.Pair(4, 6, 3))
    return [model, px.Optimizer(px.optim.Adam(3e-3), model)], [
        (normal(i, 5, 4), normal(50 + i, 5, 4)) for i in range(steps)
    ]


def recurrent_dropout(program: Any, steps: int) -> Setup:
    model = made(lambda: program.Recurrent(2, 5, 1, dropout=0.4))
    return [model, px.Optimizer(px.optim.Adam(3e-3), model)], [
        (normal(i, 4, 6, 2), normal(50 + i, 4, 1)) for i in range(steps)
    ]


def policy_rollout(program: Any, steps: int) -> Setup:
    agent = made(lambda: program.Agent(5))
    return [agent, px.Optimizer(px.optim.Adam(1e-2), agent)], [
        (jax.random.key(i), share(i, 6, 2)) for i in range(steps)
    ]


def ensemble(program: Any, steps: int) -> Setup:
    models, opts = px.vmap(program.make)(jax.random.split(jax.random.key(0), 3))
    return [models, opts], [(normal(i, 3, 6, 1), normal(50 + i, 3, 6, 1)) for i in range(steps)]


def pinn(program: Any, steps: int) -> Setup:
    model = made(lambda: program.build(6))
    return [model, px.Optimizer(px.optim.Adam(5e-3), model)], [
        (share(i, 5, 2), share(50 + i, 3, 2), share(90 + i, 3, 2)) for i in range(steps)
    ]


def tied_embeddings(program: Any, steps: int) -> Setup:
    model = made(lambda: program.Language(7, 4))
    batch = lambda i: (np.stack([classes(i, 9, 7), classes(50 + i, 9, 7)], -1), classes(90 + i, 9, 7))  # noqa: E731
    return [model, px.Optimizer(px.optim.Adam(1e-2), model)], [batch(i) for i in range(steps)]


def frozen_trunk(program: Any, steps: int) -> Setup:
    model, head = made(lambda: program.Classifier(2, 5, 4)), made(lambda: px.Dense(5, 2), 1)
    opt = px.Optimizer(px.optim.Momentum(0.1), model)
    batches = [(normal(i, 8, 2), classes(i, 8, 4 if i < steps // 2 else 2)) for i in range(steps)]
    return [model, opt, head], batches


PATTERNS: dict[str, Callable[[Any, int], Setup]] = {
    f.__name__: f
    for f in (
        gan,
        distillation,
        averaged_copy,
        gradient_penalty,
        maml,
        shared_encoder,
        recurrent_dropout,
        policy_rollout,
        ensemble,
        pinn,
        tied_embeddings,
        frozen_trunk,
    )
}

STEPS = 4


@dataclass
class Run:
    """What training gave: losses (steps, parts), and arrays by path of every object, before and after."""

    losses: np.ndarray
    before: list[dict[str, np.ndarray]]
    after: list[dict[str, np.ndarray]]
    batches: list[tuple[Any, ...]]
    objects: list[Any]


def arrays(module: px.Module) -> dict[str, np.ndarray]:
    """A Module's arrays by path in NumPy, random keys as their words."""
    words = lambda v: jax.random.key_data(v) if jnp.issubdtype(v.dtype, jax.dtypes.prng_key) else v  # noqa: E731
    return {path: np.asarray(words(v)) for path, v in px.state_dict(module).items()}


@cache
def trained(name: str, compiled: bool) -> Run:
    """A pattern's objects after ``STEPS`` steps, line by line or compiled."""
    program = example(name)
    with double():
        objects, batches = PATTERNS[name](program, STEPS)
        before = [arrays(m) for m in objects]
        step = program.train_all if name == "ensemble" else program.train_step
        if compiled:
            step = px.jit(step, static_argnames="steps") if name == "policy_rollout" else px.jit(step)
        losses = []
        for i, batch in enumerate(batches):
            batch = jax.tree.map(jnp.asarray, batch)
            if name == "frozen_trunk":
                model, opt, head = objects
                if i == STEPS // 2:
                    program.replace_head(model, opt, head)
                losses.append(step(model, opt, *batch))
            else:
                losses.append(step(*objects, *batch))
        flat = [np.concatenate([np.ravel(v) for v in jax.tree.leaves(loss)]) for loss in losses]
        return Run(np.stack(flat), before, [arrays(m) for m in objects], batches, objects)
