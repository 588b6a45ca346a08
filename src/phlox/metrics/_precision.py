"""Precision, recall and F-beta: of what was called positive, and of what is."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import RangeError, State
from phlox.metrics import _reading, _sums
from phlox.metrics._metric import Metric, Statistics, spoiled

Average = Literal["micro", "macro", "weighted"]


class _Positives(Metric):
    """What is told true rightly, what is told true, and what is true, per class."""

    true_positive: State  # (2, classes) sums of weights, as pairs
    predicted: State  # (2, classes)
    actual: State  # (2, classes)
    _names = ("true_positive", "predicted", "actual")
    logits: bool
    zero_division: float

    def __init__(
        self,
        *,
        classes: int | None = None,
        labels: int | None = None,
        average: Average | None = "macro",
        threshold: float = 0.5,
        logits: bool = False,
        zero_division: float = 0.0,
    ):
        name = type(self).__name__
        if classes is not None and labels is not None:
            fix = "give classes= where one of them is so, labels= where each is or is not, neither for yes or no"
            raise RangeError("classes or labels", got=f"classes={classes}, labels={labels}", fix=fix, where=name)
        self.classes: int | None = None if classes is None else _reading.size(name, "classes", classes, 2)
        self.labels: int | None = None if labels is None else _reading.size(name, "labels", labels)
        self.average: str | None = _reading.option(name, "average", average, ("micro", "macro", "weighted", None))
        self.threshold: float = _reading.share(name, "threshold", threshold)
        self.logits, self.zero_division = logits, float(zero_division)
        self.reset()

    def _zero(self) -> Statistics:
        return {name: _sums.zeros(self.classes or self.labels or 1) for name in self._names}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = f"{type(self).__name__}.update"
        if self.classes is not None:
            return _reading.read_classes(prediction, target, weight, self.classes, where)
        return _reading.read_binary(prediction, target, weight, where, logits=self.logits, labels=self.labels)

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        if self.classes is not None:
            told = _reading.decided(p, t.ndim)
            by_class = {"true_positive": w * (told == t), "predicted": w, "actual": w}
            index = {"true_positive": t, "predicted": told, "actual": t}
            sums = {k: _sums.counted(index[k], by_class[k], self.classes) for k in self._names}
            bad = _reading.bad_classes(p, t, w, self.classes)
        else:
            said, true = _reading.above(p, self.threshold, logits=self.logits), t != 0
            places = {"true_positive": said & true, "predicted": said, "actual": true}
            sums = {k: jnp.sum((w * v).reshape(-1, self.labels or 1), axis=0) for k, v in places.items()}
            bad = _reading.bad_binary(p, t, w, logits=self.logits)
        return spoiled({k: _sums.exact(v) for k, v in sums.items()}, bad)

    def _value(self, statistics: Statistics) -> jax.Array:
        tp, predicted, actual = (_sums.total(statistics[name]) for name in self._names)
        if self.average == "micro":
            tp, predicted, actual = tp.sum(), predicted.sum(), actual.sum()
        score = self._ratio(*self._terms(tp, predicted, actual))
        if self.classes is None and self.labels is None:
            return score.reshape(())
        if self.average in ("micro", None):
            return score
        share = actual if self.average == "weighted" else (predicted + actual > 0).astype(score.dtype)
        return self._ratio(jnp.sum(score * share), jnp.sum(share))

    def _ratio(self, over: jax.Array, under: jax.Array) -> jax.Array:
        return jnp.where(under == 0, self.zero_division, over / jnp.where(under == 0, 1, under))

    def _terms(self, tp: jax.Array, predicted: jax.Array, actual: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The score as a fraction, above and below the line."""
        raise NotImplementedError


class Precision(_Positives):
    r"""Of what was called positive, the share that is: $TP / (TP + FP)$.

    Without ``classes`` or ``labels`` the task is yes or no, and the value is of "yes".

    Shapes:
        prediction, target: with ``classes`` (..., classes) scores or (...) classes, and (...) integer classes; else
        (...) or (..., labels) probabilities, logits or decisions, and as many of 0 and 1.
        weight: as the target, or its leading axes; value: (), or with ``average=None`` (classes,) or (labels,).

    Arguments:
        classes: how many there are, where each example is of one.
        labels: how many there are, where each may hold or not.
        average: ``"macro"`` is the mean over the classes that occur in prediction or target, ``"weighted"`` that
            with the weight of each class in the target, ``"micro"`` of all classes' counts together, None no mean.
        threshold: a probability above it says yes; has no part with ``classes``.
        logits: predictions are logits; else they are probabilities. Has no part with ``classes``.
        zero_division: the score of a class where it is 0 / 0.

    Raises:
        RangeError: arguments out of range; from ``update`` targets that are no class, probabilities outside [0, 1].
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3.

    >>> import jax.numpy as jnp, phlox as px
    >>> precision = px.metrics.Precision()
    >>> precision.update(jnp.array([0.9, 0.8, 0.3, 0.7]), jnp.array([1, 0, 1, 1]))
    >>> round(float(precision.compute()), 4)
    0.6667
    """

    def _terms(self, tp: jax.Array, predicted: jax.Array, actual: jax.Array) -> tuple[jax.Array, jax.Array]:
        del actual
        return tp, predicted


class Recall(_Positives):
    r"""Of what is positive, the share that was called so: $TP / (TP + FN)$.

    Shapes, arguments, errors and source: as ``Precision``.

    >>> import jax.numpy as jnp, phlox as px
    >>> recall = px.metrics.Recall(classes=3, average=None)
    >>> recall.update(jnp.array([0, 1, 1, 2]), jnp.array([0, 0, 1, 2]))
    >>> recall.compute().tolist()
    [0.5, 1.0, 1.0]
    """

    def _terms(self, tp: jax.Array, predicted: jax.Array, actual: jax.Array) -> tuple[jax.Array, jax.Array]:
        del predicted
        return tp, actual


class FBeta(_Positives):
    r"""The weighted harmonic mean of precision P and recall R, $(1 + β^2) P R / (β^2 P + R)$.

    Shapes and other arguments: as ``Precision``.

    Arguments:
        beta: β, above 0: how many times more recall matters than precision.

    Raises:
        RangeError: a β of 0 or less; else as ``Precision``.

    Source: van Rijsbergen, "Information Retrieval", 2nd edition, 1979, chapter 7.

    >>> import jax.numpy as jnp, phlox as px
    >>> score = px.metrics.FBeta(2.0)
    >>> score.update(jnp.array([1, 1, 0, 0]), jnp.array([1, 0, 0, 1]))
    >>> float(score.compute())
    0.5
    """

    def __init__(
        self,
        beta: float,
        *,
        classes: int | None = None,
        labels: int | None = None,
        average: Average | None = "macro",
        threshold: float = 0.5,
        logits: bool = False,
        zero_division: float = 0.0,
    ):
        if isinstance(beta, bool) or not beta > 0:
            fix = "give 1.0 for F1, more where recall matters more"
            raise RangeError("beta above 0", got=repr(beta), fix=fix, where=type(self).__name__)
        self.beta: float = float(beta)
        super().__init__(
            classes=classes,
            labels=labels,
            average=average,
            threshold=threshold,
            logits=logits,
            zero_division=zero_division,
        )

    def _terms(self, tp: jax.Array, predicted: jax.Array, actual: jax.Array) -> tuple[jax.Array, jax.Array]:
        square = self.beta**2
        return (1 + square) * tp, square * actual + predicted


class F1(FBeta):
    r"""The harmonic mean of precision and recall, $2 P R / (P + R) = 2 TP / (2 TP + FP + FN)$.

    Shapes, arguments, errors and source: as ``Precision``.

    >>> import jax.numpy as jnp, phlox as px
    >>> f1 = px.metrics.F1(classes=2)
    >>> f1.update(jnp.array([0, 1, 1, 1]), jnp.array([0, 0, 1, 1]))
    >>> round(float(f1.compute()), 4)
    0.7333
    """

    def __init__(
        self,
        *,
        classes: int | None = None,
        labels: int | None = None,
        average: Average | None = "macro",
        threshold: float = 0.5,
        logits: bool = False,
        zero_division: float = 0.0,
    ):
        super().__init__(
            1.0,
            classes=classes,
            labels=labels,
            average=average,
            threshold=threshold,
            logits=logits,
            zero_division=zero_division,
        )
