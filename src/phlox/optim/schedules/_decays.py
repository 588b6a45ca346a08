"""Schedules that fall, or rise, once: by steps, powers, lines and cosines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError
from phlox.optim.schedules._schedule import Curve, above, at_least, schedule
from phlox.optim.schedules._steps import Cycles, filled, half_cosine, held, power


@schedule
def constant(value: float) -> Curve:
    """The same value at every step.

    >>> import phlox as px
    >>> float(px.optim.constant(0.5)(100))
    0.5
    """
    return lambda t: filled(t, value)


@schedule
def step_decay(value: float, factor: float, every: int | Sequence[int]) -> Curve:
    r"""Steps down: $v f^i$ after i stretches of ``every`` steps; of a list of lengths, the last goes on for ever.

    Arguments:
        value: v, at step 0.
        factor: f.
        every: the length of all stretches, or of each.

    Raises:
        RangeError: a length below 1.

    >>> import phlox as px
    >>> [float(px.optim.step_decay(1.0, 0.5, 10)(t)) for t in (9, 10, 25)]
    [1.0, 0.5, 0.25]
    """
    if isinstance(every, int):
        at_least("every", every, 1, "step_decay")
        return lambda t: value * power(factor, t // every)
    for length in every:
        at_least("every", length, 1, "step_decay")
    ends = [held(sum(every[: i + 1])) for i in range(len(every) - 1)]
    return multi_step(value, factor, ends)


@schedule
def multi_step(value: float, factor: float, milestones: Sequence[int]) -> Curve:
    r"""Steps down at given steps: $v f^i$ once i of the milestones are reached.

    Arguments:
        value: v, at step 0.
        factor: f.
        milestones: the steps at which the value changes.

    >>> import phlox as px
    >>> [float(px.optim.multi_step(1.0, 0.5, [3, 5])(t)) for t in (2, 3, 5)]
    [1.0, 0.5, 0.25]
    """
    marks = tuple(milestones)
    return lambda t: value * power(factor, sum((t >= m).astype(jnp.int32) for m in marks) + jnp.zeros_like(t))


@schedule
def exponential(value: float, factor: float) -> Curve:
    r"""Exponential decay: $v f^t$.

    Arguments:
        value: v, at step 0.
        factor: f.

    >>> import phlox as px
    >>> float(px.optim.exponential(1.0, 0.5)(3))
    0.125
    """
    return lambda t: value * power(factor, t)


@schedule
def inverse(value: float, factor: float, power: float = 1.0) -> Curve:
    r"""Inverse decay: $v / (1 + f t)^p$.

    Arguments:
        value: v, at step 0.
        factor: f ≥ 0.
        power: p.

    Raises:
        RangeError: a factor below 0.

    >>> import phlox as px
    >>> float(px.optim.inverse(1.0, 0.5, 2)(2))
    0.25
    """
    at_least("factor", factor, 0, "inverse")
    return lambda t: value / jnp.power(1 + factor * t, power)


@schedule
def polynomial(value: float, steps: int, power: float = 1.0, end: float = 0.0) -> Curve:
    r"""A power of what is left: $e + (v - e)(1 - t/T)^p$, and e after T steps.

    Arguments:
        value: v, at step 0.
        steps: T, at least 1.
        power: p.
        end: e.

    Raises:
        RangeError: fewer steps than 1.

    >>> import phlox as px
    >>> float(px.optim.polynomial(1.0, 4, 2)(2))
    0.25
    """
    at_least("steps", steps, 1, "polynomial")
    return lambda t: end + (value - end) * jnp.power(jnp.clip(steps - t, 0, steps) / steps, power)


@schedule
def linear(start: float, end: float, steps: int) -> Curve:
    r"""A line: $s + (e - s) t/T$, and e after T steps.

    Arguments:
        start: s, at step 0.
        end: e.
        steps: T, at least 1.

    Raises:
        RangeError: fewer steps than 1.

    >>> import phlox as px
    >>> float(px.optim.linear(0.0, 1.0, 4)(3))
    0.75
    """
    at_least("steps", steps, 1, "linear")
    return lambda t: start * (jnp.clip(steps - t, 0, steps) / steps) + end * (jnp.clip(t, 0, steps) / steps)


@schedule
def cosine_annealing(value: float, steps: int, end: float = 0.0, *, after: str = "stay") -> Curve:
    r"""Half a cosine: $e + (v - e)(1 + \cos(πt/T))/2$.

    Arguments:
        value: v, at step 0.
        steps: T, at least 1.
        end: e, at step T.
        after: what comes then: ``"stay"`` at e, ``"bounce"`` back along the cosine, as PyTorch's
            ``CosineAnnealingLR`` does, or ``"restart"`` at v, as Flux's ``CosAnneal`` does.

    Raises:
        RangeError: fewer steps than 1, or another word.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.

    >>> import phlox as px
    >>> [round(float(px.optim.cosine_annealing(1.0, 4)(t)), 3) for t in (0, 1, 4, 9)]
    [1.0, 0.854, 0.0, 0.0]
    """
    at_least("steps", steps, 1, "cosine_annealing")
    along: dict[str, Callable[[Any], Any]] = {
        "stay": lambda t: jnp.minimum(t, steps),
        "bounce": lambda t: t % held(2 * steps),
        "restart": lambda t: t % steps,
    }
    if after not in along:
        raise RangeError(
            'after="stay", "bounce" or "restart"', got=repr(after), fix="choose one of these", where="cosine_annealing"
        )
    return lambda t: end + (value - end) * half_cosine(steps - along[after](t), steps)


@schedule
def cosine_restarts(value: float, steps: int, factor: int = 1, end: float = 0.0) -> Curve:
    r"""Half cosines from v to e, one after another, each ``factor`` times as long as the one before.

    Arguments:
        value: v, at every restart.
        steps: the length of the first, at least 1.
        factor: at least 1.
        end: e.

    Raises:
        RangeError: a number below 1.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.

    >>> import phlox as px
    >>> [round(float(px.optim.cosine_restarts(1.0, 2, 2)(t)), 3) for t in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """
    at_least("steps", steps, 1, "cosine_restarts")
    at_least("factor", factor, 1, "cosine_restarts")

    cycles = None if factor == 1 else Cycles(steps, factor)

    def curve(t: Any) -> Any:
        inside, length = (t % steps, steps) if cycles is None else cycles.at(t)
        return end + (value - end) * half_cosine(length - inside, length)

    return curve


@schedule
def one_cycle(
    peak: float,
    steps: int,
    *,
    rise: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
    shape: str = "cosine",
    three_phases: bool = False,
) -> Curve:
    r"""Up to a peak and down again, below where it started: the 1cycle policy.

    From peak/``start_divisor`` to the peak within the share ``rise`` of the steps, then down to start/``end_divisor``
    at the last step, steps - 1; with ``three_phases`` back to the start in as many steps, and down only then.

    Arguments:
        peak: the greatest value.
        steps: how many steps there are, at least 2; the last value stays.
        rise: in (1/steps, 1).
        start_divisor: the peak over the first value.
        end_divisor: the first value over the last.
        shape: ``"cosine"`` or ``"linear"``.
        three_phases: as told above.

    Raises:
        RangeError: a number outside its range, or another word.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks", 2019.

    >>> import phlox as px
    >>> [round(float(px.optim.one_cycle(1.0, 11, rise=0.3)(t)), 4) for t in (0, 2, 10)]
    [0.04, 0.9603, 0.0]
    """
    at_least("steps", steps, 2, "one_cycle")
    above("rise · steps", rise * steps, 1, "one_cycle")
    above("1 - rise", 1 - rise, 0, "one_cycle")
    if shape not in ("cosine", "linear"):
        got, where = repr(shape), "one_cycle"
        raise RangeError('shape="cosine" or "linear"', got=got, fix="choose one of these", where=where)
    start = peak / start_divisor
    top = rise * steps - 1
    ends = [0.0, top, 2 * top, steps - 1.0] if three_phases else [0.0, top, steps - 1.0]
    values = [start, peak, start, start / end_divisor] if three_phases else [start, peak, start / end_divisor]

    def curve(t: Any) -> Any:
        found = filled(t, values[-1])
        for i in reversed(range(len(ends) - 1)):
            length = ends[i + 1] - ends[i]
            done, left = (jnp.clip(x, 0, length) for x in (t - ends[i], ends[i + 1] - t))
            done, left = (x / length if shape == "linear" else half_cosine(x, length) for x in (done, left))
            found = jnp.where(t <= ends[i + 1], values[i] * left + values[i + 1] * done, found)
        return found

    return curve


@schedule
def multiplicative(value: float, factor: Callable[[Any], Any]) -> Curve:
    r"""A running product: $v \prod_{i=1}^{t} f(i)$.

    It costs t evaluations of f at step t.

    Arguments:
        value: v, at step 0.
        factor: f, a function of the step.

    >>> import phlox as px
    >>> float(px.optim.multiplicative(1.0, lambda i: 1 / i)(3))
    0.1666666716337204
    """

    def curve(t: Any) -> Any:
        one = lambda i, v: jnp.where(i < t, v * factor(i + 1), v).astype(v.dtype)  # noqa: E731
        return jax.lax.fori_loop(0, jnp.max(t).astype(jnp.int32), one, filled(t, value))

    return curve
