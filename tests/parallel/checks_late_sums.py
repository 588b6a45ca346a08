"""Steps whose sums go together, on two devices: the numbers are those of one, whatever a step does with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.checks_messages import slow
from parallel.kit import assert_trains_alike, refused
from parallel.networks import convnet, gpt, images, mlp, next_token, points, sentences
from phlox.parallel import data_parallel


@jax.jit
def one_sum_twice(x: Any) -> tuple[Any, Any]:
    total = jnp.sum(x, 0)
    return total, total


class Custom(px.Module):
    """What a replay has to get right: a weight used twice, other precision, whole numbers, sums of sums."""

    weight: px.Param
    seen: px.State

    def __init__(self):
        self.weight = px.Dense(12, 12, key=0).weight
        self.seen = jnp.zeros((), int)

    def __call__(self, x: Any) -> Any:
        half = (x.astype(jnp.float32) @ self.weight.astype(jnp.float32)).astype(x.dtype)
        self.seen = self.seen + jnp.sum(x > 0)
        first, second = one_sum_twice(x)
        return jnp.tanh(half) @ self.weight + first / 3.0 + jnp.tanh(second)


def custom() -> Any:
    with px.seed(0):
        return px.f64(px.Chain(Custom(), px.Dense(12, 3)))


def alike(build: Callable[[], Any], data: Any, **options: Any) -> None:
    with slow():
        assert_trains_alike(build, data, data_parallel(2), steps=4, **options)


def check_a_network_with_statistics_of_batches() -> None:
    alike(lambda: px.f64(convnet()), images(), loss=px.losses.cross_entropy, clip=0.5)


def check_a_decoder_and_several_batches_a_step() -> None:
    """A tied weight, a compiled loop over blocks; gradients that add up over batches."""
    alike(lambda: px.f64(gpt()), sentences(), loss=next_token)
    measured = {"metrics": {"hits": px.metrics.Accuracy()}, "validation_data": points(24)}
    alike(lambda: px.f64(mlp()), points(), accumulate=2, loss=px.losses.cross_entropy, batch_size=8, **measured)


def check_a_module_that_does_more() -> None:
    with slow():
        models = assert_trains_alike(
            custom, points(), data_parallel(2), steps=4, tolerance=1e-6, loss=px.losses.cross_entropy
        )
    seen = [int(px.paths(m)["layers.0.seen"]) for m in models]
    assert seen[0] > 0, seen


def check_evaluation_and_steps_by_hand() -> None:
    model, (x, y) = px.f64(mlp()), points(32)
    told = lambda m: px.evaluate(m, (x, y), loss=px.losses.cross_entropy, metrics={"a": px.metrics.Accuracy()})  # noqa: E731
    whole = told(model)
    placement = px.parallel.shard(model, data_parallel(2))

    def loss(model: Any, x: Any, *, y: Any, scale: float) -> Any:
        return scale * px.losses.cross_entropy(model(x), y)

    def step(model: Any, x: Any, *, y: Any, scale: float) -> Any:
        return px.value_and_grad(loss)(model, x, y=y, scale=scale)

    with slow():
        found = told(model)
        jitted = placement.jit(step, static_argnames="scale")
        value, grads = jitted(model, placement.spread(x), y=placement.spread(y), scale=2.0)
        with refused(px.StructureError, "px.jit"):
            placement.jit(lambda model, x: setattr(model, "new", x))(model, placement.spread(x))
    for name, number in whole.items():
        np.testing.assert_allclose(found[name], number, rtol=0, atol=1e-12, err_msg=name)
    plain, expected = step(px.f64(mlp()), x, y=y, scale=2.0)
    np.testing.assert_allclose(value, plain, rtol=0, atol=1e-9)
    for path, g in px.paths(expected).items():
        np.testing.assert_allclose(px.paths(grads)[path], g, rtol=0, atol=1e-9, err_msg=path)
