"""Heads for levels in an order, and for counts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, check_size, harmonise, key_or_draw, param_dtype
from phlox.nn import Dense
from phlox.probability._arguments import check_one_of
from phlox.probability.distributions._discrete import NegativeBinomial, Ordinal, Poisson, ZeroInflatedPoisson
from phlox.probability.distributions._distribution import Distribution

_LEAST_CONCENTRATION = 1e-3
_COUNTS = {"poisson": 1, "negative_binomial": 2, "zero_inflated_poisson": 2}  # numbers that each is made of


class OrdinalHead(Module):
    r"""Levels in an order, by one number and learned cuts of its line: $P(y \le k) = σ(c_k - x w)$.

    Shapes:
        x: (..., in); a batch (...) of ``Ordinal``, whose values are levels from 0.

    Arguments:
        in_size: features of the input.
        levels: how many there are, 2 or more.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size out of range.
        ShapeError: an input without ``in_size`` features.

    At first all levels are equally probable where xw is 0.

    Source: McCullagh, "Regression models for ordinal data", 1980.

    >>> import jax.numpy as jnp, phlox as px
    >>> scores = px.probability.OrdinalHead(8, 5)(jnp.zeros((3, 8))).log_prob(jnp.array([0, 2, 4]))
    >>> [round(score, 3) for score in scores.tolist()]
    [-1.609, -1.609, -1.609]
    """

    dense: Dense
    first: Param  # () the lowest cut
    raw_steps: Param  # (levels - 2,) from a cut to the next, before softplus
    levels: int

    def __init__(self, in_size: int, levels: int, *, key: Any = None):
        self.levels = check_size("OrdinalHead", "levels", levels, least=2)
        self.dense = Dense(in_size, 1, bias=False, key=key_or_draw(key))
        share = jnp.arange(1, self.levels) / self.levels
        cuts = jnp.log(share) - jnp.log1p(-share)
        self.first = cuts[0].astype(param_dtype())
        self.raw_steps = jnp.log(jnp.expm1(jnp.diff(cuts))).astype(param_dtype())

    def __call__(self, x: Any) -> Ordinal:
        predictor, first, steps = harmonise(self, self.dense(x)[..., 0], self.first, self.raw_steps)
        cuts = jnp.concatenate([first[None], first + jnp.cumsum(jax.nn.softplus(steps))])
        return Ordinal(predictor, jnp.broadcast_to(cuts, (*predictor.shape, cuts.size)))


class CountHead(Module):
    r"""A distribution of counts for each output: $λ = \exp(x W + b)$.

    Shapes:
        x: (..., in); a batch (..., out) of ``Poisson``, ``NegativeBinomial`` or ``ZeroInflatedPoisson``.

    Arguments:
        in_size, out_size: features of the input, and counts predicted.
        family: ``"poisson"``, ``"negative_binomial"`` for counts that vary more, ``"zero_inflated_poisson"`` for more
            zeros than it has.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, a family that there is not.
        ShapeError: an input without ``in_size`` features.

    Source: Cameron and Trivedi, "Regression analysis of count data", 1998.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.CountHead(8, 1, family="negative_binomial")(jnp.ones((5, 8))).mean.shape
    (5, 1)
    """

    dense: Dense
    out_size: int
    family: str

    def __init__(self, in_size: int, out_size: int, *, family: str = "poisson", key: Any = None):
        self.out_size = check_size("CountHead", "out_size", out_size)
        self.family = check_one_of("CountHead", "family", family, tuple(_COUNTS))
        self.dense = Dense(in_size, _COUNTS[self.family] * out_size, key=key_or_draw(key))

    def __call__(self, x: Any) -> Distribution:
        y = self.dense(x)
        rate, raw = jnp.exp(y[..., : self.out_size]), y[..., self.out_size :]
        if self.family == "negative_binomial":
            return NegativeBinomial(rate, jax.nn.softplus(raw) + _LEAST_CONCENTRATION)
        if self.family == "zero_inflated_poisson":
            return ZeroInflatedPoisson(jax.nn.sigmoid(raw), rate)
        return Poisson(rate)
