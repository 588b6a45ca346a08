"""The continuous ranked probability score: how far a distribution of numbers lies from the one that came."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from phlox.core import RangeError, answering
from phlox.probability._arguments import alike, floats, refuse_values, with_last_axis
from phlox.probability.scores._intervals import pinball


@answering
def crps_normal(mean: Any, scale: Any, target: Any) -> jax.Array:
    r"""The continuous ranked probability score of normal distributions, $\int (F(x) - 1[x \ge y])^2 dx$ in closed form.

    With $z = (y - \mu) / \sigma$ it is $\sigma \left( z (2 \Phi(z) - 1) + 2 \varphi(z) - 1 / \sqrt\pi \right)$.

    Shapes:
        mean, scale, target: (...), the same; score: (...).

    Arguments:
        mean: μ, in units of the target.
        scale: σ, the standard deviation, above 0, in units of the target.
        target: y, what came.

    Raises:
        RangeError: a scale that is not above 0, where values are known.
        ShapeError, DtypeError: arguments of unlike shapes, or complex ones.

    Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007.

    >>> import jax.numpy as jnp, phlox as px
    >>> round(float(px.probability.crps_normal(jnp.array(0.0), jnp.array(1.0), jnp.array(0.0))), 4)
    0.2337
    """
    mean, scale, target = floats("crps_normal", mean=mean, scale=scale, target=target)
    alike("crps_normal", mean=mean, scale=scale, target=target)
    refuse_values("crps_normal", scale, lambda v: v > 0, "scale above 0", "pass it through softplus or exp")
    z = (target - mean) / scale
    return scale * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))


@answering
def crps_ensemble(members: Any, target: Any, *, fair: bool = False) -> jax.Array:
    r"""The continuous ranked probability score of samples, $\mathrm{E}|X - y| - \frac12 \mathrm{E}|X - X'|$.

    Shapes:
        members: (..., members); target: (...); score: (...).

    Arguments:
        members: m samples of a distribution, or what m models say.
        target: y, what came.
        fair: the mean over pairs leaves out those of a member with itself, m (m - 1) pairs in place of m²; so the score
            of a few samples has the mean of that of the distribution.

    Raises:
        RangeError: a single member, with ``fair``.
        ShapeError, DtypeError: arguments that do not match.

    Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007; Ferro, "Fair scores
    for ensemble forecasts", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> float(px.probability.crps_ensemble(jnp.array([0.0, 2.0]), jnp.array(1.0)))
    0.5
    """
    members, target = floats("crps_ensemble", members=members, target=target)
    with_last_axis("crps_ensemble", "members", members, target)
    count = members.shape[-1]
    off = jnp.sort(members - target[..., None], -1)
    ranks = 2 * jnp.arange(1, count + 1) - count - 1
    return jnp.abs(off).mean(-1) - (ranks * off).sum(-1) / pairs_of(count, fair, "crps_ensemble")


def pairs_of(count: int, fair: bool, where: str) -> int:
    """How many pairs of members a mean is taken over.

    Raises:
        RangeError: none.
    """
    if fair and count < 2:
        fix = "give two members or more, or fair=False"
        raise RangeError("members to compare, with fair=True", got="one member", fix=fix, where=where)
    return count * (count - 1) if fair else count**2


@answering
def crps_quantiles(quantiles: Any, levels: Any, target: Any) -> jax.Array:
    r"""The continuous ranked probability score as seen at some quantiles: twice the mean of their pinball scores.

    With levels spread evenly over (0, 1), such as (i - ½) / m, it tends to the score of the distribution.

    Shapes:
        quantiles: (..., levels); levels: (levels,); target: (...); score: (...).

    Arguments:
        quantiles: the values that the target is below with the probabilities ``levels``.
        levels: fractions between 0 and 1.
        target: y, what came.

    Raises:
        RangeError: levels outside (0, 1).
        ShapeError, DtypeError: arguments that do not match.

    Source: Gneiting and Ranjan, "Comparing density forecasts using threshold- and quantile-weighted scoring rules",
    2011.

    >>> import jax.numpy as jnp, phlox as px
    >>> float(px.probability.crps_quantiles(jnp.array([0.0, 2.0]), jnp.array([0.25, 0.75]), jnp.array(1.0)))
    0.5
    """
    return 2 * pinball(quantiles, jnp.atleast_1d(jnp.asarray(levels)), target).mean(-1)
