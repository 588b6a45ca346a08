"""Solve the flow in a cavity under a moving lid by a network, and compare with finite differences.

``python examples/cavity.py`` trains for some minutes on two cores, and says how far the velocities are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px

REYNOLDS = 100.0
BOX = px.science.Box(x=(0, 1), y=(0, 1))


def lid(x: Any) -> Any:
    """How fast the lid moves: not at all in the corners, so that the flow is smooth there."""
    return 16 * (x * (1 - x)) ** 2


def vorticity(psi: px.science.Field, x: Any, y: Any) -> Any:
    """What must be zero: vorticity is carried along, and spreads; velocities are the slopes of a stream function."""
    u, v = psi.d("y"), -psi.d("x")
    carried = u * (psi.d("xxx") + psi.d("xyy")) + v * (psi.d("xxy") + psi.d("yyy"))
    return carried - (psi.d("xxxx") + 2 * psi.d("xxyy") + psi.d("yyyy")) / REYNOLDS


def by_differences(n: int) -> np.ndarray:
    """The stream function on a grid of n cells a side, (n - 1, n - 1) within the walls, by Newton's method."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    h, inner = 1 / n, n - 1
    rows, columns = np.arange(inner), np.arange(inner) + 2  # with the walls and a row of cells behind each
    part = lambda weights: sum(  # noqa: E731
        w * sparse.csr_matrix((np.ones(inner), (rows, columns + k)), (inner, inner + 4)) for k, w in weights.items()
    )
    one, first, second = (
        part({0: 1.0}),
        part({-1: -0.5 / h, 1: 0.5 / h}),
        part({-1: 1 / h**2, 0: -2 / h**2, 1: 1 / h**2}),
    )
    third = part({-2: -0.5 / h**3, -1: 1 / h**3, 1: -1 / h**3, 2: 0.5 / h**3})
    fourth = part({-2: 1 / h**4, -1: -4 / h**4, 0: 6 / h**4, 1: -4 / h**4, 2: 1 / h**4})
    both = lambda a, b: sparse.kron(a, b, "csr")  # noqa: E731  by x and by y
    # No flow through the walls, none along them: behind a wall the stream function is what it is before it.
    mirror = sparse.lil_matrix((inner + 4, inner))
    mirror[columns, rows] = 1
    mirror[0, 0] = mirror[inner + 3, inner - 1] = 1
    around = both(mirror, mirror)
    beyond = np.zeros((inner + 4, inner + 4))
    beyond[2:-2, -1] = 2 * h * lid(np.arange(1, n) * h)  # the lid, which drags
    dx, dy = both(first, one), both(one, first)
    curl_x, curl_y = both(third, one) + both(first, second), both(second, first) + both(one, third)
    spread = (both(fourth, one) + 2 * both(second, second) + both(one, fourth)) / REYNOLDS
    psi = np.zeros(inner * inner)
    for _ in range(20):
        whole = around @ psi + beyond.reshape(-1)
        u, v, along, across = dy @ whole, -(dx @ whole), curl_x @ whole, curl_y @ whole
        wrong = u * along + v * across - spread @ whole
        by = sparse.diags
        slope = by(along) @ dy + by(u) @ curl_x - by(across) @ dx + by(v) @ curl_y - spread
        change = spsolve((slope @ around).tocsc(), wrong)
        psi = psi - change
        if np.abs(change).max() < 1e-12:
            return psi.reshape(inner, inner)
    raise RuntimeError("Newton's method did not come to its end")


def reference(n: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Velocities (n - 5, n - 5, 2) and where, from two grids, so that what is left is of fourth order."""
    coarse, fine = by_differences(n), by_differences(2 * n)[1::2, 1::2]
    psi, h = (4 * fine - coarse) / 3, 1 / n
    five = lambda f: (f[:-4] - 8 * f[1:-3] + 8 * f[3:-1] - f[4:]) / (12 * h)  # noqa: E731  fourth order too
    u, v = five(psi.T).T[2:-2], -five(psi)[:, 2:-2]
    at = np.arange(3, n - 2) * h
    return np.stack([u, v], -1), np.stack(np.meshgrid(at, at, indexing="ij"), -1)


@dataclass
class Found:
    """What came of it, for the picture."""

    pinn: px.science.PINN
    error: float  # relative L2 of velocities


def velocities(pinn: px.science.PINN, places: Any) -> jax.Array:
    """(batch, 2) at places (batch, 2)."""
    psi = px.science.Field(pinn, places, "x y")
    return jnp.stack([psi.d("y"), -psi.d("x")], -1)


def main(width: int = 20, points: int = 1000, steps: int = 300) -> Found:
    """Walls and lid hold by how the network is built; what is left is one equation, of fourth order."""
    with jax.enable_x64(True), px.seed(0), px.dtypes(param="float64"):
        body = px.Chain(px.Dense(2, width, px.tanh), px.Dense(width, width, px.tanh), px.Dense(width, 1))
        walls = lambda x, y: 100 * (x * (1 - x) * y * (1 - y)) ** 2  # noqa: E731  zero there with its slope
        driven = lambda x, y: lid(x) * y**2 * (y - 1)  # noqa: E731  and this has the slope of the lid
        pinn = px.science.PINN(px.science.HardConstraint(body, walls, driven), vorticity)
        px.science.minimise(px.science.physics_loss, pinn, BOX.sobol(points), method="levenberg_marquardt", steps=steps)
        wanted, places = reference()
        found = np.asarray(velocities(pinn, jnp.asarray(places.reshape(-1, 2))))
        wrong = found - wanted.reshape(-1, 2)
        return Found(pinn, float(np.linalg.norm(wrong) / np.linalg.norm(wanted)))


if __name__ == "__main__":
    print(f"velocities are {main().error:.2%} off those of finite differences")
