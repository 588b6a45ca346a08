"""Accuracy: the share of right decisions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, State, describe
from phlox.metrics import _reading, _sums
from phlox.metrics._metric import Metric, Statistics, spoiled


class _Share(Metric):
    """The weighted share of places that are right."""

    correct: State  # (2,) sum of the weights where right, as a pair
    count: State  # (2,) sum of the weights, as a pair
    _names = ("correct", "count")

    def _zero(self) -> Statistics:
        return {"correct": _sums.zeros(), "count": _sums.zeros()}

    def _shared(self, right: jax.Array, weight: jax.Array, bad: jax.Array) -> Statistics:
        sums = {"correct": _sums.exact(jnp.sum(right * weight)), "count": _sums.exact(jnp.sum(weight))}
        return spoiled(sums, bad)

    def _value(self, statistics: Statistics) -> jax.Array:
        return _sums.total(statistics["correct"]) / _sums.total(statistics["count"])


class Accuracy(_Share):
    r"""The share of examples whose class is told right, $\sum w [\hat y = y] / \sum w$.

    Shapes:
        prediction: (..., classes) logits or probabilities, of which the largest decides, or (...) integer classes.
        target: (...) integer classes; weight: (...) or its leading axes; value: ().

    Raises:
        ShapeError, DtypeError, RangeError: from ``update``, for arguments that do not match, NaN, and targets that
            are no class (with a weight of 0 they may be anything).

    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3.

    >>> import jax.numpy as jnp, phlox as px
    >>> accuracy = px.metrics.Accuracy()
    >>> accuracy.update(jnp.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 0.0]]), jnp.array([0, 1, 1, -1]),
    ...                 weight=jnp.array([True, True, True, False]))
    >>> round(float(accuracy.compute()), 4)
    0.6667
    """

    def __init__(self) -> None:
        self.reset()

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        return _reading.read_classes(prediction, target, weight, None, "Accuracy.update")

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        return self._shared(_reading.decided(p, t.ndim) == t, w, _reading.bad_classes(p, t, w, None))


class TopKAccuracy(_Share):
    r"""The share of examples whose class is among the k largest scores; of equal scores the first class is larger.

    Shapes:
        prediction: (..., classes) logits or probabilities; target: (...) integer classes;
        weight: (...) or its leading axes; value: ().

    Arguments:
        k: how many guesses count.

    Raises:
        RangeError: k below 1, or above the number of classes.
        ShapeError, DtypeError: from ``update``.

    Source: Russakovsky et al., "ImageNet large scale visual recognition challenge", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> top = px.metrics.TopKAccuracy(2)
    >>> top.update(jnp.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), jnp.array([1, 0]))
    >>> float(top.compute())
    0.5
    """

    def __init__(self, k: int = 5):
        self.k: int = _reading.size("TopKAccuracy", "k", k)
        self.reset()

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "TopKAccuracy.update"
        arrays = _reading.read_classes(prediction, target, weight, None, where, scores_only=True)
        if arrays[0].shape[-1] < self.k:
            fix = "choose a smaller k"
            raise ShapeError(f"scores of at least k={self.k} classes", got=describe(arrays[0]), fix=fix, where=where)
        return arrays

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        at = jnp.clip(t, 0, p.shape[-1] - 1)[..., None]
        own, before = jnp.take_along_axis(p, at, axis=-1), jnp.arange(p.shape[-1]) < at
        rank = jnp.sum((p > own) | ((p == own) & before), axis=-1)
        return self._shared(rank < self.k, w, _reading.bad_classes(p, t, w, None))


class BinaryAccuracy(_Share):
    r"""The share of right answers to yes-or-no questions, one or many per example.

    With several labels each counts by itself: the value is 1 − the Hamming loss.

    Shapes:
        prediction: (...) probabilities, logits, or decisions (booleans, integers); target: (...) of 0 and 1;
        weight: (...) or its leading axes; value: ().

    Arguments:
        threshold: a probability above it says yes.
        logits: predictions are logits, whose sigmoid is the probability; else they are probabilities.

    Raises:
        RangeError: a threshold outside (0, 1); from ``update`` probabilities outside [0, 1], other targets.
        ShapeError: from ``update``, shapes that differ.

    >>> import jax.numpy as jnp, phlox as px
    >>> accuracy = px.metrics.BinaryAccuracy(logits=True)
    >>> accuracy.update(jnp.array([3.0, -1.0, 0.5, 2.0]), jnp.array([1, 0, 0, 1]))
    >>> float(accuracy.compute())
    0.75
    """

    def __init__(self, *, threshold: float = 0.5, logits: bool = False):
        self.threshold: float = _reading.share(type(self).__name__, "threshold", threshold)
        self.logits = logits
        self.reset()

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        return _reading.read_binary(prediction, target, weight, "BinaryAccuracy.update", logits=self.logits)

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        right = _reading.above(p, self.threshold, logits=self.logits) == (t != 0)
        return self._shared(right, w, _reading.bad_binary(p, t, w, logits=self.logits))


class MultilabelAccuracy(BinaryAccuracy):
    r"""The share of examples of which every label is told right; ``BinaryAccuracy`` counts label by label.

    Shapes:
        prediction: (..., labels) probabilities, logits, or decisions; target: (..., labels) of 0 and 1;
        weight: (...) or its leading axes; value: ().

    Arguments:
        threshold: a probability above it says yes.
        logits: predictions are logits; else they are probabilities.

    Raises:
        RangeError, ShapeError: as ``BinaryAccuracy``.

    >>> import jax.numpy as jnp, phlox as px
    >>> accuracy = px.metrics.MultilabelAccuracy()
    >>> accuracy.update(jnp.array([[0.9, 0.2], [0.8, 0.7]]), jnp.array([[1, 0], [1, 0]]))
    >>> float(accuracy.compute())
    0.5
    """

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "MultilabelAccuracy.update"
        p, t, _ = _reading.read_binary(prediction, target, weight, where, logits=self.logits)
        if p.ndim == 0:
            fix = "put the labels last"
            raise ShapeError("a prediction of (..., labels)", got=describe(p), fix=fix, where=where)
        return p, t, _reading.weights(weight, t.shape[:-1], where)

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        right = (_reading.above(p, self.threshold, logits=self.logits) == (t != 0)).all(axis=-1)
        return self._shared(right, w, _reading.bad_binary(p, t, w[..., None], logits=self.logits))
