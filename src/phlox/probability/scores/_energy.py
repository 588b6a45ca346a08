"""The energy score: how far samples of vectors lie from the one that came."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, answering, describe
from phlox.probability._arguments import floats
from phlox.probability.scores._crps import pairs_of


@answering
def energy_score(members: Any, target: Any, *, fair: bool = False) -> jax.Array:
    r"""The energy score of samples of vectors, $\mathrm{E}\|X - y\| - \frac12 \mathrm{E}\|X - X'\|$.

    For vectors of one number it is ``crps_ensemble``.

    Shapes:
        members: (..., members, features); target: (..., features); score: (...). Of all pairs of members there is a
        difference in memory, (..., members, members, features).

    Arguments:
        members: samples of a distribution.
        target: y, what came.
        fair: the mean over pairs leaves out those of a member with itself.

    Raises:
        RangeError: a single member, with ``fair``.
        ShapeError, DtypeError: arguments that do not match.

    Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007.

    >>> import jax.numpy as jnp, phlox as px
    >>> float(px.probability.energy_score(jnp.array([[0.0, 0.0], [6.0, 8.0]]), jnp.array([3.0, 4.0])))
    2.5
    """
    members, target = floats("energy_score", members=members, target=target)
    if members.ndim < 2 or target.shape != (*members.shape[:-2], members.shape[-1]):
        fix = "put the members along the second axis from the last"
        got = f"{describe(members)}, {describe(target)}"
        raise ShapeError("members (..., members, features) and target (..., features)", got=got, fix=fix,
                         where="energy_score")  # fmt: skip
    apart = _length(members[..., :, None, :] - members[..., None, :, :]).sum((-1, -2))
    off = _length(members - target[..., None, :]).mean(-1)
    return off - apart / (2 * pairs_of(members.shape[-2], fair, "energy_score"))


def _length(x: jax.Array) -> jax.Array:
    """Euclidean lengths, of which that of zero has the gradient zero."""
    square = jnp.square(x).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
