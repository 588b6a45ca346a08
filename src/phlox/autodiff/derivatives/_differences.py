"""Derivatives by differences, of functions that JAX can run and not differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

Function = Callable[[Any], Any]


def slope(fn: Function, x: Any, v: Any) -> Any:
    """The slope of t ↦ fn(x + t v) at 0, to the fourth order in the step."""
    h = _step(x, v, 1 / 5)
    at = lax.map(lambda t: fn(x + t * h * v), jnp.asarray([1.0, -1.0, 2.0, -2.0], x.dtype))
    return (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * h)


def jacobian(fn: Function, x: Any) -> Any:
    """(*S, *T) all first derivatives, a slope for each number of x."""
    columns = lax.map(lambda n: slope(fn, x, _unit(x, n)), jnp.arange(x.size))
    return jnp.moveaxis(columns, 0, -1).reshape(*columns.shape[1:], *x.shape)


def hessian(fn: Function, x: Any) -> Any:
    """(*T, *T) all second derivatives of a scalar, from four values for each pair."""

    def second(pair: Any) -> Any:
        a, b = _unit(x, pair // x.size), _unit(x, pair % x.size)
        h, k = _step(x, a, 1 / 4), _step(x, b, 1 / 4)
        value = lambda s, t: fn(x + s * h * a + t * k * b)  # noqa: E731
        return (value(1, 1) - value(1, -1) - value(-1, 1) + value(-1, -1)) / (4 * h * k)

    return lax.map(second, jnp.arange(x.size**2)).reshape(*x.shape, *x.shape)


def _unit(x: Any, n: Any) -> Any:
    return jnp.zeros(x.size, x.dtype).at[n].set(1).reshape(x.shape)


def _step(x: Any, v: Any, power: float) -> Any:
    """A step along v that weighs what differences lose against what they leave out, for numbers as large as x's."""
    most = jnp.max(jnp.abs(v))
    size = jnp.maximum(1, jnp.max(jnp.where(v != 0, jnp.abs(x), 0)))
    return jnp.finfo(x.dtype).eps ** power * size / jnp.where(most == 0, 1, most)
