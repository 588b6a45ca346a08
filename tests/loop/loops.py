"""Small models and data for tests of the loop, and the loop written by hand."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import phlox as px


def mlp(seed: int = 0) -> px.Chain:
    with px.seed(seed):
        return px.Chain(px.Dense(4, 8, px.tanh), px.Dense(8, 3))


def dropping(seed: int = 0) -> px.Chain:
    """With statistics and random draws."""
    with px.seed(seed):
        return px.Chain(px.Dense(4, 8, px.relu), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3))


def cnn(seed: int = 0) -> px.Chain:
    with px.seed(seed):
        return px.Chain(
            px.Conv((3, 3), 1, 4, padding="SAME"),
            px.BatchNorm(4, px.relu),
            px.Dropout(0.3),
            px.flatten,
            px.Dense(64, 3),
        )


def recurrent(seed: int = 0) -> px.Chain:
    with px.seed(seed):
        return px.Chain(px.LSTM(4, 5), px.Dropout(0.2), lambda y: y[:, -1], px.Dense(5, 3))


def batches(count: int, shape: tuple[int, ...] = (4,), size: int = 6, seed: int = 1) -> list[tuple[Any, Any]]:
    """Inputs (size, *shape) and classes of three."""
    rng = np.random.default_rng(seed)
    draw = lambda: rng.normal(size=(size, *shape)).astype(np.float32)  # noqa: E731
    return [(draw(), rng.integers(0, 3, size).astype(np.int32)) for _ in range(count)]


def arrays(tree: px.Module) -> dict[str, np.ndarray]:
    """All arrays by path, random keys as their data."""
    bare = lambda v: jax.random.key_data(v) if jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key) else v  # noqa: E731
    return {path: np.asarray(bare(v)) for path, v in px.paths(tree).items()}


def assert_same_bits(a: px.Module, b: px.Module) -> None:
    ours, theirs = arrays(a), arrays(b)
    assert ours.keys() == theirs.keys()
    different = [path for path, v in ours.items() if v.tobytes() != theirs[path].tobytes()]
    assert not different, f"bits differ at {different}"


def by_hand(model: px.Module, opt: px.Optimizer, data: Any, loss: Any = px.losses.cross_entropy) -> list[float]:
    """The loop as a user writes it."""

    @px.jit
    def step(model: Any, opt: px.Optimizer, x: Any, y: Any) -> Any:
        value, grads = px.value_and_grad(lambda model: loss(model(x), y))(model)
        opt.update(model, grads)
        return value

    return [float(step(model, opt, x, y)) for x, y in data]
