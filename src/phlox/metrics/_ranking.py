"""Scores of yes and no against each other at every threshold: curves, and the areas under them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import RangeError, State
from phlox.metrics import _reading, _sums
from phlox.metrics._metric import Statistics, spoiled
from phlox.metrics._store import Kept


class Sweep(NamedTuple):
    """The threshold lowered from above all scores: what lies above it, for each column of labels."""

    thresholds: jax.Array  # (points, columns) descending, first infinity
    true_positive: jax.Array  # (points, columns) from 0
    false_positive: jax.Array  # (points, columns) from 0


class Ranking(Kept):
    """Scores with their truths: kept whole up to a capacity, or counted in bins of probability."""

    scores: State | None  # (capacity, columns)
    truths: State | None  # (capacity, columns) booleans
    weight: State | None  # (capacity,)
    seen: State | None  # () rows kept
    positive: State | None  # (2, bins, columns) sums of weights of what is so, as pairs
    negative: State | None  # (2, bins, columns) of what is not

    def __init__(
        self,
        *,
        capacity: int | None = None,
        bins: int | None = None,
        classes: int | None = None,
        labels: int | None = None,
        logits: bool = False,
    ):
        name = type(self).__name__
        if (capacity is None) == (bins is None):
            fix = "give capacity= (exact, keeps that many scores) or bins= (any number of scores, to 1 / bins)"
            raise RangeError("capacity or bins", got=f"capacity={capacity}, bins={bins}", fix=fix, where=name)
        if classes is not None and labels is not None:
            fix = "give classes= where one of them is so, labels= where each is or is not, neither for yes or no"
            raise RangeError("classes or labels", got=f"classes={classes}, labels={labels}", fix=fix, where=name)
        self._check_capacity(name, capacity)
        self.bins: int | None = None if bins is None else _reading.size(name, "bins", bins, 2)
        self.classes: int | None = None if classes is None else _reading.size(name, "classes", classes, 2)
        self.labels: int | None = None if labels is None else _reading.size(name, "labels", labels)
        self.logits = logits
        self.scores = self.truths = self.weight = self.seen = self.positive = self.negative = None
        self.reset()

    @property
    def _names(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("positive", "negative") if self.capacity is None else ("scores", "truths", "weight", "seen")

    @property
    def _columns(self) -> int:
        return self.classes or self.labels or 1

    def _zero(self) -> Statistics:
        if self.capacity is None:
            return {name: _sums.zeros(self.bins or 0, self._columns) for name in self._names}
        shape = (self.capacity, self._columns)
        return {
            "scores": jnp.zeros(shape),
            "truths": jnp.zeros(shape, bool),
            "weight": jnp.zeros(self.capacity),
            "seen": jnp.zeros((), jnp.int32),
        }

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = f"{type(self).__name__}.update"
        if self.classes is not None:
            p, t, w = _reading.read_classes(prediction, target, weight, self.classes, where, scores_only=True)
            _reading.check_scores(p, w, where, logits=self.logits)
        else:
            p, t, w = _reading.read_binary(prediction, target, weight, where, logits=self.logits, labels=self.labels)
            if self.labels is not None:
                w = _reading.weights(weight, t.shape[:-1], where)
        self._check_room(w)
        return p, t, w

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        truths = t[..., None] == jnp.arange(self.classes) if self.classes is not None else t != 0
        bad = ~(w >= 0)
        spoilt = jnp.isnan(p) if self.logits and _reading.floating(p) else ~((p >= 0) & (p <= 1))
        spoilt |= (t < 0).reshape(t.shape + (1,) * (p.ndim - t.ndim))
        spoilt |= (t >= (self.classes or 2)).reshape(t.shape + (1,) * (p.ndim - t.ndim))
        bad |= spoilt.reshape(*w.shape, -1).any(-1) & (w != 0)
        p, truths = p.reshape(-1, self._columns), truths.reshape(-1, self._columns)
        p, w = p.astype(jnp.promote_types(p.dtype, jnp.float32)), w.ravel()
        if self.capacity is None:
            return self._counted(p, truths, w, bad)
        nan = jnp.where(jnp.any(bad), jnp.nan, 0)
        return self._rows(w.astype(jnp.promote_types(w.dtype, jnp.float32)), scores=p + nan, truths=truths)

    def _counted(self, p: jax.Array, truths: jax.Array, w: jax.Array, bad: jax.Array) -> Statistics:
        p = jax.nn.sigmoid(p) if self.logits else p
        bins, columns = self.bins or 0, self._columns
        at = jnp.clip((jnp.nan_to_num(p) * bins).astype(jnp.int32), 0, bins - 1)
        flat = at * columns + jnp.arange(columns)

        def tally(where: jax.Array) -> jax.Array:
            counts = _sums.counted(flat, w[:, None] * where, bins * columns)
            return _sums.exact(counts.reshape(bins, columns))

        return spoiled({"positive": tally(truths), "negative": tally(~truths)}, bad)

    def _sweep(self, statistics: Statistics) -> Sweep:
        """All points, equal ones repeated so that their number is fixed."""
        if self.capacity is None:
            bins = self.bins or 0
            gains, losses = (_sums.total(statistics[n])[::-1] for n in ("positive", "negative"))
            thresholds = jnp.broadcast_to((jnp.arange(bins)[::-1] / bins)[:, None], gains.shape)
            return _from_nothing(thresholds, jnp.cumsum(gains, axis=0), jnp.cumsum(losses, axis=0))
        scores, truths = statistics["scores"], statistics["truths"]
        used = jnp.broadcast_to(statistics["weight"][:, None] != 0, scores.shape)
        full = jnp.where(statistics["seen"] > self.capacity, jnp.nan, 0)  # more was given than was kept
        spoilt = full + jnp.sum(jnp.where(used, scores * 0, 0), axis=0)
        order = jnp.argsort(jnp.where(used, -scores, jnp.inf), axis=0)
        scores, truths, used = (jnp.take_along_axis(x, order, axis=0) for x in (scores, truths, used))
        w = statistics["weight"][order] * used
        tps, fps = jnp.cumsum(w * truths, axis=0), jnp.cumsum(w * ~truths, axis=0)
        differs = (scores[1:] != scores[:-1]) | ~used[1:]
        last = used & jnp.concatenate([differs, jnp.ones_like(used[:1])])  # the last of equal scores is a point
        thresholds = jax.lax.cummin(jnp.where(last, scores, jnp.inf))
        tps, fps = (jax.lax.cummax(jnp.where(last, x, 0)) for x in (tps, fps))
        return _from_nothing(thresholds + spoilt, tps + spoilt, fps + spoilt)


def _from_nothing(thresholds: jax.Array, tps: jax.Array, fps: jax.Array) -> Sweep:
    """The points with one before the first, where nothing is above the threshold."""
    start = jnp.zeros_like(tps[:1])
    return Sweep(
        jnp.concatenate([jnp.full_like(thresholds[:1], jnp.inf), thresholds]),
        jnp.concatenate([start, tps]),
        jnp.concatenate([start, fps]),
    )


def fractions(sweep: Sweep) -> tuple[jax.Array, jax.Array]:
    """True and false positive rates, NaN for a label that has no positives or no negatives."""
    return sweep.true_positive / sweep.true_positive[-1:], sweep.false_positive / sweep.false_positive[-1:]


def precisions(sweep: Sweep) -> tuple[jax.Array, jax.Array]:
    """Precision, 1 where nothing is above the threshold, and recall."""
    above = sweep.true_positive + sweep.false_positive
    precision = jnp.where(above == 0, 1, sweep.true_positive / jnp.where(above == 0, 1, above))
    return precision, sweep.true_positive / sweep.true_positive[-1:]


class _Area(Ranking):
    """A number for each label, and their mean."""

    def __init__(
        self,
        *,
        capacity: int | None = None,
        bins: int | None = None,
        classes: int | None = None,
        labels: int | None = None,
        average: Literal["macro", "weighted"] | None = "macro",
        logits: bool = False,
    ):
        self.average: str | None = _reading.option(type(self).__name__, "average", average, ("macro", "weighted", None))
        super().__init__(capacity=capacity, bins=bins, classes=classes, labels=labels, logits=logits)

    def _value(self, statistics: Statistics) -> jax.Array:
        sweep = self._sweep(statistics)
        areas = self._areas(sweep)
        if self.classes is None and self.labels is None:
            return areas.reshape(())
        if self.average is None:
            return areas
        if self.average == "macro":
            return jnp.mean(areas)
        share = sweep.true_positive[-1]  # a label without positives has no area, and no part
        return jnp.sum(jnp.where(share == 0, 0, areas * share)) / jnp.sum(share)

    def _areas(self, sweep: Sweep) -> jax.Array:
        raise NotImplementedError


class ROCAUC(_Area):
    r"""The area under the ROC curve: the probability that a positive example scores above a negative one.

    Ties count half. With ``capacity`` the value is exact: that many scores are kept in State (rows of weight 0 take
    no room), and one more is an error line by line and NaN in a compiled program. With ``bins`` any number of scores
    is counted in equal bins of probability, within which all count as ties: the error is at most half the sum over
    bins of $p_b n_b$, the shares of all positives and negatives that share a bin.

    Shapes:
        prediction, target: (...) scores and 0 or 1; with ``labels`` (..., labels) both; with ``classes``
            (..., classes) scores and (...) integer classes, each class against the rest.
        weight: (...), per example; value: (), or with ``average=None`` (classes,) or (labels,).

    Arguments:
        capacity: how many examples are kept, at most 2^24.
        bins: how many bins there are, where none are kept.
        classes, labels: how many there are.
        average: ``"macro"`` is the mean, ``"weighted"`` by the positives of each, None no mean. A label without
            positives or without negatives has no area: NaN.
        logits: predictions are logits; else they are probabilities. Kept scores may be any logits.

    Raises:
        RangeError: arguments out of range; from ``update`` more than the capacity, probabilities outside [0, 1].
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Fawcett, "An introduction to ROC analysis", 2006.

    >>> import jax.numpy as jnp, phlox as px
    >>> area = px.metrics.ROCAUC(capacity=100)
    >>> area.update(jnp.array([0.9, 0.4, 0.6, 0.1]), jnp.array([1, 1, 0, 0]))
    >>> float(area.compute())
    0.75
    """

    def _areas(self, sweep: Sweep) -> jax.Array:
        tpr, fpr = fractions(sweep)
        return jnp.sum(jnp.diff(fpr, axis=0) * (tpr[1:] + tpr[:-1]) / 2, axis=0)


class AveragePrecision(_Area):
    r"""The area under the precision-recall curve as a sum of steps, $\sum_n (R_n - R_{n-1}) P_n$.

    Kept or counted in bins, shapes, arguments and errors: as ``ROCAUC``; a label without positives is NaN.

    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4.

    >>> import jax.numpy as jnp, phlox as px
    >>> area = px.metrics.AveragePrecision(capacity=100)
    >>> area.update(jnp.array([0.9, 0.4, 0.6, 0.1]), jnp.array([1, 1, 0, 0]))
    >>> round(float(area.compute()), 4)
    0.8333
    """

    def _areas(self, sweep: Sweep) -> jax.Array:
        precision, recall = precisions(sweep)
        return jnp.sum(jnp.diff(recall, axis=0) * precision[1:], axis=0)


class ROCPoints(NamedTuple):
    """False and true positive rates from (0, 0) to (1, 1), and the thresholds that give them, descending."""

    false_positive_rate: jax.Array
    true_positive_rate: jax.Array
    thresholds: jax.Array


class ROCCurve(Ranking):
    r"""True against false positive rate at every threshold: what scores at least so much is called positive.

    The number of points is fixed, capacity + 1 or bins + 1; where scores are equal, or fewer than the capacity,
    points stand repeated. The first threshold is infinity, where nothing is called positive.

    Shapes:
        prediction, target, weight: as ``ROCAUC``; value: three arrays (points,), or with ``classes`` or ``labels``
            (points, columns), as ``false_positive_rate``, ``true_positive_rate`` and ``thresholds``.

    Arguments and errors: as ``ROCAUC``, without ``average``. Thresholds of bins are probabilities, also of logits.

    Source: Fawcett, "An introduction to ROC analysis", 2006.

    >>> import jax.numpy as jnp, phlox as px
    >>> curve = px.metrics.ROCCurve(capacity=4)
    >>> curve.update(jnp.array([0.75, 0.25, 0.5, 0.125]), jnp.array([1, 1, 0, 0]))
    >>> fpr, tpr, thresholds = curve.compute()
    >>> fpr.tolist(), tpr.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """

    def _value(self, statistics: Statistics) -> ROCPoints:
        sweep = self._sweep(statistics)
        tpr, fpr = fractions(sweep)
        points = ROCPoints(fpr, tpr, sweep.thresholds)
        return points if self.classes or self.labels else ROCPoints(*(x[:, 0] for x in points))


class PrecisionRecallPoints(NamedTuple):
    """Precision and recall, and the thresholds that give them, ascending; the last is infinity, with (1, 0)."""

    precision: jax.Array
    recall: jax.Array
    thresholds: jax.Array


class PrecisionRecallCurve(Ranking):
    r"""Precision against recall at every threshold: what scores at least so much is called positive.

    Thresholds ascend; the last is infinity, where nothing is called positive and precision is 1 by convention. The
    number of points is fixed, as ``ROCCurve`` says.

    Shapes, arguments and errors: as ``ROCCurve``; the value is ``precision``, ``recall`` and ``thresholds``.

    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4.

    >>> import jax.numpy as jnp, phlox as px
    >>> curve = px.metrics.PrecisionRecallCurve(capacity=3)
    >>> curve.update(jnp.array([0.75, 0.25, 0.5]), jnp.array([1, 1, 0]))
    >>> [round(float(p), 3) for p in curve.compute().precision], curve.compute().recall.tolist()
    ([0.667, 0.5, 1.0, 1.0], [1.0, 0.5, 0.5, 0.0])
    """

    def _value(self, statistics: Statistics) -> PrecisionRecallPoints:
        sweep = self._sweep(statistics)
        points = PrecisionRecallPoints(*(x[::-1] for x in (*precisions(sweep), sweep.thresholds)))
        return points if self.classes or self.labels else PrecisionRecallPoints(*(x[:, 0] for x in points))
