"""Find what an equation of hares and foxes lacks: known growth, and a network for what happens when they meet.

``python examples/lotka_volterra.py`` says how far the network is from the term that made the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import phlox as px

BIRTHS, DEATHS, EATEN, FED = 1.3, 1.8, 0.9, 0.8  # a unit of time


def growth(y: jax.Array) -> jax.Array:
    """What is known: hares breed, foxes starve."""
    return y * jnp.array([BIRTHS, -DEATHS])


def meeting(y: jax.Array) -> jax.Array:
    """What is not, and is to be found: hares are eaten, foxes fed."""
    return y.prod(-1, keepdims=True) * jnp.array([-EATEN, FED])


class Stretch(px.Module):
    """States at the times behind the first, from the first."""

    ts: px.State  # (times,)

    def __init__(self, field: px.Module, ts: jax.Array):
        self.ode, self.ts = px.science.NeuralODE(field, rtol=1e-4, atol=1e-6), ts

    def __call__(self, y0: jax.Array) -> jax.Array:
        return self.ode(y0, self.ts)[:, 1:]


@dataclass
class Found:
    """What came of it, for the picture."""

    field: px.science.UniversalField
    ts: jax.Array
    observed: jax.Array  # (runs, times, 2)
    error: float  # of the network beside the true term, as a share of it


def observations(noise: float) -> tuple[jax.Array, jax.Array]:
    """Times, and three runs of hares and foxes, measured with some error."""
    truth = px.science.NeuralODE(lambda y: growth(y) + meeting(y), rtol=1e-6, atol=1e-6)
    ts = jnp.linspace(0.0, 8.0, 81)
    clean = truth(jnp.array([[1.0, 1.0], [3.0, 1.0], [2.0, 3.0]]), ts)
    return ts, clean * (1 + noise * jax.random.normal(jax.random.key(0), clean.shape))


def main(epochs: int = 600, noise: float = 0.005) -> Found:
    """Train on stretches of the runs, and compare what was found with what was hidden."""
    ts, observed = observations(noise)
    length = 10
    starts = range(0, len(ts) - length, 2)
    pieces = jnp.concatenate([observed[:, n : n + length + 1] for n in starts])
    network = px.Chain(px.Dense(2, 24, px.tanh, key=0), px.Dense(24, 24, px.tanh, key=1), px.Dense(24, 2, key=2))
    field = px.science.UniversalField(growth, network)
    model = Stretch(field, ts[: length + 1])
    rate = px.optim.cosine_annealing(1e-2, epochs)
    px.fit(
        model, (pieces[:, 0], pieces[:, 1:]), loss=px.losses.mse, optimizer=px.optim.Adam(rate), epochs=epochs,
        batch_size=len(pieces), progress=False,
    )  # fmt: skip
    seen = observed.reshape(-1, 2)
    wrong = jnp.abs(network(seen) - meeting(seen)).mean() / jnp.abs(meeting(seen)).mean()
    return Found(field, ts, observed, float(wrong))


if __name__ == "__main__":
    print(f"the network is {main().error:.1%} off the term that it was not told")
