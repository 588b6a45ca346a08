"""Schedules that come back: triangles, sines, and the cyclic policy."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from phlox.core import RangeError
from phlox.optim.schedules._schedule import Curve, above, at_least, schedule
from phlox.optim.schedules._steps import power


def _triangle(t: Any, period: int) -> Any:
    """From 0 up to 1 in half a period, and back: 2/π |asin(sin(πt/T))|."""
    return 1 - jnp.abs(2 * (t % period / period) - 1)


def _sine(t: Any, period: int) -> Any:
    return jnp.abs(jnp.sin(math.pi * (t % period / period)))


def _halved(t: Any, period: int) -> Any:
    return power(0.5, t // period)


@schedule
def triangle(low: float, high: float, period: int) -> Curve:
    r"""A triangle wave: from low up to high and back in each period.

    Arguments:
        low: the value at step 0.
        high: the value in the middle of a period.
        period: in steps, at least 1.

    Raises:
        RangeError: a period below 1.

    >>> import phlox as px
    >>> [float(px.optim.triangle(0.0, 1.0, 4)(t)) for t in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    at_least("period", period, 1, "triangle")
    return lambda t: low + (high - low) * _triangle(t, period)


@schedule
def triangle_decay2(low: float, high: float, period: int) -> Curve:
    """A triangle wave whose height is halved after each period; arguments as of ``triangle``.

    >>> import phlox as px
    >>> [float(px.optim.triangle_decay2(0.0, 1.0, 4)(t)) for t in (2, 6, 10)]
    [1.0, 0.5, 0.25]
    """
    at_least("period", period, 1, "triangle_decay2")
    return lambda t: low + (high - low) * _triangle(t, period) * _halved(t, period)


@schedule
def triangle_exp(low: float, high: float, period: int, factor: float) -> Curve:
    """A triangle wave whose height falls by ``factor`` at each step; other arguments as of ``triangle``.

    >>> import phlox as px
    >>> float(px.optim.triangle_exp(0.0, 1.0, 4, 0.5)(2))
    0.25
    """
    at_least("period", period, 1, "triangle_exp")
    return lambda t: low + (high - low) * _triangle(t, period) * power(factor, t)


@schedule
def sine(low: float, high: float, period: int) -> Curve:
    r"""A wave of half sines: $l + (h - l)|\sin(πt/T)|$.

    Arguments:
        low: l, at step 0.
        high: h, in the middle of a period.
        period: T, in steps, at least 1.

    Raises:
        RangeError: a period below 1.

    >>> import phlox as px
    >>> round(float(px.optim.sine(0.0, 1.0, 4)(1)), 4)
    0.7071
    """
    at_least("period", period, 1, "sine")
    return lambda t: low + (high - low) * _sine(t, period)


@schedule
def sine_decay2(low: float, high: float, period: int) -> Curve:
    """A wave of half sines whose height is halved after each period; arguments as of ``sine``.

    >>> import phlox as px
    >>> round(float(px.optim.sine_decay2(0.0, 1.0, 4)(6)), 4)
    0.5
    """
    at_least("period", period, 1, "sine_decay2")
    return lambda t: low + (high - low) * _sine(t, period) * _halved(t, period)


@schedule
def sine_exp(low: float, high: float, period: int, factor: float) -> Curve:
    """A wave of half sines whose height falls by ``factor`` at each step; other arguments as of ``sine``.

    >>> import phlox as px
    >>> round(float(px.optim.sine_exp(0.0, 1.0, 4, 0.5)(2)), 4)
    0.25
    """
    at_least("period", period, 1, "sine_exp")
    return lambda t: low + (high - low) * _sine(t, period) * power(factor, t)


@schedule
def cyclic(
    low: float,
    high: float,
    up: int,
    down: int | None = None,
    *,
    decay: str = "none",
    factor: float = 1.0,
) -> Curve:
    """The cyclic policy: ``up`` steps from low to high, ``down`` steps back, again and again.

    Arguments:
        low: the value at step 0.
        high: the peak of the first cycle.
        up: steps, at least 1.
        down: steps; as many as up by default.
        decay: how the height falls: ``"none"``, ``"half"`` after each cycle, or ``"exp"``, by ``factor`` at each step.
        factor: for ``"exp"``.

    Raises:
        RangeError: too few steps, or another word.

    Source: Smith, "Cyclical learning rates for training neural networks", 2017.

    >>> import phlox as px
    >>> [round(float(px.optim.cyclic(0.0, 1.0, 1, 4)(t)), 3) for t in range(6)]
    [0.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    down = up if down is None else down
    above("up", up, 0, "cyclic")
    above("down", down, 0, "cyclic")
    if decay not in ("none", "half", "exp"):
        raise RangeError('decay="none", "half" or "exp"', got=repr(decay), fix="choose one of these", where="cyclic")
    total = up + down

    def curve(t: Any) -> Any:
        at = t % total
        share = jnp.where(at <= up, at / up, (total - at) / down)
        height = {"none": 1.0, "half": _halved(t, total), "exp": power(factor, t)}[decay]
        return low + (high - low) * share * height

    return curve
