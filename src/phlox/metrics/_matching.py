"""Detections of one picture against its objects, by COCO's rules: which hits, which misses, which does not count."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.nn.functional import box_area, box_iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
SPANS = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))  # areas: all, small, medium, large


class Found(NamedTuple):
    """What a model found in one picture; label -1 is padding."""

    boxes: jax.Array  # (detections, 4)
    scores: jax.Array  # (detections,)
    labels: jax.Array  # (detections,)


class Truth(NamedTuple):
    """What there is in one picture; label -1 is padding."""

    boxes: jax.Array  # (objects, 4)
    labels: jax.Array  # (objects,)
    crowd: jax.Array  # (objects,) a crowd of objects in one box, which takes any number of detections and counts none
    area: jax.Array  # (objects,)


def outside(area: jax.Array) -> jax.Array:
    """(spans, n): whether each area is not in the span."""
    low, high = np.asarray(SPANS, np.float32).T
    return (area < low[:, None]) | (area > high[:, None])


def order_of(found: Found) -> tuple[jax.Array, jax.Array]:
    """Detections by falling score, and the place of each, from 0, among those of its label."""
    order = jnp.argsort(jnp.where(found.labels < 0, jnp.inf, -found.scores), stable=True)
    label = found.labels[order]
    same = (label[:, None] == label) & (jnp.arange(label.size)[:, None] > jnp.arange(label.size))
    return order, jnp.sum(same, axis=1, dtype=jnp.int32)


def outcomes(found: Found, truth: Truth) -> jax.Array:
    """(detections, spans, thresholds) int8 of sorted detections: 1 a hit, 0 a miss, -1 what does not count.

    In the order of their scores, each takes the free object of its label with the highest IoU at or above the
    threshold: one that counts before one that does not, the last of equals. What takes an object that does not count,
    or takes none and lies outside the span of areas, does not count.
    """
    iou = _overlaps(found.boxes, truth)
    fits = (found.labels[:, None] == truth.labels) & (truth.labels >= 0)
    ignored = truth.crowd | outside(truth.area)  # (spans, objects)

    def take(taken: jax.Array, one: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        iou, fits, out = one
        free = fits & (truth.crowd | ~taken) & (iou >= _LEAST[:, None])  # (spans, thresholds, objects)
        counts = free & ~ignored[:, None]
        among = jnp.where(counts.any(-1, keepdims=True), counts, free)
        at = among.shape[-1] - 1 - jnp.argmax(jnp.where(among, iou, -1)[..., ::-1], axis=-1)
        hit = among.any(-1)
        taken |= hit[..., None] & (at[..., None] == jnp.arange(among.shape[-1]))
        skipped = jnp.where(hit, jnp.take_along_axis(ignored, at, axis=1), out[:, None])
        return taken, jnp.where(skipped, -1, hit).astype(jnp.int8)

    free = jnp.zeros((len(SPANS), len(THRESHOLDS), truth.labels.size), bool)
    return jax.lax.scan(take, free, (iou, fits, outside(box_area(found.boxes)).T))[1]


def objects(truth: Truth, classes: int) -> jax.Array:
    """(spans, classes): how many objects count."""
    counts = (truth.labels >= 0) & ~truth.crowd & ~outside(truth.area)
    is_class = truth.labels[:, None] == jnp.arange(classes)
    return jnp.sum(counts[..., None] & is_class, axis=1, dtype=jnp.int32)


_LEAST = THRESHOLDS.astype(np.float32)


def _overlaps(boxes: jax.Array, truth: Truth) -> jax.Array:
    """(detections, objects): the IoU, and of a crowd the share of the detection that lies in it."""
    corners, area = (boxes, truth.boxes), box_area(boxes)[:, None]
    sides = jnp.minimum(corners[0][:, None, 2:], corners[1][None, :, 2:])
    sides = jnp.maximum(sides - jnp.maximum(corners[0][:, None, :2], corners[1][None, :, :2]), 0)
    share = sides[..., 0] * sides[..., 1] / jnp.where(area == 0, 1, area)
    return jnp.where(truth.crowd, share, box_iou(*corners))
