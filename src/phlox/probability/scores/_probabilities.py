"""Scores of probabilities and densities."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, answering, shown
from phlox.probability._arguments import alike, classes_of, floats, refuse_values, with_last_axis


@answering
def brier_score(probabilities: Any, target: Any, *, classes: bool = False) -> jax.Array:
    r"""The squared error of probabilities, $(p - y)^2$; over classes $\sum_c (p_c - 1[y = c])^2$.

    The second is twice the first where there are two classes.

    Shapes:
        probabilities: (...), with ``classes`` (..., classes); target: (...); score: (...).

    Arguments:
        probabilities: of yes, or of each class.
        target: 0 and 1, or integer classes.
        classes: whether probabilities are over classes.

    Raises:
        RangeError: probabilities outside [0, 1] or targets that are no class, where values are known.
        ShapeError, DtypeError: arguments that do not match.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.brier_score(jnp.array([0.5, 1.0]), jnp.array([1, 0])).tolist()
    [0.25, 1.0]
    """
    where = "brier_score"
    (p,) = floats(where, probabilities=probabilities)
    fix = "pass logits through px.sigmoid or px.softmax"
    refuse_values(where, p, lambda v: (v >= 0) & (v <= 1), "probabilities in [0, 1]", fix)
    if not classes:
        y = jnp.asarray(target)
        alike(where, probabilities=p, target=y)
        refuse_values(
            where, y, lambda v: (v == 0) | (v == 1), "targets of 0 and 1", "give classes=True for several classes"
        )
        return jnp.square(p - y.astype(p.dtype))
    with_last_axis(where, "classes", p, jnp.asarray(target))
    y = classes_of(where, target, p.shape[-1])
    return jnp.square(p - jax.nn.one_hot(y, p.shape[-1], dtype=p.dtype)).sum(-1)


@answering
def log_score(distribution: Any, target: Any) -> jax.Array:
    r"""The negative logarithm of a density at what came, $-\log p(y)$, in nats.

    Of probabilities over classes it is ``px.losses.cross_entropy`` with ``reduction="none"``.

    Shapes:
        target: as the distribution has it; score: one number for each of its events.

    Arguments:
        distribution: an object with ``log_prob(y)``: a ``Flow``, or one of NumPyro's.
        target: y.

    Raises:
        RangeError: an object without ``log_prob``.

    Source: Good, "Rational decisions", 1952.

    >>> import jax.numpy as jnp, phlox as px
    >>> base = px.probability.StandardNormal(1)
    >>> round(float(px.probability.log_score(base, jnp.zeros(1))), 4)
    0.9189
    """
    if not callable(getattr(distribution, "log_prob", None)):
        fix = "put the distribution first and the target second"
        raise RangeError("a distribution with log_prob(y)", got=shown(distribution), fix=fix, where="log_score")
    return -distribution.log_prob(target)
