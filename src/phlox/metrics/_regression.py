"""The errors of predicted numbers: absolute and squared."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.metrics._mean import Average, numbers, wide
from phlox.metrics._metric import Statistics


class _Error(Average):
    """The mean of a function of prediction − target."""

    def __init__(self) -> None:
        self.reset()

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        return numbers(prediction, target, weight, f"{type(self).__name__}.update")

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        return self._averaged(self._cost(wide(p) - wide(t)), w)

    def _cost(self, error: jax.Array) -> jax.Array:
        return error * error


class MeanSquaredError(_Error):
    r"""The mean squared error, $\sum w (\hat y - y)^2 / \sum w$, over all elements.

    Shapes:
        prediction, target: any, the same; weight: the same, or its leading axes; value: ().

    Raises:
        ShapeError: from ``update``, shapes that differ.

    >>> import jax.numpy as jnp, phlox as px
    >>> error = px.metrics.MeanSquaredError()
    >>> error.update(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
    >>> float(error.compute())
    2.0
    """


class RootMeanSquaredError(_Error):
    r"""The root of the mean squared error, $\sqrt{\sum w (\hat y - y)^2 / \sum w}$, in the units of the target.

    Shapes and errors: as ``MeanSquaredError``.

    >>> import jax.numpy as jnp, phlox as px
    >>> error = px.metrics.RootMeanSquaredError()
    >>> error.update(jnp.array([1.0, 2.0]), jnp.array([1.0, 2.0])); error.update(jnp.array([5.0]), jnp.array([2.0]))
    >>> round(float(error.compute()), 4)
    1.7321
    """

    def _value(self, statistics: Statistics) -> jax.Array:
        return jnp.sqrt(super()._value(statistics))


class MeanAbsoluteError(_Error):
    r"""The mean absolute error, $\sum w |\hat y - y| / \sum w$, over all elements.

    Shapes and errors: as ``MeanSquaredError``.

    >>> import jax.numpy as jnp, phlox as px
    >>> error = px.metrics.MeanAbsoluteError()
    >>> error.update(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
    >>> float(error.compute())
    1.0
    """

    def _cost(self, error: jax.Array) -> jax.Array:
        return jnp.abs(error)
