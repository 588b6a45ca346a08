"""Weights of terms by what their gradients say, and the slopes of residuals that this is known from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

_AT_ONCE = 256  # points whose slopes are held together

Restore = Callable[[jax.Array], Any]  # from all parameters to the network with its terms


def balanced(size: jax.Array) -> jax.Array:
    """Weights that are large where a size is small, (terms,)."""
    return jnp.where(size > 0, size.sum() / jnp.where(size > 0, size, 1), 1)


def gradient_norms(restore: Restore, vector: jax.Array, points: Mapping[str, Any]) -> jax.Array:
    """The length of each term's gradient."""
    slopes = jax.jacrev(lambda vector: restore(vector).means(points)[0])(vector)
    return jnp.sqrt(jnp.sum(slopes**2, -1))


def kernels(restore: Restore, vector: jax.Array, points: Mapping[str, Any]) -> jax.Array:
    """The mean of the diagonal of each term's neural tangent kernel: of squared slopes of a point's residuals."""

    def of_term(name: str) -> jax.Array:
        one = slopes_at(restore, name)
        square = jax.lax.map(lambda at: jnp.sum(one(vector, at) ** 2), points[name], batch_size=_AT_ONCE)
        return square.mean()

    return jnp.stack([of_term(name) for name in restore(vector).terms])


def slopes_at(restore: Restore, name: str) -> Callable[[jax.Array, Any], jax.Array]:
    """The slopes of a term's residuals at one point by all parameters, (equations, parameters).

    Residuals of a point depend on no other, so those of all points cost what one gradient does.
    """

    def residuals(vector: jax.Array, at: Any) -> jax.Array:
        alone = jax.tree.map(lambda v: v[None], at)
        return restore(vector).residual(name, alone).reshape(-1)

    return jax.jacrev(residuals)
