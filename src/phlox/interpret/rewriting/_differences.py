"""DeepLift's rules: a multiplier says how a difference from the baseline that came in went on.

Multipliers go back as gradients do. Where an operation is affine, they are its gradient. Functions of one number have
the quotient of differences. What has two operands that differ shares what came out between them, in the mean over the
two orders in which they may change, which of products is the gradient half way. So all differences are accounted for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from phlox.autodiff import ELEMENTWISE, RULES, Step, extremes, spread_to
from phlox.interpret.rewriting._lines import BILINEAR, Lines, Unary, plain

_TINY = 1e-10  # a difference below which the quotient is the gradient
_LINEAR = frozenset({"add", "sub", "neg", "add_any", "copy", "convert_element_type", "select_n"})


def differences(lines: Lines, before: Sequence[Any]) -> Callable[..., Any]:
    """The rule of each line, with all values at the baseline."""

    def rule(step: Step, *gs: Any) -> Sequence[Any]:
        kind, (g, *_) = step.line.kind, gs
        changed = lines.changed(step.line)
        starts = [before[n] for n in step.line.reads]
        begun = [before[n] for n in step.line.makes]
        if kind in BILINEAR and all(changed):
            return _half_way(step, starts, g)
        if isinstance(step.line, Unary) or (kind in ELEMENTWISE - _LINEAR and sum(changed) == 1):
            return _quotient(step, starts, begun, changed, gs)
        if kind in ELEMENTWISE - _LINEAR and sum(changed) == 2 and len(changed) == 2:
            return _shared(step, starts, g)
        if kind == "reduce_window_max":
            return [_window_maximum(step, starts[0], begun[0], g)]
        if kind == "reduce_max":
            return [_maximum(step, starts[0], begun[0], g)]
        return plain(step, *gs)

    return rule


def _half_way(step: Step, starts: Sequence[Any], g: Any) -> Sequence[Any]:
    middle = [(x + b) / 2 for x, b in zip(step.xs, starts, strict=True)]
    return RULES[step.line.kind].back(Step(step.line, middle, step.ys, step.wanted, step.rules), g)


def _over(above: Any, below: Any, otherwise: Any) -> Any:
    """A quotient of differences; where nothing changed something else."""
    small = jnp.abs(below) < _TINY
    return jnp.where(small, otherwise, above / jnp.where(small, 1, below))


def _quotient(
    step: Step, starts: Sequence[Any], begun: Sequence[Any], changed: Sequence[bool], gs: Sequence[Any]
) -> Sequence[Any]:
    i = changed.index(True)
    slope = plain(step, *gs)[i]
    multiplier = gs[0] * _over(step.ys[0] - begun[0], step.xs[i] - starts[i], 0)
    still = jnp.abs(step.xs[i] - starts[i]) < _TINY
    found: list[Any] = [None] * len(step.xs)
    found[i] = jnp.where(still, slope, multiplier)
    return found


def _shared(step: Step, starts: Sequence[Any], g: Any) -> Sequence[Any]:
    """For a and b half of what each changes first, and half of what it changes last."""
    (a, b), (a0, b0) = step.xs, starts
    both, none = step.ys[0], step.line.run([a0, b0])[0]
    first, last = step.line.run([a, b0])[0], step.line.run([a0, b])[0]
    by_a, by_b = (first - none + both - last) / 2, (last - none + both - first) / 2
    slopes = RULES[step.line.kind].back(step, g)
    return [
        jnp.where(jnp.abs(x - x0) < _TINY, 0 if s is None else s, g * _over(by, x - x0, 0))
        for x, x0, by, s in zip((a, b), (a0, b0), (by_a, by_b), slopes, strict=True)
    ]


def _window_maximum(step: Step, x0: Any, y0: Any, g: Any) -> Any:
    """What a maximum rose by belongs to its place now, what it fell by to its place before."""
    x, y, top = step.xs[0], step.ys[0], jnp.maximum(step.ys[0], y0)
    rose = spread_to(extremes(step, x, greatest=True), g * (top - y0), x.shape)
    fell = spread_to(extremes(step, x0, greatest=True), g * (y - top), x.shape)
    return _over(rose + fell, x - x0, plain(step, g)[0])


def _maximum(step: Step, x0: Any, y0: Any, g: Any) -> Any:
    axes, x, y = step["axes"], step.xs[0], step.ys[0]
    top = jnp.maximum(y, y0)

    def at(x: Any, y: Any, amount: Any) -> Any:
        there = (x == jnp.expand_dims(y, axes)).astype(x.dtype)
        return there * jnp.expand_dims(amount / there.sum(axes), axes)

    return _over(at(x, y, g * (top - y0)) + at(x0, y0, g * (y - top)), x - x0, plain(step, g)[0])
