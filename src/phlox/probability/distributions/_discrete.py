"""Distributions of classes, levels and counts."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Param, ShapeError, describe
from phlox.probability import _peers
from phlox.probability.distributions._arguments import POSITIVE, REAL, UNIT, arranged, wide
from phlox.probability.distributions._distribution import Distribution


class Bernoulli(Distribution):
    r"""Yes or no by a logit: $P(1) = σ(z)$.

    Shapes:
        logits: any; values are 0 and 1.

    Arguments:
        logits: z.

    Raises:
        DtypeError: as ``Distribution``.

    Source: Johnson, Kemp and Kotz, "Univariate discrete distributions", 2005.

    >>> import phlox as px
    >>> round(float(px.probability.Bernoulli(0.0).log_prob(1)), 4)
    -0.6931
    """

    logits: Param | float
    _peer_name: ClassVar[str] = "BernoulliLogits"
    _rules: ClassVar = {"logits": REAL}

    def __init__(self, logits: Any):
        super().__init__(logits=logits)


class Categorical(Distribution):
    r"""One of several classes by logits: $P(c) = \mathrm{softmax}(z)_c$.

    Shapes:
        logits: (*batch, classes); values are classes from 0.

    Arguments:
        logits: z.

    Raises:
        ShapeError: logits without an axis of classes.

    Source: Johnson, Kemp and Kotz, "Univariate discrete distributions", 2005.

    >>> import jax.numpy as jnp, phlox as px
    >>> round(float(px.probability.Categorical(jnp.zeros(4)).entropy()), 4)
    1.3863
    """

    logits: Param  # (*batch, classes)
    _peer_name: ClassVar[str] = "CategoricalLogits"
    _rules: ClassVar = {"logits": REAL}

    def __init__(self, logits: Any):
        super().__init__(logits=logits)
        with_last_axis("Categorical", "logits", self.logits, "classes")


class Ordinal(Distribution):
    r"""Levels in an order, by one number and the points that cut its line: $P(v \le k) = σ(c_k - η)$.

    Shapes:
        predictor: (*batch); cutpoints: (*batch, levels - 1) rising, or (levels - 1,) for all; values are levels from 0.

    Arguments:
        predictor: η; the larger, the higher the level.
        cutpoints: c.

    Raises:
        ShapeError: cutpoints of another form.

    Source: McCullagh, "Regression models for ordinal data", 1980.

    >>> import jax.numpy as jnp, phlox as px
    >>> levels = px.probability.Ordinal(0.0, jnp.array([-1.0, 1.0]))
    >>> [round(float(jnp.exp(levels.log_prob(k))), 4) for k in range(3)]
    [0.2689, 0.4621, 0.2689]
    """

    predictor: Param | float  # (*batch)
    cutpoints: Param  # (*batch, levels - 1)
    _rules: ClassVar = {"predictor": REAL, "cutpoints": REAL}

    def __init__(self, predictor: Any, cutpoints: Any):
        self.predictor = arranged("Ordinal", {"predictor": REAL}, {"predictor": predictor})["predictor"]
        self.cutpoints = arranged("Ordinal", {"cutpoints": REAL}, {"cutpoints": cutpoints})["cutpoints"]
        with_last_axis("Ordinal", "cutpoints", self.cutpoints, "levels - 1")
        batch = self.cutpoints.shape[:-1]
        if batch and batch != jnp.shape(self.predictor):
            got = f"predictor {describe(self.predictor)}, cutpoints {describe(self.cutpoints)}"
            fix = "give cutpoints (levels - 1,), or for each element of the predictor"
            raise ShapeError("cutpoints for all or for each", got=got, fix=fix, where="Ordinal")

    def _peer(self) -> Any:
        return _peers.distributions().CategoricalLogits(log_levels(wide(self.predictor), wide(self.cutpoints)))


def log_levels(predictor: Any, cutpoints: jax.Array) -> jax.Array:
    """Logarithms of the probabilities of levels, (*batch, levels), exact far out too.

    By $σ(b) - σ(a) = σ(b) σ(-a) (1 - e^{a - b})$ nothing is subtracted that is nearly the same.
    """
    line = cutpoints - jnp.asarray(predictor)[..., None]
    below, above = jax.nn.log_sigmoid(line), jax.nn.log_sigmoid(-line)
    between = below[..., 1:] + above[..., :-1] + jnp.log(-jnp.expm1(line[..., :-1] - line[..., 1:]))
    return jnp.concatenate([below[..., :1], between, above[..., -1:]], -1)


class Poisson(Distribution):
    r"""Counts of independent events: $P(v) = λ^v e^{-λ} / v!$.

    Shapes:
        rate: any.

    Arguments:
        rate: λ, above 0.

    Raises:
        RangeError: as ``Distribution``.

    Source: Cameron and Trivedi, "Regression analysis of count data", 1998.

    >>> import phlox as px
    >>> round(float(px.probability.Poisson(2.0).log_prob(0)), 4)
    -2.0
    """

    rate: Param | float
    _peer_name: ClassVar[str] = "Poisson"
    _rules: ClassVar = {"rate": POSITIVE}

    def __init__(self, rate: Any):
        super().__init__(rate=rate)


class NegativeBinomial(Distribution):
    r"""Counts that vary more than Poisson's, of mean λ and variance $λ + λ^2 / α$.

    Shapes:
        rate, concentration: of shapes that broadcast.

    Arguments:
        rate: λ, above 0.
        concentration: α, above 0; the larger, the nearer to Poisson's.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Hilbe, "Negative binomial regression", 2011.

    >>> import phlox as px
    >>> round(float(px.probability.NegativeBinomial(3.0, 2.0).variance), 4)
    7.5
    """

    rate: Param | float
    concentration: Param | float
    _rules: ClassVar = {"rate": POSITIVE, "concentration": POSITIVE}

    def __init__(self, rate: Any, concentration: Any):
        super().__init__(rate=rate, concentration=concentration)

    def _peer(self) -> Any:
        return _peers.distributions().NegativeBinomial2(wide(self.rate), wide(self.concentration))


class ZeroInflatedPoisson(Distribution):
    r"""Counts, and zeros that have another reason: $v = 0$ with probability g, else of Poisson's with rate λ.

    Shapes:
        gate, rate: of shapes that broadcast.

    Arguments:
        gate: g, in [0, 1].
        rate: λ, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Lambert, "Zero-inflated Poisson regression", 1992.

    >>> import phlox as px
    >>> float(px.probability.ZeroInflatedPoisson(0.25, 4.0).mean)
    3.0
    """

    gate: Param | float
    rate: Param | float
    _peer_name: ClassVar[str] = "ZeroInflatedPoisson"
    _rules: ClassVar = {"gate": UNIT, "rate": POSITIVE}

    def __init__(self, gate: Any, rate: Any):
        super().__init__(gate=gate, rate=rate)


def with_last_axis(where: str, name: str, value: Any, axis: str) -> None:
    """Refuse what has no last axis."""
    if not jnp.ndim(value):
        fix = f"put the {axis} on the last axis"
        raise ShapeError(f"{name} (..., {axis})", got=describe(value), fix=fix, where=where)
