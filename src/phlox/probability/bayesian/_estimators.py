r"""Three ways to draw what a linear map gives whose weights are normal: $W = M + S ∘ ε$, $b = m + s ∘ ε_b$.

Each gives the right mean and variance at every example. They differ in what examples of a batch have in common, and so
in the noise of a gradient: one draw of the weights, one draw with its signs turned for each example, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Linear = Callable[[jax.Array, jax.Array], jax.Array]


class Weights(NamedTuple):
    """Means and scales of weight and bias; those of the bias may be None."""

    mean: jax.Array
    scale: jax.Array
    bias_mean: jax.Array | None
    bias_scale: jax.Array | None


def reparametrisation(linear: Linear, x: jax.Array, weights: Weights, key: jax.Array) -> jax.Array:
    """One draw of the weights for the whole batch."""
    of_weight, of_bias = jax.random.split(key)
    weight = weights.mean + weights.scale * _normal(of_weight, weights.mean)
    return _plus(linear(x, weight), weights.bias_mean, _turned(weights, of_bias))


def flipout(linear: Linear, x: jax.Array, weights: Weights, key: jax.Array) -> jax.Array:
    """One draw of the weights, whose deviation gets random signs for each example: examples are uncorrelated."""
    of_weight, of_bias, into, out_of = jax.random.split(key, 4)
    deviation = weights.scale * _normal(of_weight, weights.mean)
    moved = _plus(linear(x * _signs(into, x), deviation), _turned(weights, of_bias))
    return _plus(linear(x, weights.mean) + _signs(out_of, moved) * moved, weights.bias_mean)


def local(linear: Linear, x: jax.Array, weights: Weights, key: jax.Array) -> jax.Array:
    """No draw of the weights: each output of each example by itself, with the mean and variance that it has."""
    mean = _plus(linear(x, weights.mean), weights.bias_mean)
    square = None if weights.bias_scale is None else jnp.square(weights.bias_scale)
    variance = _plus(linear(jnp.square(x), jnp.square(weights.scale)), square)
    return mean + jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny)) * _normal(key, mean)


ESTIMATORS = {"reparametrisation": reparametrisation, "flipout": flipout, "local": local}


def _normal(key: jax.Array, like: jax.Array) -> jax.Array:
    return jax.random.normal(key, like.shape, like.dtype)


def _signs(key: jax.Array, like: jax.Array) -> jax.Array:
    """A sign for each example and channel, the same along the axes between them."""
    shape = like.shape if like.ndim < 2 else (like.shape[0], *(1 for _ in like.shape[1:-1]), like.shape[-1])
    return jax.random.rademacher(key, shape, like.dtype)


def _turned(weights: Weights, key: jax.Array) -> jax.Array | None:
    """What the bias deviates from its mean by."""
    return None if weights.bias_scale is None else weights.bias_scale * _normal(key, weights.bias_scale)


def _plus(y: jax.Array, *terms: Any) -> jax.Array:
    for term in terms:
        y = y if term is None else y + term
    return y
