"""Distributions on the real line, and on an interval of it."""

from __future__ import annotations

from typing import Any, ClassVar

from phlox.core import Param, RangeError
from phlox.probability.distributions._arguments import POSITIVE, REAL
from phlox.probability.distributions._distribution import Distribution


class Normal(Distribution):
    r"""The normal distribution: $p(v) = \exp(-(v - μ)^2 / 2σ^2) / (σ\sqrt{2π})$.

    Shapes:
        loc, scale: of shapes that broadcast, and so is a batch of them.

    Arguments:
        loc: μ, the mean.
        scale: σ, the standard deviation, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Johnson, Kotz and Balakrishnan, "Continuous univariate distributions", 1994.

    >>> import phlox as px
    >>> [round(float(end), 2) for end in px.probability.Normal(1.0, 2.0).interval(0.95)]
    [-2.92, 4.92]
    """

    loc: Param | float
    scale: Param | float
    _peer_name: ClassVar[str] = "Normal"
    _rules: ClassVar = {"loc": REAL, "scale": POSITIVE}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(loc=loc, scale=scale)


class Laplace(Distribution):
    r"""The Laplace distribution: $p(v) = \exp(-|v - μ| / b) / 2b$.

    Shapes:
        loc, scale: of shapes that broadcast.

    Arguments:
        loc: μ, the mean.
        scale: b, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Johnson, Kotz and Balakrishnan, "Continuous univariate distributions", 1995.

    >>> import phlox as px
    >>> round(float(px.probability.Laplace(0.0, 1.0).log_prob(1.0)), 4)
    -1.6931
    """

    loc: Param | float
    scale: Param | float
    _peer_name: ClassVar[str] = "Laplace"
    _rules: ClassVar = {"loc": REAL, "scale": POSITIVE}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(loc=loc, scale=scale)


class StudentT(Distribution):
    r"""Student's t: $p(v) \propto (1 + (v - μ)^2 / νσ^2)^{-(ν + 1) / 2}$, whose outliers weigh little.

    Shapes:
        df, loc, scale: of shapes that broadcast.

    Arguments:
        df: ν, the degrees of freedom, above 0.
        loc: μ, the centre.
        scale: σ, above 0.

    Raises:
        RangeError, ShapeError: as ``Distribution``.

    Source: Lange, Little and Taylor, "Robust statistical modeling using the t distribution", 1989.

    >>> import phlox as px
    >>> round(float(px.probability.StudentT(1.0).log_prob(0.0)), 4)
    -1.1447
    """

    df: Param | float
    loc: Param | float
    scale: Param | float
    _peer_name: ClassVar[str] = "StudentT"
    _rules: ClassVar = {"df": POSITIVE, "loc": REAL, "scale": POSITIVE}

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(df=df, loc=loc, scale=scale)


class Uniform(Distribution):
    r"""The same density everywhere between two ends: $p(v) = 1 / (b - a)$ for $a \le v \le b$.

    Shapes:
        low, high: of shapes that broadcast.

    Arguments:
        low, high: a and b.

    Raises:
        RangeError: as ``Distribution``, or ends that are not in order, where they are numbers.

    Source: Johnson, Kotz and Balakrishnan, "Continuous univariate distributions", 1995.

    >>> import phlox as px
    >>> float(px.probability.Uniform(0.0, 4.0).mean)
    2.0
    """

    low: Param | float
    high: Param | float
    _peer_name: ClassVar[str] = "Uniform"
    _rules: ClassVar = {"low": REAL, "high": REAL}

    def __init__(self, low: Any = 0.0, high: Any = 1.0):
        super().__init__(low=low, high=high)
        if isinstance(self.low, float) and isinstance(self.high, float) and not self.low < self.high:
            fix = "give the lower end first"
            raise RangeError("low below high", got=f"{low!r} and {high!r}", fix=fix, where="Uniform")
