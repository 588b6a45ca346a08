"""Sets of classes that hold the right one as often as asked."""

from __future__ import annotations

from typing import Any, Literal, Self

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, State, advance, describe, key_or_draw
from phlox.probability._arguments import choice, classes_of, floats, refuse_values, with_last_axis
from phlox.probability.conformal._threshold import Conformal


class ConformalClassifier(Conformal):
    r"""Sets of classes that hold the right one with the probability asked for: those whose score is at most q.

    ``"lac"``, least ambiguous sets: the score is $1 - p_c$, and sets are as small as can be on the mean, some empty.
    ``"aps"``, adaptive sets: the score is the sum of all probabilities down to that of the class, and sets are large
    where the model is unsure. The class that goes over the sum asked for is taken in by the chance that makes the
    coverage what was asked, $\sum_{p_k > p_c} p_k + u\, p_c$ with u uniform on [0, 1); without ``randomised`` u is 1,
    and sets hold more than asked. q is the ⌈(n + 1) · coverage⌉-th smallest score of the right class over n held-out
    examples.

    Shapes:
        probabilities: (..., classes); target, group: (...); sets: boolean (..., classes).

    Arguments:
        coverage: the probability, between 0 and 1.
        method: ``"lac"`` or ``"aps"``.
        randomised: of ``"aps"`` alone: whether u is drawn, by a key that the layer owns as State, anew at each call.
        groups: how many groups of examples have the coverage each by itself (Mondrian); 0 where it is meant of all
            together. By class: ``calibrate(…, group=target)`` is for groups that a call knows, which the class is not.
        key: where its randomness starts; by default the stream of ``px.seed``.

    ``calibrate(probabilities, target, group=None)`` finds q from examples that no training has seen; called with
    ``(probabilities, group=None)``.

    Raises:
        RangeError: a coverage outside (0, 1), another method, or probabilities outside [0, 1].
        StateError: called before ``calibrate``.
        ShapeError, DtypeError, OptionError: arguments that do not match.

    Source: Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", 2019;
    Romano, Sesia and Candès, "Classification with valid and adaptive coverage", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> classifier = px.probability.ConformalClassifier(coverage=0.75)
    >>> held_out = jnp.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    >>> classifier.calibrate(held_out, jnp.array([0, 0, 1]))(jnp.array([[0.5, 0.5], [0.9, 0.1]])).tolist()
    [[True, True], [True, False]]
    """

    key: State  # () typed random key
    method: str
    randomised: bool

    def __init__(
        self,
        coverage: float = 0.9,
        *,
        method: Literal["lac", "aps"] = "lac",
        randomised: bool = False,
        groups: int = 0,
        key: Any = None,
    ):
        super().__init__(coverage, groups)
        self.method = choice("ConformalClassifier", "method", method, ("lac", "aps"))
        self.randomised = bool(randomised)
        self.key = key_or_draw(key)

    def calibrate(self, probabilities: Any, target: Any, group: Any = None) -> Self:
        """Find q from held-out examples; returns the layer itself."""
        where = "ConformalClassifier.calibrate"
        scores = self._scores(probabilities, where)
        with_last_axis(where, "classes", scores, jnp.asarray(target))
        y = classes_of(where, target, scores.shape[-1])
        self._find(jnp.take_along_axis(scores, y[..., None], -1)[..., 0], group)
        return self

    def __call__(self, probabilities: Any, group: Any = None) -> jax.Array:
        scores = self._scores(probabilities, None)
        return scores <= self._reach(scores[..., 0], group)[..., None]

    def _scores(self, probabilities: Any, where: str | None) -> jax.Array:
        """The score of each class, (..., classes)."""
        (p,) = floats(where, probabilities=probabilities)
        if p.ndim < 1:
            fix = "put the classes along the last axis"
            raise ShapeError("(..., classes)", got=describe(p), fix=fix, where=where)
        fix = "pass logits through px.softmax"
        refuse_values(where, p, lambda v: (v >= 0) & (v <= 1), "probabilities in [0, 1]", fix)
        if self.method == "lac":
            return 1 - p
        order = jnp.argsort(-p, -1)
        sums = jnp.cumsum(jnp.take_along_axis(p, order, -1), -1)
        down_to = jnp.take_along_axis(sums, jnp.argsort(order, -1), -1)
        if not self.randomised:
            return down_to
        u = jax.random.uniform(advance(self), (*p.shape[:-1], 1), p.dtype)
        return down_to - (1 - u) * p
