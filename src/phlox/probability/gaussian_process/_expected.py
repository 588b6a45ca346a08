"""A normal distribution whose mean is uncertain, as variational inference scores it."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Param
from phlox.probability._peers import distributions
from phlox.probability.distributions._arguments import POSITIVE, REAL, wide
from phlox.probability.distributions._distribution import Distribution


class ExpectedNormal(Distribution):
    r"""Targets around a function that is itself normal: $y = f + ε$, $f \sim N(μ, s^2)$, $ε \sim N(0, σ^2)$.

    Its ``log_prob`` is the expectation over f, $E_f[\log N(y; f, σ^2)] = \log N(y; μ, σ^2) - s^2 / 2σ^2$, which the
    evidence lower bound takes; all else is that of y.

    Shapes:
        loc, spread, noise: of shapes that broadcast.

    Arguments:
        loc: μ.
        spread: s, above 0.
        noise: σ, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Hensman, Fusi and Lawrence, "Gaussian processes for big data", 2013.

    >>> import phlox as px
    >>> y = px.probability.ExpectedNormal(0.0, 1.0, 2.0)
    >>> round(float(y.log_prob(0.0)), 4), float(y.variance)
    (-1.7371, 5.0)
    """

    loc: Param | float
    spread: Param | float
    noise: Param | float
    _rules: ClassVar = {"loc": REAL, "spread": POSITIVE, "noise": POSITIVE}

    def __init__(self, loc: Any, spread: Any, noise: Any):
        super().__init__(loc=loc, spread=spread, noise=noise)

    def _peer(self) -> Any:
        spread, noise = wide(self.spread), wide(self.noise)
        return distributions().Normal(wide(self.loc), jnp.sqrt(jnp.square(spread) + jnp.square(noise)))

    def log_prob(self, value: Any) -> jax.Array:
        """The expected log-density of values."""
        value = jnp.asarray(value)
        super().log_prob(value)  # the checks
        spread, noise = wide(self.spread), wide(self.noise)
        known = distributions().Normal(wide(self.loc), noise).log_prob(wide(value))
        found: jax.Array = known - jnp.square(spread / noise) / 2
        return found.astype(self._dtype(value))
