"""Sums that stay exact over an epoch: two float32 numbers, of which the second holds what the first rounds away.

One float32 stops counting at 2^24, int32 overflows at 2^31, and float64 is off by default in JAX. A pair holds 48
bits: counts are exact to 2.8e14, and adding batches in another order changes a sum of floats in its last bits only.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_LOW = 12  # bits of an integer that go into the second number


def zeros(*shape: int) -> jax.Array:
    """The empty sum, (2, *shape)."""
    return jnp.zeros((2, *shape), jnp.float32)


def exact(x: jax.Array) -> jax.Array:
    """The sum (2, *shape) that stands for numbers of (*shape): int32, float32 and smaller without loss."""
    if jnp.issubdtype(x.dtype, jnp.integer):
        high = (x >> _LOW) << _LOW
        return _renormalised(high.astype(jnp.float32), (x - high).astype(jnp.float32))
    high = x.astype(jnp.float32)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rest = jnp.where(jnp.isfinite(high), x.astype(wide) - high.astype(wide), 0)
    return jnp.stack([high, rest.astype(jnp.float32)])


def plus(a: jax.Array, b: jax.Array) -> jax.Array:
    """The sum of two sums; infinities and NaN add as floats do."""
    plain = a[0] + b[0]
    high, rest = _two_sum(a[0], b[0])
    low, lost = _two_sum(a[1], b[1])
    high, rest = _quick_two_sum(high, rest + low)
    high, rest = _quick_two_sum(high, rest + lost)
    finite = jnp.isfinite(plain)
    return jnp.stack([jnp.where(finite, high, plain), jnp.where(finite, rest, 0)])


def total(x: jax.Array) -> jax.Array:
    """The sum as one number, (2, *shape) to (*shape): float32, or float64 where JAX has it on."""
    dtype = jnp.result_type(float)
    return x[0].astype(dtype) + x[1].astype(dtype)


def counted(index: jax.Array, weight: jax.Array, length: int) -> jax.Array:
    """The sum of the weights at each index, (length,); what is out of range is left out."""
    index = jnp.where((index >= 0) & (index < length), index, length)
    return jnp.zeros(length, weight.dtype).at[index.ravel()].add(weight.ravel(), mode="drop")


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a + b rounded, and what the rounding lost (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _quick_two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same where \\|a\\| is not below \\|b\\| (Dekker)."""
    s = a + b
    return s, b - (s - a)


def _renormalised(high: jax.Array, low: jax.Array) -> jax.Array:
    return jnp.stack(_quick_two_sum(high, low))
