"""Mean and variance that keep their digits where numbers are far from zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["centre"]


def centre(x: Array, axes: tuple[int, ...], axis_name: str | None = None) -> tuple[Array, Array, Array]:
    """Mean, biased variance (both with axes kept) and ``x - mean``."""

    def average(values: Array) -> Array:
        part = jnp.mean(values, axes, keepdims=True)
        return part if axis_name is None else lax.pmean(part, axis_name)

    rough = jax.lax.stop_gradient(average(x))  # any constant gives the same result in exact arithmetic
    deviation = x - rough
    rest = average(deviation)
    var = jnp.maximum(average(jnp.square(deviation)) - jnp.square(rest), 0.0)
    return rough + rest, var, deviation - rest
