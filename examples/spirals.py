"""Tell which way a spiral turns from a few of its points, seen at times of their own, by a neural CDE.

``python examples/spirals.py`` prints the share of new spirals that are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import phlox as px

POINTS = 16


def spirals(count: int, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Points (count, POINTS, 2), their times (count, POINTS), and whether each spiral turns to the left."""
    when, turn, where, noise = jax.random.split(key, 4)
    ts = jnp.sort(jax.random.uniform(when, (count, POINTS), maxval=2 * jnp.pi), 1)
    left = jax.random.bernoulli(turn, shape=(count,))
    angle = jnp.where(left, 1, -1)[:, None] * ts + jax.random.uniform(where, (count, 1), maxval=2 * jnp.pi)
    radius = jnp.exp(-0.2 * ts)[..., None]
    points = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    return points + 0.05 * jax.random.normal(noise, points.shape), ts, left


class Classifier(px.Module):
    """The logarithm of the odds that a spiral turns to the left, at each point or at the last."""

    def __init__(self, hidden: int = 8):
        field = px.Chain(px.Dense(hidden, 32, px.softplus, key=0), px.Dense(32, hidden * 3, px.tanh, key=1))
        self.cde = px.science.NeuralCDE(px.Dense(3, hidden, key=2), field, solver="heun", step=0.5)
        self.odds = px.Dense(hidden, 1, key=3)

    def __call__(self, points: jax.Array, ts: jax.Array) -> jax.Array:
        return self.odds(self.cde(points, ts))[..., 0]


@dataclass
class Found:
    """What came of it, for the picture."""

    model: Classifier
    points: jax.Array
    ts: jax.Array
    left: jax.Array
    accuracy: float


@px.jit
def step(model: Classifier, opt: px.Optimizer, points: jax.Array, ts: jax.Array, left: jax.Array) -> jax.Array:
    """One step of training on spirals that were never seen before."""

    def loss_of(model: Classifier) -> jax.Array:
        return px.losses.binary_cross_entropy_with_logits(model(points, ts), left.astype("float32"))

    loss, grads = px.value_and_grad(loss_of)(model)
    opt.update(model, grads)
    return loss


def main(steps: int = 300, batch: int = 64) -> Found:
    """Train, and ask about spirals that are new."""
    model = Classifier()
    opt = px.Optimizer(px.optim.Adam(1e-2), model)
    for key in jax.random.split(jax.random.key(0), steps):
        step(model, opt, *spirals(batch, key))
    points, ts, left = spirals(400, jax.random.key(1))
    accuracy = float(((model(points, ts) > 0) == left).mean())
    return Found(model, points, ts, left, accuracy)


if __name__ == "__main__":
    print(f"{main().accuracy:.1%} of new spirals are told apart")
