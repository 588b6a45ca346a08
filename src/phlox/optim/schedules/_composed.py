"""Schedules made of schedules: one after another, around, shifted, stretched, multiplied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from phlox.core import RangeError
from phlox.optim.rules._numbers import Number
from phlox.optim.schedules._schedule import Curve, above, at_least, schedule
from phlox.optim.schedules._steps import epochs, filled, held


def _value(part: Number, t: Any) -> Any:
    return part(t) if callable(part) else filled(t, part)


@schedule
def sequence(parts: Sequence[Number], lengths: Sequence[int]) -> Curve:
    """Schedules one after another, each counted from 0; the last goes on.

    Arguments:
        parts: schedules, or numbers that stay.
        lengths: the steps of each; that of the last may be left out.

    Raises:
        RangeError: another count of lengths, or a length below 0.

    >>> import phlox as px
    >>> rate = px.optim.sequence([px.optim.linear(0.0, 1.0, 2), px.optim.exponential(1.0, 0.5)], [2])
    >>> [float(rate(t)) for t in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    if len(lengths) not in (len(parts), len(parts) - 1) or not parts:
        got = f"{len(parts)} parts and {len(lengths)} lengths"
        raise RangeError("a length for each part but the last", got=got, fix="give one each", where="sequence")
    for length in lengths:
        at_least("lengths", length, 0, "sequence")
    kept = tuple(parts)
    starts = [held(sum(lengths[:i])) for i in range(len(kept))]

    def curve(t: Any) -> Any:
        found = _value(kept[0], t)
        for part, start in zip(kept[1:], starts[1:], strict=True):
            found = jnp.where(t >= start, _value(part, jnp.maximum(t - start, 0)), found)
        return found

    return curve


@schedule
def warmup(steps: int, then: Number, start: float = 0.0) -> Curve:
    r"""A line up to where another schedule begins, then that schedule: $s + (f(0) - s) t/T$ for t < T, else $f(t - T)$.

    Arguments:
        steps: T, at least 1.
        then: f, a schedule, or a number that stays.
        start: s, at step 0.

    Raises:
        RangeError: fewer steps than 1.

    Source: Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017.

    >>> import phlox as px
    >>> rate = px.optim.warmup(4, px.optim.cosine_annealing(1.0, 100))
    >>> [round(float(rate(t)), 4) for t in (0, 1, 4, 54)]
    [0.0, 0.25, 1.0, 0.5]
    """
    at_least("steps", steps, 1, "warmup")

    def curve(t: Any) -> Any:
        first = _value(then, jnp.zeros_like(t))
        up = start * ((steps - t) / steps) + first * (t / steps)
        return jnp.where(t < steps, up, _value(then, jnp.maximum(t - steps, 0)))

    return curve


@schedule
def loop(part: Callable[[Any], Any], period: int) -> Curve:
    """A schedule that starts again after every period.

    Raises:
        RangeError: a period below 1.

    >>> import phlox as px
    >>> [float(px.optim.loop(px.optim.exponential(1.0, 0.5), 2)(t)) for t in range(4)]
    [1.0, 0.5, 1.0, 0.5]
    """
    at_least("period", period, 1, "loop")
    return lambda t: part(t % period)


@schedule
def shifted(part: Callable[[Any], Any], offset: int) -> Curve:
    """A schedule that starts at its step ``offset``.

    >>> import phlox as px
    >>> float(px.optim.shifted(px.optim.exponential(1.0, 0.5), 2)(1))
    0.125
    """
    return lambda t: part(t + offset)


@schedule
def stretched(part: Callable[[Any], Any], rate: float) -> Curve:
    """A schedule in another unit: its step is the floor of ours over ``rate``, such as epochs of that many batches.

    Raises:
        RangeError: a rate of 0 or less.

    >>> import phlox as px
    >>> by_epoch = px.optim.stretched(px.optim.exponential(1.0, 0.5), 100)
    >>> [float(by_epoch(t)) for t in (0, 99, 100, 250)]
    [1.0, 1.0, 0.5, 0.25]
    """
    above("rate", rate, 0, "stretched")
    return lambda t: part(epochs(t, rate))


@schedule
def product(*parts: Number) -> Curve:
    """The product of schedules and numbers at every step.

    >>> import phlox as px
    >>> float(px.optim.product(3.0, px.optim.linear(0.0, 1.0, 4), px.optim.exponential(1.0, 0.5))(2))
    0.375
    """

    def curve(t: Any) -> Any:
        found = filled(t, 1)
        for part in parts:
            found = found * _value(part, t)
        return found

    return curve


@schedule
def composed(build: Callable[..., Callable[[Any], Any]], *numbers: Number) -> Curve:
    """A schedule whose own numbers are schedules: ``build`` of their values at a step, at that step.

    Arguments:
        build: makes a schedule of numbers, as the functions of ``px.optim`` do; what they check at construction, such
            as a period, must be a plain number.
        numbers: schedules or numbers.

    >>> import phlox as px
    >>> waves = px.optim.composed(lambda high: px.optim.triangle(0.0, high, 4), px.optim.exponential(1.0, 0.5))
    >>> float(waves(2))
    0.25
    """
    return lambda t: build(*[_value(n, t) for n in numbers])(t)
