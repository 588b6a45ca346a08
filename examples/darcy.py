"""Learn how water flows through rock: from permeability to pressure, by a Fourier neural operator, on any grid.

``python examples/darcy.py`` prints how far it is from a solver, on the grid it was trained on and on others.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.fft import idctn
from scipy.sparse import diags_array
from scipy.sparse.linalg import spsolve

import phlox as px

LOOSE, DENSE = 12.0, 3.0  # permeabilities of two kinds of rock


def rock(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Permeabilities (count, size, size), at vertices: where a smooth random field is above 0, rock is loose.

    The field is drawn by its cosine waves, with the covariance of the inverse of (9 − Δ)².
    """
    k = np.arange(size)
    power = 1 / (np.pi**2 * (k[:, None] ** 2 + k**2) + 9)
    power[0, 0] = 0
    field = idctn(power * rng.normal(size=(count, size, size)), type=1, axes=(1, 2))
    return np.where(field > 0, LOOSE, DENSE)


def pressure(a: np.ndarray) -> np.ndarray:
    """Solve −∇·(a ∇u) = 1 on the unit square, with u = 0 on its border, by finite differences: (size, size) both."""
    n = len(a) - 2  # inner vertices along an axis
    mean = lambda a, b: 2 * a * b / (a + b)  # noqa: E731 - of flow through one rock and then the other
    down, right = mean(a[:-1, 1:-1], a[1:, 1:-1]), mean(a[1:-1, :-1], a[1:-1, 1:])
    here = down[:-1] + down[1:] + right[:, :-1] + right[:, 1:]
    beside = np.pad(right[:, 1:-1], ((0, 0), (0, 1))).ravel()[:-1]  # nothing flows from a row's end to the next
    below = down[1:-1].ravel()
    matrix = diags_array((-below, -beside, here.ravel(), -beside, -below), offsets=(-n, -1, 0, 1, n))
    u = np.zeros_like(a)
    u[1:-1, 1:-1] = spsolve(matrix.tocsc(), np.full(n * n, 1 / (n + 1) ** 2)).reshape(n, n)
    return u


def samples(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rock as −1 and 1, and the pressure in it, times 100: (count, size, size, 1) both."""
    a = rock(count, size, np.random.default_rng(seed))
    u = np.stack([pressure(one) for one in a])
    signs = np.where(a == LOOSE, 1.0, -1.0)
    return signs[..., None].astype(np.float32), (100 * u[..., None]).astype(np.float32)


def relative(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """How far a prediction is off, as a share of the target's length; the mean of the batch."""
    length = lambda v: jnp.sqrt(jnp.sum(jnp.square(v), (1, 2, 3)))  # noqa: E731
    return jnp.mean(length(prediction - target) / length(target))


@dataclass
class Found:
    """What came of it, for the picture."""

    model: px.science.FNO
    errors: dict[int, float]  # by size of the grid
    rock: np.ndarray  # on the finest grid, and the pressure there
    pressure: np.ndarray


def main(count: int = 400, epochs: int = 40, size: int = 33, width: int = 24, modes: int = 8) -> Found:
    """Train on a grid of ``size`` vertices an axis, and ask on half as fine and twice as fine a grid."""
    finest = 2 * size - 1
    x, y = samples(count + 40, finest, seed=0)
    train, test = (x[:count, ::2, ::2], y[:count, ::2, ::2]), (x[count:], y[count:])
    with px.seed(0):
        model = px.science.FNO((modes, modes), 1, 1, width, depth=4, padding=0.125, grid="vertices")
    rate = px.optim.cosine_annealing(3e-3, epochs * (count // 20))
    px.fit(model, train, loss=relative, optimizer=px.optim.AdamW(rate), epochs=epochs, batch_size=20, progress=False)
    ask = px.jit(lambda model, x, y: relative(model(x), y))
    errors = {len(x[0]): float(ask(model, x, y)) for x, y in (tuple(v[:, ::s, ::s] for v in test) for s in (4, 2, 1))}
    return Found(model, errors, *test)


if __name__ == "__main__":
    for size, error in main().errors.items():
        print(f"{size} × {size} vertices: {error:.1%} off")
