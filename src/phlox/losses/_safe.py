"""Logarithms of probabilities that stay finite at 0 and 1, in value and in gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from phlox.nn import at_least

LEAST_LOG = -100.0
LEAST_PROBABILITY = 1e-12


@jax.custom_jvp
def safe_log(p: jax.Array) -> jax.Array:
    """log p, at least -100; its slope 1/p is at most 1e12. Below 0 it is NaN."""
    return at_least(jnp.log(p), LEAST_LOG)


@safe_log.defjvp
def _safe_log_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (p,), (dp,) = primals, tangents
    return safe_log(p), dp / at_least(p, LEAST_PROBABILITY)


@jax.custom_jvp
def safe_log1m(p: jax.Array) -> jax.Array:
    """log(1 - p), at least -100, with the same bound on its slope. Above 1 it is NaN."""
    return at_least(jnp.log1p(-p), LEAST_LOG)


@safe_log1m.defjvp
def _safe_log1m_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (p,), (dp,) = primals, tangents
    return safe_log1m(p), -dp / at_least(1 - p, LEAST_PROBABILITY)


def magnitude(x: jax.Array) -> jax.Array:
    """``|x|`` with gradient 0 at 0, as a difference that is exact asks for no step; NaN at NaN."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


@jax.custom_jvp
def hinged(x: jax.Array) -> jax.Array:
    """``max(x, 0)`` with gradient 0 at 0; NaN at NaN, where that of ``jax.nn.relu`` is 0."""
    return at_least(x, 0)


@hinged.defjvp
def _hinged_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return hinged(x), jnp.where(x > 0, 1, jnp.where(x <= 0, 0, x)) * dx


@jax.custom_jvp
def clamped(x: jax.Array) -> jax.Array:
    """``max(x, 0)`` with gradient 1 at 0: what is not yet beyond its margin is still pushed. NaN at NaN."""
    return at_least(x, 0)


@clamped.defjvp
def _clamped_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return clamped(x), jnp.where(x >= 0, 1, jnp.where(x < 0, 0, x)) * dx


def counted(log_p: jax.Array, weight: jax.Array) -> jax.Array:
    """A logarithm that a weight of 0 may be multiplied with: 0, with gradient 0, in place of an infinity there.

    NaN stays NaN.
    """
    return jnp.where((weight == 0) & jnp.isinf(log_p), 0, log_p)


def power(base: jax.Array, exponent: float) -> jax.Array:
    """base**exponent for a base in [0, 1], with a finite slope at 0 for exponents below 1 too."""
    return jnp.power(at_least(base, jnp.finfo(base.dtype).tiny), exponent)
