"""Distributions of what is never negative: scales, rates, times, shares."""

from __future__ import annotations

from typing import Any, ClassVar

from phlox.core import Param
from phlox.probability.distributions._arguments import POSITIVE, REAL
from phlox.probability.distributions._distribution import Distribution


class LogNormal(Distribution):
    r"""What has a normal logarithm: $\log v \sim N(μ, σ^2)$.

    Shapes:
        loc, scale: of shapes that broadcast.

    Arguments:
        loc, scale: μ and σ of the logarithm, the latter above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Johnson, Kotz and Balakrishnan, "Continuous univariate distributions", 1994.

    >>> import phlox as px
    >>> round(float(px.probability.LogNormal(0.0, 1.0).mean), 4)
    1.6487
    """

    loc: Param | float
    scale: Param | float
    _peer_name: ClassVar[str] = "LogNormal"
    _rules: ClassVar = {"loc": REAL, "scale": POSITIVE}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(loc=loc, scale=scale)


class HalfNormal(Distribution):
    r"""The size of a normal variable: $v = |u|, u \sim N(0, σ^2)$; a prior of scales.

    Shapes:
        scale: any.

    Arguments:
        scale: σ, above 0.

    Raises:
        RangeError: as ``Distribution``.

    Source: Gelman, "Prior distributions for variance parameters in hierarchical models", 2006.

    >>> import phlox as px
    >>> round(float(px.probability.HalfNormal(2.0).mean), 4)
    1.5958
    """

    scale: Param | float
    _peer_name: ClassVar[str] = "HalfNormal"
    _rules: ClassVar = {"scale": POSITIVE}

    def __init__(self, scale: Any = 1.0):
        super().__init__(scale=scale)


class HalfCauchy(Distribution):
    r"""The positive half of Cauchy's: $p(v) = 2 / (πσ(1 + v^2 / σ^2))$; a prior of scales that may be large.

    Shapes:
        scale: any.

    Arguments:
        scale: σ, the median, above 0.

    Raises:
        RangeError: as ``Distribution``.

    Source: Polson and Scott, "On the half-Cauchy prior for a global scale parameter", 2012.

    >>> import phlox as px
    >>> round(float(px.probability.HalfCauchy(2.0).quantile(0.5)), 4)
    2.0
    """

    scale: Param | float
    _peer_name: ClassVar[str] = "HalfCauchy"
    _rules: ClassVar = {"scale": POSITIVE}

    def __init__(self, scale: Any = 1.0):
        super().__init__(scale=scale)


class Exponential(Distribution):
    r"""The time to an event of constant rate: $p(v) = λ e^{-λv}$.

    Shapes:
        rate: any.

    Arguments:
        rate: λ, above 0.

    Raises:
        RangeError: as ``Distribution``.

    Source: Johnson, Kotz and Balakrishnan, "Continuous univariate distributions", 1994.

    >>> import phlox as px
    >>> float(px.probability.Exponential(4.0).mean)
    0.25
    """

    rate: Param | float
    _peer_name: ClassVar[str] = "Exponential"
    _rules: ClassVar = {"rate": POSITIVE}

    def __init__(self, rate: Any = 1.0):
        super().__init__(rate=rate)


class Gamma(Distribution):
    r"""The gamma distribution: $p(v) = β^α v^{α - 1} e^{-βv} / Γ(α)$.

    Shapes:
        concentration, rate: of shapes that broadcast.

    Arguments:
        concentration, rate: α and β, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Johnson, Kotz and Balakrishnan, "Continuous univariate distributions", 1994.

    >>> import phlox as px
    >>> float(px.probability.Gamma(3.0, 2.0).mean)
    1.5
    """

    concentration: Param | float
    rate: Param | float
    _peer_name: ClassVar[str] = "Gamma"
    _rules: ClassVar = {"concentration": POSITIVE, "rate": POSITIVE}

    def __init__(self, concentration: Any, rate: Any = 1.0):
        super().__init__(concentration=concentration, rate=rate)


class InverseGamma(Distribution):
    r"""What has a gamma inverse: $1 / v \sim \mathrm{Gamma}(α, β)$; the conjugate prior of a variance.

    Shapes:
        concentration, rate: of shapes that broadcast.

    Arguments:
        concentration, rate: α and β, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Gelman et al., "Bayesian data analysis", 2013.

    >>> import phlox as px
    >>> float(px.probability.InverseGamma(3.0, 4.0).mean)
    2.0
    """

    concentration: Param | float
    rate: Param | float
    _peer_name: ClassVar[str] = "InverseGamma"
    _rules: ClassVar = {"concentration": POSITIVE, "rate": POSITIVE}

    def __init__(self, concentration: Any, rate: Any = 1.0):
        super().__init__(concentration=concentration, rate=rate)


class Beta(Distribution):
    r"""The beta distribution of shares: $p(v) = v^{a - 1} (1 - v)^{b - 1} / B(a, b)$ on (0, 1).

    Shapes:
        concentration1, concentration0: of shapes that broadcast.

    Arguments:
        concentration1, concentration0: a and b, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Johnson, Kotz and Balakrishnan, "Continuous univariate distributions", 1995.

    >>> import phlox as px
    >>> float(px.probability.Beta(3.0, 1.0).mean)
    0.75
    """

    concentration1: Param | float
    concentration0: Param | float
    _peer_name: ClassVar[str] = "Beta"
    _rules: ClassVar = {"concentration1": POSITIVE, "concentration0": POSITIVE}

    def __init__(self, concentration1: Any, concentration0: Any):
        super().__init__(concentration1=concentration1, concentration0=concentration0)
