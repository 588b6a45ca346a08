"""Rows times a weight, with a weight gradient that a CPU computes fast where the rows are few.

The gradient is ``x^T g``. XLA's CPU compiler hands a product to its fast kernels only where the rows of the first
factor lie together. Those of x^T do not, so few rows x are turned first, as an array of its own: a scanned step of a
small perceptron then takes 10 to 25 percent less. Of many rows, made by other operations, it was measured to be a loss.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

_MOST_ROWS = 128
_WORTH_A_COPY = 1 << 20  # multiplications; in a smaller product the copy takes what it saves


def product(x: Array, weight: Array) -> Array:
    """``x @ weight`` for x (rows, in) or (in,) and weight (in, out)."""
    few = x.ndim == 2 and x.shape[0] <= _MOST_ROWS and x.size * weight.shape[1] >= _WORTH_A_COPY
    return _turned(x, weight) if few and jax.default_backend() == "cpu" else jnp.matmul(x, weight)


@jax.custom_jvp
def _turned(x: Array, weight: Array) -> Array:
    return jnp.matmul(x, weight)


@functools.partial(_turned.defjvp, symbolic_zeros=True)
def _(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    """The tangent is written so that its transpose, which JAX derives, is the product that is wanted."""
    (x, weight), (dx, dw) = primals, tangents
    y = _turned(x, weight)
    dy = jnp.zeros_like(y) if isinstance(dx, SymbolicZero) else _turned(dx, weight)
    if isinstance(dw, SymbolicZero):
        return y, dy
    return y, dy + lax.dot_general(lax.optimization_barrier(x.T), dw, (((0,), (0,)), ((), ())))
