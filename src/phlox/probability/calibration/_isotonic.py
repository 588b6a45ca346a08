"""Isotonic calibration: scores of yes or no through a function that rises."""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, State
from phlox.probability._arguments import fitted, floats
from phlox.probability.calibration._platt import yes_or_no


class IsotonicCalibration(Module):
    r"""Probabilities of yes from scores, by the rising function g with the least $\sum_i (g(s_i) - y_i)^2$.

    Between the scores it was found at it is straight, outside of them constant. It takes any shape that rises, so it
    wants more examples than a line does, some thousand.

    Shapes:
        s: (...) scores; target: (...) of 0 and 1; probabilities: (...).

    ``fit(scores, target)`` finds g, which is State: training leaves it alone.

    Raises:
        RangeError: from ``fit``, for targets other than 0 and 1, or no examples.
        StateError: called before ``fit``.
        ShapeError, DtypeError: arguments that do not match.

    Source: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002.

    >>> import jax.numpy as jnp, phlox as px
    >>> scores, target = jnp.array([0.1, 0.4, 0.5, 0.9]), jnp.array([0, 1, 0, 1])
    >>> px.probability.IsotonicCalibration().fit(scores, target)(jnp.array([0.25, 0.45, 0.95])).tolist()
    [0.25, 0.5, 1.0]
    """

    scores: State | None  # (corners,) rising
    probabilities: State | None  # (corners,) rising

    def __init__(self) -> None:
        self.scores = self.probabilities = None

    def fit(self, scores: Any, target: Any) -> Self:
        """Find the function of held-out examples; returns the layer itself."""
        s, y = yes_or_no("IsotonicCalibration.fit", scores, target)
        corners = _rising(s, y)
        self.scores, self.probabilities = (jnp.asarray(v, jnp.result_type(float)) for v in corners)
        return self

    def __call__(self, scores: Any) -> jax.Array:
        at, height = (fitted(self, v, "a function", "fit(scores, target)") for v in (self.scores, self.probabilities))
        (s,) = floats(None, scores=scores)
        return jnp.interp(s, at.astype(s.dtype), height.astype(s.dtype))

    def _brief(self) -> str:
        told = "" if self.scores is None else f"{self.scores.shape[0]} corners"
        return f"IsotonicCalibration({told})"


def _rising(s: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last score of each step, and its height; examples of one score are one, with their mean."""
    from scipy.optimize import isotonic_regression

    if len(s) == 0:
        fix = "give examples that no training has seen"
        raise RangeError("examples", got="none", fix=fix, where="IsotonicCalibration.fit")
    at, of, count = np.unique(s, return_inverse=True, return_counts=True)
    mean = np.bincount(of, y) / count
    steps = isotonic_regression(mean, weights=count)
    ends = np.unique(np.concatenate([steps.blocks[:-1], steps.blocks[1:] - 1]))
    return at[ends], steps.x[ends]
