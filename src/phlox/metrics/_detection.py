"""Mean average precision of detected boxes, as COCO computes it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, State, StructureError, describe
from phlox.metrics import _reading, _sums
from phlox.metrics._matching import SPANS, THRESHOLDS, Found, Truth, objects, order_of, outcomes
from phlox.metrics._metric import Statistics, spoiled
from phlox.metrics._store import Kept
from phlox.nn.functional import box_area

_LEVELS = 100  # precision is read at recalls of 0, 1/100, …, 1
_LATE = np.linspace(0, 1, _LEVELS + 1) > np.arange(_LEVELS + 1) / _LEVELS  # COCO's recalls that are rounded up
_LIMITS = (1, 10, 100)


class DetectionScores(NamedTuple):
    """COCO's twelve numbers, and the first of them for each class; NaN where there are no objects."""

    map: jax.Array  # () average precision at IoU 0.5, 0.55, …, 0.95
    map_50: jax.Array  # () at 0.5
    map_75: jax.Array  # () at 0.75
    map_small: jax.Array  # () of areas up to 32²
    map_medium: jax.Array  # () from 32² to 96²
    map_large: jax.Array  # () above
    mar_1: jax.Array  # () recall with 1 detection of a class in a picture
    mar_10: jax.Array  # () with 10
    mar_100: jax.Array  # () with 100
    mar_small: jax.Array  # ()
    mar_medium: jax.Array  # ()
    mar_large: jax.Array  # ()
    map_per_class: jax.Array  # (classes,)


class MeanAveragePrecision(Kept):
    r"""Average precision of boxes, the mean over classes and IoU thresholds, by COCO's rules.

    In each picture and class, detections take objects in the order of their scores, where the IoU reaches the
    threshold. Precision over all pictures, made non-increasing, is read at 101 recalls and averaged. The best 100
    detections of a class in a picture count; crowds, and objects outside the span of areas, neither help nor harm.

    Shapes:
        prediction: a dict of ``boxes`` (batch, detections, 4) as corners in pixels, ``scores`` (batch, detections)
            and ``labels`` (batch, detections).
        target: a dict of ``boxes`` (batch, objects, 4) and ``labels`` (batch, objects); perhaps ``crowd``, a mask,
            and ``area``, both (batch, objects). Areas are those of the boxes by default (COCO: those of the masks).
        weight: (batch,), 0 for pictures that are padding; value: a ``DetectionScores``, () each.

    Arguments:
        classes: how many there are; labels are 0 … classes - 1, and -1 is padding, in both.
        capacity: how many detections are kept, of all pictures together, padding aside.

    Raises:
        RangeError: arguments out of range; from ``update`` labels that are no class, scores that are NaN, corners in
            the wrong order, more detections than the capacity. StructureError: no dict of these names.
        ShapeError, DtypeError: arrays that do not match.

    Source: Lin et al., "Microsoft COCO: common objects in context" (arXiv:1405.0312), and its ``cocoeval``.

    >>> import jax.numpy as jnp, phlox as px
    >>> metric = px.metrics.MeanAveragePrecision(classes=1, capacity=100)
    >>> truth = {"boxes": jnp.array([[[0, 0, 10, 10], [50, 50, 60, 60]]]), "labels": jnp.array([[0, -1]])}
    >>> found = {"boxes": jnp.array([[[0, 0, 10, 8]]]), "scores": jnp.array([[0.9]]), "labels": jnp.array([[0]])}
    >>> metric.update(found, truth)
    >>> value = metric.compute()  # an IoU of 0.8 is enough at 7 of 10 thresholds
    >>> round(float(value.map), 4), float(value.map_50)
    (0.7, 1.0)
    """

    scores: State  # (capacity,)
    labels: State  # (capacity,)
    places: State  # (capacity,) the place of a detection among those of its class and picture, from 0
    outcomes: State  # (capacity, spans, thresholds) 1 a hit, 0 a miss, -1 what does not count
    weight: State  # (capacity,)
    seen: State  # ()
    objects: State  # (2, spans, classes) how many objects count, as pairs
    _names = ("scores", "labels", "places", "outcomes", "weight", "seen", "objects")
    _summed = ("objects",)

    def __init__(self, *, classes: int, capacity: int):
        self.classes: int = _reading.size("MeanAveragePrecision", "classes", classes)
        self._check_capacity("MeanAveragePrecision", capacity)
        self.reset()

    def _zero(self) -> Statistics:
        rows: Any = self.capacity
        return {
            "scores": jnp.zeros(rows),
            "labels": jnp.zeros(rows, jnp.int32),
            "places": jnp.zeros(rows, jnp.int32),
            "outcomes": jnp.zeros((rows, len(SPANS), len(THRESHOLDS)), jnp.int8),
            "weight": jnp.zeros(rows),
            "seen": jnp.zeros((), jnp.int32),
            "objects": _sums.zeros(len(SPANS), self.classes),
        }

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "MeanAveragePrecision.update"
        found = _parts(prediction, "prediction", ("boxes", "scores", "labels"), where)
        truth = _parts(target, "target", ("boxes", "labels"), where, ("crowd", "area"))
        if truth["labels"].shape[1] == 0:  # one that is padding, so that there is something to choose from
            truth = {n: jnp.pad(x, [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2)) for n, x in truth.items()}
            truth["labels"] = jnp.full_like(truth["labels"], -1)
        count = found["labels"].shape[0]
        if truth["labels"].shape[0] != count:
            got = f"{count} and {truth['labels'].shape[0]}"
            fix = "give both the same pictures, padded to one number of boxes with the label -1"
            raise ShapeError("prediction and target of as many pictures", got=got, fix=fix, where=where)
        w = _reading.weights(weight, (count,), where)
        whole = "weights of 0 and 1", where, "leave pictures out by a mask; a picture counts whole or not at all"
        _reading.check(w, lambda v: (v == 0) | (v == 1), *whole)
        for name, parts in (("prediction", found), ("target", truth)):
            self._check(parts, w, name, where)
        self._check_room((found["labels"] >= 0) & (w != 0)[:, None])
        area, none = box_area(truth["boxes"]), jnp.zeros(truth["labels"].shape, bool)
        crowd = truth.get("crowd", none) != 0
        told = Truth(truth["boxes"], truth["labels"], crowd, truth.get("area", area))
        return Found(found["boxes"], found["scores"], found["labels"]), told, w

    def _check(self, parts: dict[str, jax.Array], w: jax.Array, name: str, where: str) -> None:
        """Refuse values that are known and count."""
        there = (parts["labels"] >= 0) & (w != 0)[:, None]
        least, last = "count classes from 0; the label of padding is -1", self.classes - 1
        inside = f"labels of the {name} in 0 … {last}, or -1"
        _reading.check(parts["labels"], lambda v: (v >= -1) & (v <= last), inside, where, least, w)
        fix, there = "write boxes as corners: px.nn.functional.box_convert", jnp.asarray(there)
        wide = f"boxes of the {name} with x1 <= x2 and y1 <= y2"
        _reading.check(parts["boxes"], lambda v: (v[..., :2] <= v[..., 2:]).repeat(2, -1), wide, where, fix, there)
        if "scores" in parts:
            fix = "look for where the NaN comes from"
            _reading.check(parts["scores"], lambda v: ~np.isnan(v), "scores that are numbers", where, fix, there)

    def _measure(self, *arrays: Any) -> Statistics:
        found, truth, w = arrays
        bad = self._bad(found, w) | self._bad(truth, w) | jnp.any((w != 0) & (w != 1))

        def picture(found: Found, truth: Truth) -> tuple[Found, jax.Array, jax.Array, jax.Array]:
            order, place = order_of(found)
            found = jax.tree.map(lambda x: x[order], found)
            return found, place, outcomes(found, truth), objects(truth, self.classes)

        found, places, told, counts = jax.vmap(picture)(found, truth)
        used = (found.labels >= 0) & (w != 0)[:, None]
        rows = {"scores": found.scores, "labels": found.labels, "places": places, "outcomes": told}
        rows = {name: x.reshape(-1, *x.shape[2:]) for name, x in rows.items()}
        kept = self._rows(used.ravel().astype(jnp.float32), **rows)
        total = jnp.sum(jnp.where((w != 0)[:, None, None], counts, 0), axis=0)
        return {**kept, **spoiled({"objects": _sums.exact(total)}, bad)}

    def _bad(self, parts: Any, w: jax.Array) -> jax.Array:
        """Whether anything that counts is refused where it is known."""
        bad = (parts.labels < -1) | (parts.labels >= self.classes)
        x = parts.boxes
        bad |= (parts.labels >= 0) & ~jnp.all(x[..., :2] <= x[..., 2:], axis=-1)
        if isinstance(parts, Found):
            bad |= (parts.labels >= 0) & jnp.isnan(parts.scores)
        return jnp.any(bad & (w != 0)[:, None])

    def _value(self, statistics: Statistics) -> DetectionScores:
        counts = _sums.total(statistics["objects"])
        full = statistics["seen"] > len(statistics["scores"])  # more was given than was kept
        spoilt = jnp.where(full | jnp.any(jnp.isnan(counts)), jnp.nan, 0)
        total = jnp.nan_to_num(counts).astype(jnp.int32).T[..., None]  # (classes, spans, 1)
        precision = _precision(statistics, total)  # (classes, spans, thresholds)
        every, small, medium, large = _mean(precision, (0, 2)) + spoilt
        at_50, at_75 = (_mean(precision[:, 0, t], 0) + spoilt for t in (0, 5))
        few, some, recall = (_mean(_recall(statistics, total, n), (0, 2)) + spoilt for n in _LIMITS)
        each = jnp.mean(precision[:, 0], axis=-1) + spoilt
        precisions = (every, at_50, at_75, small, medium, large)
        return DetectionScores(*precisions, few[0], some[0], recall[0], recall[1], recall[2], recall[3], each)


def _parts(
    given: Any, name: str, needed: tuple[str, ...], where: str, optional: tuple[str, ...] = ()
) -> dict[str, jax.Array]:
    """The arrays of a dict, of one number of boxes."""
    if not isinstance(given, dict) or not set(needed) <= set(given) or set(given) - {*needed, *optional}:
        got = f"a dict of {', '.join(map(str, given))}" if isinstance(given, dict) else describe(given)
        also = f"{', perhaps ' + ' and '.join(optional) if optional else ''}"
        fix = "give arrays under these names, boxes (batch, boxes, 4); pad pictures with the label -1"
        raise StructureError(f"{name} as a dict of {', '.join(needed)}{also}", got=got, fix=fix, where=where)
    parts = {n: _reading.real(x, f"{name} {n}", where) for n, x in given.items()}
    shape, labels = parts["boxes"].shape, parts["labels"]
    for n, x in parts.items():
        if len(shape) != 3 or x.shape != (shape if n == "boxes" else shape[:2]) or shape[2] != 4:
            expected = f"{n} of the {name} of shape (batch, boxes{', 4' if n == 'boxes' else ''})"
            got = f"{describe(x)} beside boxes {list(shape)}"
            raise ShapeError(
                expected, got=got, fix="give every box one of each, and pad with the label -1", where=where
            )
    if _reading.floating(labels):
        fix = "give the number of each class as an integer"
        raise RangeError(f"integer labels of the {name}", got=describe(labels), fix=fix, where=where)
    wide = {n: x if n in ("labels", "crowd") else x.astype(jnp.float32) for n, x in parts.items()}
    return {**wide, "labels": labels.astype(jnp.int32)}


def _precision(statistics: Statistics, total: jax.Array) -> jax.Array:
    """(classes, spans, thresholds): precision averaged over recalls; NaN for classes without objects."""
    classes, used = len(total), (statistics["weight"] != 0) & (statistics["places"] < _LIMITS[-1])
    label = jnp.where(used, statistics["labels"], classes)
    order = jnp.lexsort((-statistics["scores"], label))
    label, told = label[order], statistics["outcomes"][order]
    start = jnp.searchsorted(label, label)  # where the rows of a class begin
    hits, misses = (_running(told == outcome, start) for outcome in (1, 0))
    precision = hits / jnp.maximum(hits + misses, 1)
    level = _level(hits, total[jnp.minimum(label, classes - 1)])
    best = jnp.zeros((classes, *told.shape[1:], _LEVELS + 1))
    spans, thresholds = jnp.arange(told.shape[1])[:, None], jnp.arange(told.shape[2])
    best = best.at[label[:, None, None], spans, thresholds, level].max(precision, mode="drop")
    best = jax.lax.cummax(best, axis=best.ndim - 1, reverse=True)  # no lower recall has a lower precision
    return jnp.where(total > 0, jnp.mean(best, axis=-1), jnp.nan)


def _running(x: jax.Array, start: jax.Array) -> jax.Array:
    """Counts of true from ``start`` up to each row."""
    before = jnp.concatenate([jnp.zeros((1, *x.shape[1:]), jnp.int32), jnp.cumsum(x, axis=0, dtype=jnp.int32)])
    return before[1:] - before[start]


def _level(hits: jax.Array, total: jax.Array) -> jax.Array:
    """The highest of the recalls 0 … 100 that so many hits reach; by whole numbers, rounded where COCO rounds."""
    level = jnp.minimum(_LEVELS * hits // jnp.maximum(total, 1), _LEVELS)
    return level - (jnp.asarray(_LATE)[level] & (level * total == _LEVELS * hits))


def _recall(statistics: Statistics, total: jax.Array, limit: int) -> jax.Array:
    """(classes, spans, thresholds): the share of objects that are found by the best detections."""
    used = (statistics["weight"] != 0) & (statistics["places"] < limit)
    at = jnp.where(used, statistics["labels"], len(total))
    told = statistics["outcomes"]
    hits = jnp.zeros((len(total), *told.shape[1:]), jnp.int32).at[at].add(told == 1, mode="drop")
    return jnp.where(total > 0, hits / jnp.maximum(total, 1), jnp.nan)


def _mean(x: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    """The mean over classes with objects."""
    return jnp.nanmean(x, axis=axes)
