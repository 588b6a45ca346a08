"""Arithmetic of steps: whole numbers stay whole, so that the ten-millionth step is where it belongs.

float32 holds whole numbers up to 2²⁴ and quotients to seven digits: a floor of a quotient, a logarithm or a difference
taken in it is off by steps. What is compared, divided with a remainder or subtracted here is a step; it becomes a
float only as the share of a length.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_LAST = 2**31 - 1
"""The last step that a count of updates holds."""


def as_step(step: Any) -> Any:
    """A step as an array: a whole number stays one, wide enough to be added to."""
    step = jnp.asarray(step)
    fractional = jnp.issubdtype(step.dtype, jnp.floating)
    return step.astype(jax.dtypes.canonicalize_dtype(float if fractional else int))


def as_float(step: Any) -> Any:
    """What a step is as a number among others."""
    return jnp.asarray(step).astype(jax.dtypes.canonicalize_dtype(float))


def filled(t: Any, value: Any) -> Any:
    """The same value at every step."""
    return jnp.full_like(as_float(t), value)


def held(number: Any) -> Any:
    """A number that a step may be compared with: one beyond what counts hold is a float."""
    if isinstance(number, (list, tuple)):
        return type(number)(map(held, number)) if type(number) in (list, tuple) else number
    return float(number) if isinstance(number, int) and abs(number) > _LAST else number


def whole(number: float) -> float:
    """1e4 as the 10000 that it means: a length in steps."""
    return int(number) if number == int(number) else number


def epochs(t: Any, rate: float) -> Any:
    """The floor of t / rate, for a rate of 2.5 or 0.1 too."""
    top, bottom = Fraction(str(rate)).as_integer_ratio()
    if top * bottom > _LAST or jnp.issubdtype(t.dtype, jnp.floating):
        return jnp.floor(t / rate)
    return t // top * bottom + t % top * bottom // top


def power(factor: Any, t: Any) -> Any:
    """factor ** t. What rounding takes from a factor near 1 would be a third of it after ten million steps."""
    t = as_float(t)
    found = jnp.power(factor, t)
    if not isinstance(factor, (int, float)):
        return found
    rounded = float(np.asarray(factor, t.dtype))
    rest = math.log1p((factor - rounded) / rounded) if rounded and math.isfinite(rounded) else 0.0
    return found * jnp.exp(t * rest) if rest else found


def half_cosine(left: Any, steps: Any) -> Any:
    """(1 + cos(π t/T)) / 2 of what is left, T - t: a square of a sine, in which nothing cancels near the end."""
    return jnp.square(jnp.sin(math.pi / 2 * (left / steps)))


class Cycles:
    """Cycles that grow: each ``factor`` times as long as the one before, as a table that Python's integers made."""

    def __init__(self, steps: float, factor: float):
        first, ahead, length = [], [], []
        start, long = Fraction(whole(steps)) * 0, Fraction(whole(steps))
        while start <= _LAST:
            first.append(math.ceil(start))
            ahead.append(float(first[-1] - start))
            length.append(float(long))
            start, long = start + long, long * Fraction(str(factor))
        self.first, self.ahead, self.length = np.asarray(first, np.int32), np.asarray(ahead), np.asarray(length)

    def at(self, t: Any) -> tuple[Any, Any]:
        """How far t is into its cycle, and how long that cycle is."""
        i = jnp.searchsorted(jnp.asarray(self.first), t, side="right", method="scan_unrolled") - 1
        inside = t - jnp.asarray(self.first)[i]
        return inside + as_float(self.ahead)[i] if self.ahead.any() else inside, as_float(self.length)[i]
