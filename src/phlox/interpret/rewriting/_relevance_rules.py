"""Rules of layer-wise relevance propagation: by layer for products with weights, by operation for the rest.

What goes back is c, by which relevance is R = c · value. Through what is affine c is the gradient, so a sum gives each
part relevance as its share, and a bias keeps its own. Through an activation f relevance passes whole, c f(x) / x.
Functions that are not 0 at 0, as sigmoid gates, softmax and the inverse of a standard deviation are, weigh what passes
and have no relevance; of two factors that both have, each gets half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax.numpy as jnp

from phlox.autodiff import RULES, Step
from phlox.core import RangeError
from phlox.interpret.rewriting._lines import BILINEAR, Lines, Unary, plain

_WHERE = "px.interpret.lrp"


@dataclass(frozen=True)
class Epsilon:
    r"""$R_i = \sum_j x_i w_{ij} R_j / (z_j + ε \, \mathrm{sign} z_j)$: contributions as they are; ε takes from small z.

    Arguments:
        epsilon: ε, at least 0.

    >>> import phlox as px
    >>> px.interpret.Epsilon(0.1)
    Epsilon(epsilon=0.1)
    """

    epsilon: float = 1e-9

    def __post_init__(self) -> None:
        _check("epsilon", self.epsilon)


@dataclass(frozen=True)
class Gamma:
    r"""As ``Epsilon``, with weights $w + γ w^+$: positive contributions count for more.

    Arguments:
        gamma: γ, at least 0.

    >>> import phlox as px
    >>> px.interpret.Gamma()
    Gamma(gamma=0.25)
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        _check("gamma", self.gamma)


@dataclass(frozen=True)
class AlphaBeta:
    r"""$R_i = \sum_j (α \, (x_i w_{ij})^+ / z_j^+ - β \, (x_i w_{ij})^- / z_j^-) R_j$ with $α - β = 1$.

    Arguments:
        alpha: α, at least 1; 1 is also called $z^+$.

    >>> import phlox as px
    >>> px.interpret.AlphaBeta(2.0)
    AlphaBeta(alpha=2.0)
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check("alpha", self.alpha, 1.0)


Rule = Epsilon | Gamma | AlphaBeta


def _check(name: str, value: Any, least: float = 0.0) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise RangeError(f"{name} of {least:g} or more", got=repr(value), fix="leave it out", where=_WHERE)


def relevance(lines: Lines, values: Sequence[Any], rules: Mapping[str, Rule]) -> Callable[..., Any]:
    """The rule of each line, with the values of a run forward."""
    biases = _biases(lines)

    def back(step: Step, *gs: Any) -> Sequence[Any]:
        kind, changed = step.line.kind, step.wanted
        if isinstance(step.line, Unary):
            return [_passed(step.xs[0], step.ys[0], gs[0]), *[None] * (len(step.xs) - 1)]
        if kind in BILINEAR:
            if all(changed):
                return [g / 2 for g in RULES[kind].back(step, *gs)]
            if kind != "mul" and sum(lines.changed(step.line)) == 1:
                return _by_weights(step, gs[0], _bias(biases, step, values), _rule_of(step.line.layer, rules))
        if kind == "div":
            return [gs[0] / step.xs[1], None]
        return plain(step, *gs)

    return back


def _passed(x: Any, y: Any, c: Any) -> Any:
    return jnp.where(x == 0, 0, c * y / jnp.where(x == 0, 1, x))


def _rule_of(layer: str, rules: Mapping[str, Rule]) -> Rule:
    """The rule of the pattern that fits a layer, or the nearest layer around it; the last one said."""
    way = layer
    while True:
        fitting = [rule for pattern, rule in rules.items() if fnmatchcase(way, pattern)]
        if fitting or not way:
            return fitting[-1] if fitting else Epsilon()
        way = way.rpartition(".")[0]


def _biases(lines: Lines) -> dict[int, int]:
    """For a product whose result is only read to add what does not vary: that."""
    readers: dict[int, list[Any]] = {}
    for line in lines.program.lines:
        for n in line.reads:
            readers.setdefault(n, []).append(line)
    found = {}
    for line in lines.program.lines:
        if line.kind in BILINEAR and line.kind != "mul":
            (made,), (reader, *more) = line.makes, readers.get(line.makes[0], [None])
            if reader is not None and not more and reader.kind == "add" and sum(lines.changed(reader)) == 1:
                found[made] = next(n for n in reader.reads if n != made)
    return found


def _bias(biases: dict[int, int], step: Step, values: Sequence[Any]) -> Any:
    number = biases.get(step.line.makes[0])
    return jnp.zeros(()) if number is None else values[number]


def _by_weights(step: Step, c: Any, bias: Any, rule: Rule) -> Sequence[Any]:
    """Back through z = x w + b, where R = c z arrives."""
    i = next(j for j, w in enumerate(step.wanted) if w)
    x, weight, z = step.xs[i], step.xs[1 - i], step.ys[0] + bias
    if isinstance(rule, Epsilon):
        return _pulled(step, i, weight, _ratio(c * z, z + rule.epsilon * jnp.where(z >= 0, 1, -1)))
    if isinstance(rule, Gamma):
        heavy = weight + rule.gamma * jnp.maximum(weight, 0)
        return _pulled(step, i, heavy, _ratio(c * z, _forward(step, i, x, heavy) + bias))
    up, down = jnp.maximum(weight, 0), jnp.minimum(weight, 0)
    above, below = jnp.maximum(x, 0), jnp.minimum(x, 0)
    gain = _forward(step, i, above, up) + _forward(step, i, below, down) + jnp.maximum(bias, 0)
    loss = _forward(step, i, above, down) + _forward(step, i, below, up) + jnp.minimum(bias, 0)
    by_gain, by_loss = _ratio(rule.alpha * c * z, gain), _ratio((rule.alpha - 1) * c * z, loss)
    of_up = _pulled(step, i, up, by_gain)[i], _pulled(step, i, up, by_loss)[i]
    of_down = _pulled(step, i, down, by_gain)[i], _pulled(step, i, down, by_loss)[i]
    found: list[Any] = [None, None]
    found[i] = jnp.where(x >= 0, of_up[0] - of_down[1], of_down[0] - of_up[1])
    return found


def _ratio(above: Any, below: Any) -> Any:
    return jnp.where(below == 0, 0, above / jnp.where(below == 0, 1, below))


def _forward(step: Step, i: int, x: Any, weight: Any) -> Any:
    return step.line.run([x, weight] if i == 0 else [weight, x])[0]


def _pulled(step: Step, i: int, weight: Any, c: Any) -> Any:
    """The gradient through the product with another weight."""
    xs = [step.xs[0], weight] if i == 0 else [weight, step.xs[1]]
    return RULES[step.line.kind].back(Step(step.line, xs, step.ys, step.wanted, step.rules), c)
