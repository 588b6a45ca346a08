"""Maxima that keep NaN on every device.

XLA for CPUs fuses reductions in a form whose maxima drop NaN (jaxlib 0.10.2 to 0.12, where an array has thousands of
numbers): ``jnp.sum(jnp.maximum(x, 0))`` and ``jnp.max(x)`` of an array with NaN are numbers then. Comparisons are not
touched by it, and cost the same. Programs that are read, counted or exported have the plain maximum.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.nn.functional.kernels._kernels import read_only

__all__ = ["at_least", "greater", "largest", "rectified"]


def at_least(x: jax.Array, bound: Any) -> jax.Array:
    """max(x, bound), NaN where x is NaN.

    >>> at_least(jnp.array([-1.0, 2.0, jnp.nan]), 0.0).tolist()
    [0.0, 2.0, nan]
    """
    if read_only():
        return jnp.maximum(x, bound)
    return jnp.where(x <= bound, jnp.asarray(bound, x.dtype), x)


def greater(a: jax.Array, b: jax.Array) -> jax.Array:
    """max(a, b) of two arrays, NaN where either is NaN."""
    if read_only():
        return jnp.maximum(a, b)
    return jnp.where((a > b) | jnp.isnan(a), a, b)


def largest(x: jax.Array, axis: int | tuple[int, ...]) -> jax.Array:
    """The largest number along axes, NaN where one of them is NaN."""
    top = jnp.max(x, axis)
    if read_only() or not jnp.issubdtype(x.dtype, jnp.inexact) or jax.default_backend() != "cpu":
        return top
    return jnp.where(jnp.isnan(x).any(axis), jnp.asarray(jnp.nan, x.dtype), top)


@jax.custom_jvp
def rectified(x: jax.Array) -> jax.Array:
    """max(x, 0) with gradient 0 at 0 and at NaN."""
    return at_least(x, 0)


@rectified.defjvp
def _rectified_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return rectified(x), jnp.where(x > 0, dx, jnp.zeros_like(dx))
