"""Solve Burgers' equation by a network that is told the equation and no solution, and compare with Cole and Hopf's.

``python examples/burgers.py`` trains for some minutes on two cores, and says how far it is from the exact solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px

VISCOSITY = 0.01 / np.pi
BOX = px.science.Box(x=(-1, 1), t=(0, 1))


def burgers(u: px.science.Field, x: Any, t: Any) -> Any:
    """What must be zero everywhere."""
    return u.d("t") + u * u.d("x") - VISCOSITY * u.d("xx")


def wave(x: Any, t: Any) -> Any:
    """The beginning, at all times: the network adds what changes."""
    return -jnp.sin(jnp.pi * x)


def cole_hopf(x: Any, t: Any, nodes: int = 200) -> np.ndarray:
    """The exact solution at points (n,), by Cole and Hopf's integral and Gauss and Hermite's rule."""
    z, weights = np.polynomial.hermite.hermgauss(nodes)
    y = np.asarray(x)[:, None] - np.sqrt(4 * VISCOSITY * np.asarray(t))[:, None] * z
    heights = -np.cos(np.pi * y) / (2 * np.pi * VISCOSITY)
    shares = weights * np.exp(heights - heights.max(1, keepdims=True))
    return -(shares * np.sin(np.pi * y)).sum(1) / shares.sum(1)


@dataclass
class Found:
    """What came of it, for the picture."""

    pinn: px.science.PINN
    points: jax.Array  # where the equation was asked for at last
    error: float  # relative L2, on a grid


def main(width: int = 20, points: int = 1200, adam: int = 500, rounds: int = 4, steps: int = 50) -> Found:
    """Adam first, then rounds of Levenberg and Marquardt's method, each at points where the residual is large."""
    with jax.enable_x64(True), px.seed(0), px.dtypes(param="float64"):
        sizes = (2, width, width, width)
        layers = [px.Dense(a, b, px.tanh) for a, b in pairwise(sizes)]
        body = px.Chain(*layers, px.Dense(width, 1))
        network = px.science.HardConstraint(body, lambda x, t: t * (1 - x**2), wave)
        pinn = px.science.PINN(network, burgers)
        asked = BOX.sobol(points)
        rate = px.optim.cosine_annealing(5e-3, adam)
        px.fit(
            pinn, [asked], loss=px.science.physics_loss, optimizer=px.optim.Adam(rate), steps=adam, progress=False,
        )  # fmt: skip
        residual = px.jit(lambda pinn, points: pinn.residual("equation", points))
        for n in range(rounds):
            asked = BOX.adaptive(points, lambda places: residual(pinn, places), key=n)
            px.science.minimise(px.science.physics_loss, pinn, asked, method="levenberg_marquardt", steps=steps)
        places = BOX.grid(x=257, t=101)
        exact = cole_hopf(places[:, 0], places[:, 1])
        wrong = np.asarray(pinn(places))[:, 0] - exact
        return Found(pinn, asked, float(np.linalg.norm(wrong) / np.linalg.norm(exact)))


if __name__ == "__main__":
    print(f"the network is {main().error:.2%} off the exact solution")
