"""Platt scaling: scores of yes or no through a line and the sigmoid."""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, State
from phlox.probability._arguments import alike, fitted, floats, known, refuse_values


class PlattScaling(Module):
    r"""Probabilities of yes from scores, $\sigma(a s + b)$.

    a and b have the greatest likelihood of held-out examples whose targets are drawn in from 0 and 1, to
    $1 / (n_- + 2)$ and $(n_+ + 1) / (n_+ + 2)$, as few examples say little of what is certain.

    Shapes:
        s: (...) scores, such as logits; target: (...) of 0 and 1; probabilities: (...).

    ``fit(scores, target)`` finds a and b, which are State: training leaves them alone.

    Raises:
        RangeError: from ``fit``, for targets other than 0 and 1, targets all alike, or scores all alike.
        StateError: called before ``fit``.
        ShapeError, DtypeError: arguments that do not match.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999; Lin, Lin and Weng, "A note on Platt's
    probabilistic outputs for support vector machines", 2007.

    >>> import jax.numpy as jnp, phlox as px
    >>> scores, target = jnp.array([-2.0, -1.0, 1.0, 2.0]), jnp.array([0, 1, 0, 1])
    >>> platt = px.probability.PlattScaling().fit(scores, target)
    >>> [round(p, 3) for p in platt(scores).tolist()]
    [0.4, 0.45, 0.55, 0.6]
    """

    slope: State | None  # ()
    offset: State | None  # ()

    def __init__(self) -> None:
        self.slope = self.offset = None

    def fit(self, scores: Any, target: Any) -> Self:
        """Find the line of held-out examples; returns the layer itself."""
        where = "PlattScaling.fit"
        s, y = yes_or_no(where, scores, target)
        self.slope, self.offset = (jnp.asarray(v, jnp.result_type(float)) for v in _line(s, y, where))
        return self

    def __call__(self, scores: Any) -> jax.Array:
        slope, offset = (fitted(self, v, "a line", "fit(scores, target)") for v in (self.slope, self.offset))
        (s,) = floats(None, scores=scores)
        return jax.nn.sigmoid(slope.astype(s.dtype) * s + offset.astype(s.dtype))

    def _brief(self) -> str:
        return "PlattScaling()"


def yes_or_no(where: str, scores: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Finite scores and targets of 0 and 1, (examples,) each, in float64.

    Raises:
        RangeError: others.
    """
    (s,) = floats(where, scores=scores)
    y = jnp.asarray(target)
    alike(where, scores=s, target=y)
    s, y = known(where, "a calibration", s.reshape(-1), y.reshape(-1))
    refuse_values(where, s, np.isfinite, "finite scores", "leave out what is not finite")
    fix = "give 1 where it is so and 0 elsewhere; of one class among several: (target == c)"
    refuse_values(where, y, lambda v: (v == 0) | (v == 1), "targets of 0 and 1", fix)
    return s.astype(np.float64), y.astype(np.float64)


def _line(s: np.ndarray, y: np.ndarray, where: str) -> tuple[float, float]:
    """Slope and offset with the greatest likelihood, for scores that Newton's method sees on the scale of 1."""
    from scipy.optimize import minimize
    from scipy.special import expit

    yes, no = y.sum(), (1 - y).sum()
    if yes == 0 or no == 0 or s.min() == s.max():
        got, fix = f"{int(yes)} of yes and {int(no)} of no, {len(np.unique(s))} different scores", "give more examples"
        raise RangeError("targets of both kinds, and scores that differ", got=got, fix=fix, where=where)
    drawn_in = np.where(y == 1, (yes + 1) / (yes + 2), 1 / (no + 2))
    middle, spread = s.mean(), s.std()
    x = np.stack([(s - middle) / spread, np.ones_like(s)], 1)

    def loss(line: np.ndarray) -> float:
        logits = x @ line
        return float((np.logaddexp(0, logits) - drawn_in * logits).mean())

    def slope(line: np.ndarray) -> np.ndarray:
        return x.T @ (expit(x @ line) - drawn_in) / len(s)

    def bend(line: np.ndarray) -> np.ndarray:
        p = expit(x @ line)
        return (x.T * (p * (1 - p))) @ x / len(s)

    start = np.array([0.0, np.log((yes + 1) / (no + 1))])
    a, b = minimize(loss, start, jac=slope, hess=bend, method="trust-exact", options={"gtol": 1e-12}).x
    return a / spread, b - a * middle / spread
