"""Non-maximum suppression: of boxes that overlap, the one with the highest score, in arrays of a fixed size."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import in_range, real, widen
from phlox.nn.functional.boxes._boxes import boxes_of
from phlox.nn.functional.boxes._iou import box_iou
from phlox.nn.functional.space._window import is_int

__all__ = ["Suppressed", "batched_nms", "nms"]


class Suppressed(NamedTuple):
    """Which boxes stay, the highest score first: ``indices`` where ``mask`` is true, 0 behind them."""

    indices: Array  # (..., max_output) int32
    mask: Array  # (..., max_output) bool


@answering
def nms(
    boxes: ArrayLike, scores: ArrayLike, iou_threshold: ArrayLike = 0.5, *, max_output: int | None = None
) -> Suppressed:
    """Keep the box of the highest score, drop those that overlap it by more than a threshold, and go on so.

    The result has a fixed size, so that it compiles, maps and exports: ``boxes[kept.indices]`` where ``kept.mask`` is
    true, ``kept.mask.sum()`` of them. Of equal scores the first box is taken first. Boxes whose score is minus
    infinity or NaN count as absent: ``jnp.where(scores > 0.05, scores, -jnp.inf)`` leaves the unlikely ones out.

    Shapes:
        boxes: (..., n, 4), corners; scores: (..., n); indices, mask: (..., max_output).

    Arguments:
        iou_threshold: the IoU above which the lower score goes, in [0, 1].
        max_output: how many stay at most; all n by default. The work is ``max_output`` times n.

    Raises:
        RangeError: a threshold outside [0, 1], ``max_output`` below 1. ShapeError: scores that do not fit the boxes.

    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [5.0, 5.0, 6.0, 6.0]])
    >>> kept = nms(boxes, jnp.array([0.8, 0.9, 0.3]), 0.5)
    >>> kept.indices.tolist(), kept.mask.tolist()
    ([1, 2, 0], [True, True, False])

    Source: Girshick et al., "Rich feature hierarchies" (arXiv:1311.2524), section 2.
    """
    return _kept("nms", boxes, scores, None, iou_threshold, max_output)


@answering
def batched_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    iou_threshold: ArrayLike = 0.5,
    *,
    max_output: int | None = None,
) -> Suppressed:
    """Non-maximum suppression within each label: boxes of different labels never drop one another.

    Shapes:
        labels: (..., n), integers; all else as :func:`nms`.

    Arguments, errors: as :func:`nms`.

    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0]])
    >>> batched_nms(boxes, jnp.array([0.8, 0.9]), jnp.array([0, 1])).indices.tolist()
    [1, 0]

    Source: :func:`nms`.
    """
    return _kept("batched_nms", boxes, scores, labels, iou_threshold, max_output)


def _kept(
    where: str, boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike | None, threshold: ArrayLike, most: int | None
) -> Suppressed:
    x, s = boxes_of(where, boxes, "(..., boxes, 4)", 2), real(scores, where)
    groups = jnp.zeros(s.shape, jnp.int32) if labels is None else jnp.asarray(labels)
    for name, array in (("scores", s), ("labels", groups)):
        if array.shape != x.shape[:-1]:
            fix = f"give one for each box, {list(x.shape[:-1])}"
            raise ShapeError(f"{name} of {list(x.shape[:-1])}", got=describe(array), fix=fix, where=where)
    in_range(where, "iou_threshold", threshold, 0.0, 1.0)
    if most is not None and (not is_int(most) or most < 1):
        fix = "choose max_output=1 or more"
        raise RangeError("max_output as a whole number of at least 1", got=describe(most), fix=fix, where=where)
    count = x.shape[-2] if most is None else int(most)
    leading = s.shape[:-1]
    x, s, groups = (a.reshape(math.prod(leading), *a.shape[len(leading) :]) for a in (widen(x), widen(s), groups))
    chosen = _each(x, s, groups, jnp.asarray(threshold), count=count)
    return Suppressed(*(c.reshape(*leading, count) for c in chosen))


@functools.partial(jax.jit, static_argnames="count")
def _each(boxes: Array, scores: Array, groups: Array, threshold: Array, *, count: int) -> tuple[Array, Array]:
    """The best of every picture, as one compiled call."""
    return jax.vmap(lambda b, s, g: _greedy(b, s, g, threshold, count))(boxes, scores, groups)


def _greedy(boxes: Array, scores: Array, groups: Array, threshold: Array, count: int) -> tuple[Array, Array]:
    """The best of one picture, ``count`` times."""
    if not scores.size:
        return jnp.zeros(count, jnp.int32), jnp.zeros(count, bool)

    def best(left: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        at = jnp.argmax(left).astype(jnp.int32)
        there = left[at] > -jnp.inf
        near = (box_iou(boxes[at][None], boxes)[0] > threshold) & (groups == groups[at])
        left = jnp.where(near.at[at].set(True), -jnp.inf, left)
        return left, (jnp.where(there, at, 0), there)

    return jax.lax.scan(best, jnp.where(jnp.isnan(scores), -jnp.inf, scores), length=count)[1]
