"""A head for quantiles."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, check_size, key_or_draw
from phlox.nn import Dense
from phlox.probability.distributions._likelihood import Quantiles, check_levels


class QuantileHead(Module):
    r"""Quantiles that cannot cross: $v_1 = z_1$, $v_{i+1} = v_i + \mathrm{softplus}(z_{i+1})$ with $z = x W + b$.

    Shapes:
        x: (..., in); ``Quantiles`` of values (..., out, levels), for ``px.probability.pinball`` of targets (..., out).

    Arguments:
        in_size, out_size: features of the input, and numbers predicted.
        levels: shares of the outcomes below each value, in (0, 1), rising.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, levels out of range or order.
        ShapeError: an input without ``in_size`` features.

    Source: Koenker and Bassett, "Regression quantiles", 1978; Cannon, "Non-crossing nonlinear regression quantiles by
    monotone composite quantile regression neural network", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> quantiles = px.probability.QuantileHead(8, 1, levels=(0.05, 0.5, 0.95))(jnp.ones((5, 8)))
    >>> quantiles.values.shape, bool((jnp.diff(quantiles.values) >= 0).all())
    ((5, 1, 3), True)
    """

    dense: Dense
    out_size: int
    levels: tuple[float, ...]

    def __init__(self, in_size: int, out_size: int, *, levels: Any = (0.1, 0.5, 0.9), key: Any = None):
        self.out_size = check_size("QuantileHead", "out_size", out_size)
        self.levels = check_levels("QuantileHead", levels)
        self.dense = Dense(in_size, out_size * len(self.levels), key=key_or_draw(key))

    def __call__(self, x: Any) -> Quantiles:
        y = self.dense(x)
        y = y.reshape(*y.shape[:-1], self.out_size, len(self.levels))
        steps = jnp.cumsum(jax.nn.softplus(y[..., 1:]), -1)
        return Quantiles(jnp.concatenate([y[..., :1], y[..., :1] + steps], -1), self.levels)
