"""Intervals that hold a number as often as asked."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from phlox.probability._arguments import alike, floats, refuse_values
from phlox.probability.conformal._threshold import Conformal


class Interval(NamedTuple):
    """The ends of intervals, in units of the target."""

    lower: jax.Array
    upper: jax.Array


class ConformalRegressor(Conformal):
    r"""Intervals around predictions, $\hat y \pm q\, s$, that hold the target with the probability asked for.

    q is the ⌈(n + 1) · coverage⌉-th smallest of $|y - \hat y| / s$ over n held-out examples; ∞ where n is too small for
    the coverage.

    Shapes:
        prediction, target, scale, group: (...), the same; lower, upper: (...). Each number is an example of its own.

    Arguments:
        coverage: the probability, between 0 and 1.
        groups: how many groups of examples have the coverage each by itself (Mondrian); 0 where it is meant of all
            together.

    ``calibrate(prediction, target, scale=None, group=None)`` finds q from examples that no training has seen; called
    with ``(prediction, scale=None, group=None)``. s is how uncertain a prediction is, such as a standard deviation; 1
    where none is given. ``group`` holds the number of each example's group.

    Raises:
        RangeError: a coverage outside (0, 1), a scale that is not above 0, or a group that there is not.
        StateError: called before ``calibrate``.
        ShapeError, DtypeError, OptionError: arguments that do not match.

    Source: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Lei et al.,
    "Distribution-free predictive inference for regression", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> regressor = px.probability.ConformalRegressor(coverage=0.75)
    >>> _ = regressor.calibrate(jnp.zeros(3), jnp.array([0.5, -2.0, 1.0]))
    >>> lower, upper = regressor(jnp.array([10.0]))
    >>> lower.tolist(), upper.tolist()
    ([8.0], [12.0])
    """

    def __init__(self, coverage: float = 0.9, *, groups: int = 0):
        super().__init__(coverage, groups)

    def calibrate(self, prediction: Any, target: Any, scale: Any = None, group: Any = None) -> Self:
        """Find q from held-out examples; returns the layer itself."""
        where = "ConformalRegressor.calibrate"
        prediction, scale, target = _scaled(where, prediction, scale, target)
        alike(where, prediction=prediction, target=target)
        self._find(jnp.abs(target - prediction) / scale, group)
        return self

    def __call__(self, prediction: Any, scale: Any = None, group: Any = None) -> Interval:
        prediction, scale, _ = _scaled("ConformalRegressor", prediction, scale, 0)
        reach = self._reach(prediction, group) * scale
        return Interval(prediction - reach, prediction + reach)


def _scaled(where: str, prediction: Any, scale: Any, target: Any) -> tuple[jax.Array, ...]:
    """The three in one dtype, the scale being 1 where there is none."""
    scale = jnp.ones(jnp.shape(prediction), bool) if scale is None else scale
    prediction, scale, target = floats(where, prediction=prediction, scale=scale, target=target)
    alike(where, prediction=prediction, scale=scale)
    refuse_values(where, scale, lambda v: v > 0, "scale above 0", "pass it through softplus or exp")
    return prediction, scale, target


class ConformalQuantileRegressor(Conformal):
    r"""Intervals from two quantiles, $[l - q,\, u + q]$, that hold the target with the probability asked for.

    q is the ⌈(n + 1) · coverage⌉-th smallest of $\max(l - y, y - u)$ over n held-out examples, below 0 where the
    quantiles hold too many. The intervals are as wide as the quantiles say, here more and there less.

    Shapes:
        lower, upper, target, group: (...), the same. Each number is an example of its own.

    Arguments:
        coverage: the probability, between 0 and 1; best with quantiles that were trained for it, by
            ``px.probability.pinball`` at (1 - coverage) / 2 and (1 + coverage) / 2.
        groups: how many groups of examples have the coverage each by itself; 0 where it is meant of all together.

    ``calibrate(lower, upper, target, group=None)`` finds q from examples that no training has seen; called with
    ``(lower, upper, group=None)``. An interval whose ends have crossed is empty.

    Raises:
        RangeError: a coverage outside (0, 1), or a group that there is not.
        StateError: called before ``calibrate``.
        ShapeError, DtypeError, OptionError: arguments that do not match.

    Source: Romano, Patterson and Candès, "Conformalized quantile regression", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> regressor = px.probability.ConformalQuantileRegressor(coverage=0.5)
    >>> _ = regressor.calibrate(-jnp.ones(3), jnp.ones(3), jnp.array([0.0, 1.5, -3.0]))
    >>> lower, upper = regressor(jnp.array([4.0]), jnp.array([5.0]))
    >>> lower.tolist(), upper.tolist()
    ([3.5], [5.5])
    """

    def __init__(self, coverage: float = 0.9, *, groups: int = 0):
        super().__init__(coverage, groups)

    def calibrate(self, lower: Any, upper: Any, target: Any, group: Any = None) -> Self:
        """Find q from held-out examples; returns the layer itself."""
        where = "ConformalQuantileRegressor.calibrate"
        lower, upper, target = floats(where, lower=lower, upper=upper, target=target)
        alike(where, lower=lower, upper=upper, target=target)
        self._find(jnp.maximum(lower - target, target - upper), group)
        return self

    def __call__(self, lower: Any, upper: Any, group: Any = None) -> Interval:
        lower, upper = floats("ConformalQuantileRegressor", lower=lower, upper=upper)
        alike("ConformalQuantileRegressor", lower=lower, upper=upper)
        reach = self._reach(lower, group)
        return Interval(lower - reach, upper + reach)
