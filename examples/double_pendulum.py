"""Learn the Lagrangian of a double pendulum from how it speeds up, and let it swing on its own.

A plain network learns the same accelerations beside it. ``python examples/double_pendulum.py`` prints how far the
energy of each swing drifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import phlox as px

GRAVITY = 9.81  # m/s²; both rods are 1 m long and hold 1 kg


def lagrangian(y: jax.Array) -> jax.Array:
    """Kinetic less potential energy, in joules, of angles and their speeds (batch, 4)."""
    a, b, va, vb = y.T
    return va**2 + vb**2 / 2 + va * vb * jnp.cos(a - b) + GRAVITY * (2 * jnp.cos(a) + jnp.cos(b))


def energy(y: jax.Array) -> jax.Array:
    """Kinetic and potential energy, in joules, of states (..., 4)."""
    a, b, va, vb = jnp.moveaxis(y, -1, 0)
    return va**2 + vb**2 / 2 + va * vb * jnp.cos(a - b) - GRAVITY * (2 * jnp.cos(a) + jnp.cos(b))


class Learned(px.Module):
    """A Lagrangian of angles as points on circles, so that a full turn is none."""

    def __init__(self, width: int):
        self.net = px.Chain(
            px.Dense(6, width, px.softplus, key=0),
            px.Dense(width, width, px.softplus, key=1),
            px.Dense(width, 1, key=2),
        )

    def __call__(self, y: jax.Array) -> jax.Array:
        q, v = y[:, :2], y[:, 2:]
        return self.net(jnp.concatenate([jnp.sin(q), jnp.cos(q), v], 1)) + (v**2).sum(1, keepdims=True) / 2


class Plain(px.Module):
    """Accelerations straight from a network of the same size."""

    def __init__(self, width: int):
        self.net = px.Chain(
            px.Dense(6, width, px.softplus, key=0),
            px.Dense(width, width, px.softplus, key=1),
            px.Dense(width, 2, key=2),
        )

    def __call__(self, y: jax.Array) -> jax.Array:
        q, v = y[:, :2], y[:, 2:]
        return jnp.concatenate([v, self.net(jnp.concatenate([jnp.sin(q), jnp.cos(q), v], 1))], 1)


@dataclass
class Found:
    """What came of it, for the picture."""

    ts: jax.Array
    true: jax.Array  # (1, times, 4)
    swings: dict[str, jax.Array]
    drifts: dict[str, float]  # largest change of energy on the way, in joules


def states(count: int, key: jax.Array) -> jax.Array:
    """Angles within 90° of hanging, and speeds."""
    return jax.random.uniform(key, (count, 4), minval=-1.0, maxval=1.0) * jnp.array([1.6, 1.6, 3.0, 3.0])


@px.jit
def step(field: px.Module, opt: px.Optimizer, y: jax.Array, slope: jax.Array) -> jax.Array:
    """One step of training."""
    loss, grads = px.value_and_grad(lambda field: px.losses.huber(field(y), slope))(field)
    opt.update(field, grads)
    return loss


def main(steps: int = 2000, width: int = 48, batch: int = 128, seconds: float = 10.0) -> Found:
    """Train both, let both swing from one state, and measure the true energy on the way."""
    truth = px.science.LagrangianField(lagrangian)
    fields = {
        "a network for L": px.science.LagrangianField(Learned(width)),
        "a network for accelerations": Plain(width),
    }
    y0, ts = jnp.array([[1.0, 0.6, 0.0, 0.0]]), jnp.linspace(0.0, seconds, 201)
    swing = lambda field: px.science.NeuralODE(field, rtol=1e-6, atol=1e-6, max_steps=20_000)(y0, ts)  # noqa: E731
    slope_of = px.jit(truth)
    swings = {}
    for name, field in fields.items():
        opt = px.Optimizer(px.optim.Adam(px.optim.cosine_annealing(3e-3, steps)), field)
        for key in jax.random.split(jax.random.key(0), steps):
            y = states(batch, key)
            step(field, opt, y, slope_of(y))
        swings[name] = swing(field)
    drifts = {name: float(jnp.abs(energy(y) - energy(y[:, :1])).max()) for name, y in swings.items()}
    return Found(ts, swing(truth), swings, drifts)


if __name__ == "__main__":
    for name, drift in main().drifts.items():
        print(f"{name}: energy drifts by {drift:.2f} J")
