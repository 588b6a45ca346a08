"""Derivatives of any order along a direction: by Taylor polynomials, or by forward mode in forward mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.autodiff._program import Flat, traced

# Operations that jax.experimental.jet takes wrongly: the rule of a function's own is not looked at.
_OWN_RULES = frozenset(["custom_jvp_call", "custom_vjp_call"])


def series(fn: Callable[[Any], Any], x: Any, v: Any, order: int) -> list[Any]:
    """The derivatives of t ↦ fn(x + t v) at 0, of order 0 to ``order``, by truncated Taylor polynomials.

    Work grows with the square of the order, and not as 2 to its power.
    """
    if order == 0:
        return [fn(x)]
    from jax.experimental.jet import jet  # slow to import, and seldom used

    terms = [v, *[jnp.zeros_like(x)] * (order - 1)]
    y, found = jet(fn, (x,), (terms,), factorial_scaled=False)
    return [y, *(term * math.factorial(n + 1) for n, term in enumerate(found))]


def nested(fn: Callable[[Any], Any], x: Any, v: Any, order: int) -> list[Any]:
    """The same by the slope of the slope of …, which JAX takes of every function."""
    if order == 0:
        return [fn(x)]
    lower, top = jax.jvp(lambda x: nested(fn, x, v, order - 1), (x,), (v,))
    return [*lower, top[-1]]


def missing(fn: Callable[[Any], Any], x: Any) -> str:
    """The first operation that Taylor mode has no rule for; nothing where it has all."""
    from jax.experimental.jet import jet_rules

    known = {primitive.name for primitive in jet_rules}
    return next((kind for kind in _followed(traced(fn, x)) if kind in _OWN_RULES or kind not in known), "")


def _followed(program: Flat) -> list[str]:
    """The kinds of the lines that the inputs go through."""
    moved = set(program.inputs)
    kinds = []
    for line in program.lines:
        if moved.intersection(line.reads):
            kinds.append(line.kind)
            moved.update(n for n in line.makes if program.carries(n))
    return kinds
