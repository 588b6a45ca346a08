"""Functions whose attributions are known by hand."""

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 4)).astype("f"), RNG.normal(size=4).astype("f")
X, BASE, DATA = (RNG.normal(size=(n, 4)).astype("f") for n in (3, 3, 6))


def quadratic(x):
    """(rows, 4) → (rows,): xᵀ A x + b · x."""
    return jnp.einsum("ri,ij,rj->r", x, A, x) + x @ B


def quadratic_slope(x):
    """Its gradient."""
    return x @ (A + A.T) + B


def along(x, base):
    """Its integrated gradients: slopes are linear, so their mean is the slope half way."""
    return (x - base) * quadratic_slope((x + base) / 2)


WEIGHTS = RNG.normal(size=(8, 5)).astype("f")


def eight(x):
    """(rows, 8) → (rows,): features 2 and 3 alike, feature 5 without effect."""
    w = jnp.asarray(WEIGHTS).at[3].set(WEIGHTS[2]).at[5].set(0)
    return jnp.tanh(x @ w).sum(1) + x[:, 2] * x[:, 3]


def by_orders(game, count):
    """Shapley values (features, rows) from scores of coalitions (2**features, rows), in the mean over all orders."""
    from itertools import permutations

    orders = np.array(list(permutations(range(count))))
    found = np.zeros((count, game.shape[1]))
    before = np.zeros(len(orders), int)
    for place in range(count):
        after = before | (1 << orders[:, place])
        for feature in range(count):
            mine = orders[:, place] == feature
            found[feature] += (game[after[mine]] - game[before[mine]]).sum(0)
        before = after
    return found / len(orders)


def score(model, x):
    return np.asarray(jax.jit(model)(x))
