"""Scores of quantiles, and of intervals between two of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, answering, describe
from phlox.probability._arguments import alike, floats, refuse_values, share, with_last_axis


@answering
def pinball(quantiles: Any, levels: Any, target: Any) -> jax.Array:
    r"""The score of quantiles, $\max(\tau (y - q), (\tau - 1) (y - q))$, which the true quantile makes smallest.

    Shapes:
        quantiles: (..., levels) for levels (levels,), or (...) for one number; target: (...); score: as quantiles.

    Arguments:
        quantiles: q, in units of the target.
        levels: τ, the probability with which the target is below q: one number for all, or one for each of the last
            axis.
        target: y, what came.

    Raises:
        RangeError: levels outside (0, 1).
        ShapeError, DtypeError: arguments that do not match.

    Source: Koenker and Bassett, "Regression quantiles", 1978.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.pinball(jnp.array([1.0, 3.0]), 0.75, jnp.array([2.0, 2.0])).tolist()
    [0.75, 0.25]
    """
    quantiles, levels, target = floats("pinball", quantiles=quantiles, levels=levels, target=target)
    fix = "give fractions, such as levels=jnp.array([0.05, 0.5, 0.95])"
    refuse_values("pinball", levels, lambda v: (v > 0) & (v < 1), "levels between 0 and 1", fix)
    if levels.ndim == 0:
        alike("pinball", quantiles=quantiles, target=target)
    else:
        with_last_axis("pinball", "levels", quantiles, target)
        if levels.shape != quantiles.shape[-1:]:
            fix = "give one level for each of the last axis"
            raise ShapeError(f"levels ({quantiles.shape[-1]},)", got=describe(levels), fix=fix, where="pinball")
        target = target[..., None]
    off = target - quantiles
    return jnp.maximum(levels * off, (levels - 1) * off)


@answering
def interval_score(lower: Any, upper: Any, target: Any, coverage: float = 0.9) -> jax.Array:
    r"""The score of intervals, $(u - l) + \frac{2}{\alpha} \left( (l - y)_+ + (y - u)_+ \right)$: narrow, and right.

    Shapes:
        lower, upper, target: (...), the same; score: (...).

    Arguments:
        lower, upper: l and u, in units of the target.
        target: y, what came.
        coverage: 1 - α, the probability with which the interval is to hold it; the best ends are the quantiles at α / 2
            and 1 - α / 2.

    Raises:
        RangeError: a coverage outside (0, 1).
        ShapeError, DtypeError: arguments of unlike shapes, or complex ones.

    Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007; also named after
    Winkler.

    >>> import jax.numpy as jnp, phlox as px
    >>> one = jnp.array(1.0)
    >>> float(px.probability.interval_score(-one, one, 2 * one, coverage=0.5))
    6.0
    """
    coverage = share("interval_score", "coverage", coverage)
    lower, upper, target = floats("interval_score", lower=lower, upper=upper, target=target)
    alike("interval_score", lower=lower, upper=upper, target=target)
    outside = jnp.maximum(lower - target, 0) + jnp.maximum(target - upper, 0)
    return upper - lower + 2 / (1 - coverage) * outside
