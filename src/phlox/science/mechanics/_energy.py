"""Energies of states, and how they change with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, describe, grad


def energies(function: Callable[..., Any], *states: Any) -> jax.Array:
    """What a function gives for each example, (batch,).

    Raises:
        ShapeError: more numbers than one for each.
    """
    e = jnp.asarray(function(*states))
    batch = states[0].shape[0]
    if e.shape not in ((batch,), (batch, 1)):
        fix = "let its last layer have one output"
        raise ShapeError(f"an energy of ({batch}, 1), one for each example", got=describe(e), fix=fix)
    return e.reshape(batch)


def slope_of(function: Callable[..., Any], y: jax.Array) -> jax.Array:
    """The derivative of each example's energy by its state, like the state."""
    return grad(lambda y: energies(function, y).sum())(y)


def halves(y: Any, what: str) -> tuple[jax.Array, jax.Array]:
    """The two halves of states (batch, 2n).

    Raises:
        ShapeError: states of another form.
    """
    y = jnp.asarray(y)
    if y.ndim != 2 or y.shape[1] % 2 or not jnp.issubdtype(y.dtype, jnp.floating):
        fix = "put both side by side along the last axis, for a batch of states"
        raise ShapeError(f"floating (batch, 2n), {what}", got=describe(y), fix=fix)
    a, b = jnp.split(y, 2, -1)
    return a, b
