"""Kernels: how alike two inputs are, of distances scaled by feature."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

_LEAST = 1e-12  # of a squared distance under a root, so that its slope at 0 is finite


def squared_distance(x: jax.Array, z: jax.Array) -> jax.Array:
    """Squared distances of all pairs, (..., inputs, points)."""
    return jnp.sum(jnp.square(x[..., :, None, :] - z[..., None, :, :]), -1)


def rbf(square: Any) -> jax.Array:
    r"""Smooth functions: $\exp(-d^2 / 2)$."""
    return jnp.exp(-square / 2)


def matern32(square: Any) -> jax.Array:
    r"""Functions with one derivative: $(1 + \sqrt 3 d) \exp(-\sqrt 3 d)$."""
    d = jnp.sqrt(3 * jnp.maximum(square, _LEAST))
    return (1 + d) * jnp.exp(-d)


def matern52(square: Any) -> jax.Array:
    r"""Functions with two derivatives: $(1 + \sqrt 5 d + 5 d^2 / 3) \exp(-\sqrt 5 d)$."""
    d = jnp.sqrt(5 * jnp.maximum(square, _LEAST))
    return (1 + d + jnp.square(d) / 3) * jnp.exp(-d)


KERNELS = {"rbf": rbf, "matern32": matern32, "matern52": matern52}
