"""What is strange, with a rate of false alarms that holds whatever the score."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, State
from phlox.probability._arguments import fitted, floats, known, refuse_values, share


class ConformalDetector(Module):
    r"""How strange an example is, as a p-value: $p = (1 + \#\{i : s_i \ge s\}) / (n + 1)$.

    An example like the n held-out ones has a p-value of at most a with a probability of at most a, whatever the score.

    Shapes:
        scores: (...), more where an example is stranger, such as ``-flow.log_prob(x)``; p-values, strange: (...).

    Arguments:
        false_alarms: the share of ordinary examples that may be called strange, between 0 and 1.

    ``calibrate(scores)`` keeps the scores of ordinary examples that no training has seen, sorted, as State;
    ``p_values(scores)`` gives p. Called with scores it says which are strange: those with p at most ``false_alarms``.

    Raises:
        RangeError: a share outside (0, 1), or scores that are NaN.
        StateError: called before ``calibrate``.
        DtypeError: scores that are not floating.

    Source: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Bates et al., "Testing for
    outliers with conformal p-values", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> detector = px.probability.ConformalDetector(false_alarms=0.25).calibrate(jnp.array([1.0, 3.0, 2.0]))
    >>> detector.p_values(jnp.array([0.0, 2.5, 9.0])).tolist(), detector(jnp.array([9.0])).tolist()
    ([1.0, 0.5, 0.25], [True])
    """

    scores: State | None  # (examples,) rising
    false_alarms: float

    def __init__(self, false_alarms: float = 0.05):
        self.false_alarms = share("ConformalDetector", "false_alarms", false_alarms)
        self.scores = None

    def calibrate(self, scores: Any) -> Self:
        """Keep the scores of ordinary held-out examples; returns the layer itself."""
        where = "ConformalDetector.calibrate"
        (s,) = floats(where, scores=scores)
        known(where, "what is ordinary", s)
        refuse_values(where, s, lambda v: ~np.isnan(v), "scores that are numbers", "leave out what is NaN")
        self.scores = jnp.sort(s.reshape(-1))
        return self

    def p_values(self, scores: Any) -> jax.Array:
        """The p-value of each score, between 1 / (n + 1) and 1; of NaN the smallest."""
        return self._no_less(scores) / (self._count() + 1)

    def __call__(self, scores: Any) -> jax.Array:
        most = math.floor((self._count() + 1) * Fraction(repr(self.false_alarms)))  # as it was written, to the last one
        return self._no_less(scores) <= most

    def _no_less(self, scores: Any) -> jax.Array:
        """One more than how many of the kept scores are no less."""
        kept = fitted(self, self.scores, "what is ordinary", "calibrate(scores)")
        (s,) = floats("ConformalDetector", scores=scores)
        below = jnp.searchsorted(kept.astype(s.dtype), s, side="left")
        return (1 + kept.shape[0] - below).astype(s.dtype)

    def _count(self) -> int:
        return fitted(self, self.scores, "what is ordinary", "calibrate(scores)").shape[0]

    def _brief(self) -> str:
        return f"ConformalDetector({self.false_alarms})"
