"""Losses of predictions that are distributions or quantiles."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import Module, Param, RangeError, ShapeError, describe, shown
from phlox.losses import Reduction, reduced
from phlox.probability.distributions._distribution import Distribution


def nll(
    prediction: Distribution, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    r"""The negative log-likelihood of targets: $-\log p(t)$.

    Shapes:
        prediction: a batch of distributions; target: (*batch, *event), exactly; the result is a scalar, or (*batch)
        with ``"none"``.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the batch.
        weight: sample weights, of the leading axes of the batch.

    Raises:
        RangeError: a prediction that is no distribution.
        ShapeError: targets of another shape.

    Source: Nix and Weigend, "Estimating the mean and variance of the target probability distribution", 1994.

    >>> import jax.numpy as jnp, phlox as px
    >>> prediction = px.probability.Normal(jnp.zeros((2, 1)), 1.0)
    >>> round(float(px.probability.nll(prediction, jnp.ones((2, 1)))), 4)
    1.4189
    """
    if not isinstance(prediction, Distribution):
        fix = "let the model end with a head, such as px.probability.NormalHead(in, out)"
        raise RangeError("a prediction that is a distribution", got=shown(prediction), fix=fix, where="nll")
    _check_target(target, (*prediction.batch_shape, *prediction.event_shape), "nll")
    loss = -prediction.log_prob(target)
    return reduced(loss, loss.dtype, reduction, weight, "nll")


class Quantiles(Module):
    """Values that given shares of the outcomes are below, in rising order.

    Shapes:
        values: (..., levels).

    Arguments:
        values: a value for each level.
        levels: the shares, in (0, 1), rising.

    Raises:
        ShapeError: as many values as there are not levels.

    Source: Koenker and Bassett, "Regression quantiles", 1978.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.Quantiles(jnp.array([[1.0, 2.0, 4.0]]), (0.1, 0.5, 0.9)).at(0.5).tolist()
    [2.0]
    """

    values: Param  # (..., levels)
    levels: tuple[float, ...]

    def __init__(self, values: Any, levels: tuple[float, ...]):
        self.values, self.levels = jnp.asarray(values), check_levels("Quantiles", levels)
        if self.values.shape[-1:] != (len(self.levels),):
            fix = "put the levels on the last axis"
            expected = f"values (..., {len(self.levels)})"
            raise ShapeError(expected, got=describe(self.values), fix=fix, where="Quantiles")

    def at(self, level: float) -> jax.Array:
        """The value at one of the levels, (...)."""
        if level not in self.levels:
            fix = f"choose among {', '.join(map(str, self.levels))}"
            raise RangeError("a level of these quantiles", got=repr(level), fix=fix, where="Quantiles.at")
        return self.values[..., self.levels.index(level)]

    def _brief(self) -> str:
        return f"Quantiles({describe(self.values)}, {self.levels})"


def pinball(
    prediction: Quantiles, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    r"""The loss that is least at the quantiles: $\max(q d, (q - 1) d)$, $d = t - v$, the mean over levels q.

    Shapes:
        prediction: quantiles (..., levels); target: (...); the result is a scalar, or (...) with ``"none"``.

    Arguments:
        reduction, weight: as in ``nll``.

    Raises:
        RangeError: a prediction that is no ``Quantiles``.
        ShapeError: targets of another shape.

    Source: Koenker and Bassett, "Regression quantiles", 1978.

    >>> import jax.numpy as jnp, phlox as px
    >>> prediction = px.probability.Quantiles(jnp.array([[0.0]]), (0.9,))
    >>> round(float(px.probability.pinball(prediction, jnp.array([2.0]))), 4)
    1.8
    """
    if not isinstance(prediction, Quantiles):
        fix = "let the model end with px.probability.QuantileHead(in, out)"
        raise RangeError("a prediction of quantiles", got=shown(prediction), fix=fix, where="pinball")
    _check_target(target, prediction.values.shape[:-1], "pinball")
    dtype = prediction.values.dtype
    values = prediction.values.astype(jnp.promote_types(dtype, jnp.float32))
    off = jnp.asarray(target).astype(values.dtype)[..., None] - values
    levels = jnp.asarray(prediction.levels, values.dtype)
    loss = jnp.maximum(levels * off, (levels - 1) * off).mean(-1)
    return reduced(loss, dtype, reduction, weight, "pinball")


def check_levels(where: str, levels: Any) -> tuple[float, ...]:
    """Shares in (0, 1), rising."""
    found = tuple(float(level) for level in levels)
    ends = (0.0, *found, 1.0)
    if not found or not all(a < b for a, b in pairwise(ends)):
        fix = "give them as levels=(0.1, 0.5, 0.9)"
        raise RangeError("levels in (0, 1), rising", got=repr(levels), fix=fix, where=where)
    return found


def _check_target(target: ArrayLike, own: tuple[int, ...], where: str) -> None:
    if jnp.shape(target) == own:
        return
    size = 1
    for length in own:
        size *= length
    fix = f"reshape it: target.reshape({own})" if jnp.size(target) == size else f"give targets of shape {own}"
    raise ShapeError(f"targets {own}, a loss never broadcasts", got=describe(jnp.asarray(target)), fix=fix, where=where)
