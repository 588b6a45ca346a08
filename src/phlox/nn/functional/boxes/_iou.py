"""How much boxes overlap: intersection over union, each with each, and its forms that also tell how far apart."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.nn.functional._numeric import result_dtype, widen
from phlox.nn.functional.boxes._boxes import box_area, boxes_of

__all__ = ["box_iou", "complete_box_iou", "distance_box_iou", "generalized_box_iou"]


@answering
def box_iou(boxes1: ArrayLike, boxes2: ArrayLike) -> Array:
    r"""Intersection over union of each box with each other: $|A \cap B| / |A \cup B|$.

    Two boxes without area have 0.

    Shapes:
        boxes1: (..., n, 4); boxes2: (..., m, 4), corners; y: (..., n, m), in [0, 1].

    Raises:
        ShapeError: a last axis that is not 4, leading axes that do not match.

    >>> box_iou(jnp.array([[0.0, 0.0, 2.0, 2.0]]), jnp.array([[1.0, 0.0, 3.0, 2.0]])).round(4).tolist()
    [[0.33329999446868896]]

    Source: Everingham et al., "The Pascal visual object classes challenge", 2010.
    """
    return _pairwise("box_iou", boxes1, boxes2, lambda a, b: _iou(a, b)[0])


@answering
def generalized_box_iou(boxes1: ArrayLike, boxes2: ArrayLike) -> Array:
    r"""IoU less the share of the smallest box around both that is in neither: $IoU - |C - A \cup B| / |C|$.

    Shapes, errors: as :func:`box_iou`; y in [-1, 1].

    >>> generalized_box_iou(jnp.array([[0.0, 0.0, 1.0, 1.0]]), jnp.array([[3.0, 0.0, 4.0, 1.0]])).tolist()
    [[-0.5]]

    Source: Rezatofighi et al., "Generalized intersection over union" (arXiv:1902.09630).
    """
    return _pairwise("generalized_box_iou", boxes1, boxes2, _generalized)


@answering
def distance_box_iou(boxes1: ArrayLike, boxes2: ArrayLike) -> Array:
    r"""IoU less the squared distance of the centres over the squared diagonal of the smallest box around both.

    $IoU - \rho^2(a, b) / c^2$.

    Shapes, errors: as :func:`box_iou`; y in [-1, 1].

    >>> distance_box_iou(jnp.array([[0.0, 0.0, 1.0, 1.0]]), jnp.array([[3.0, 0.0, 4.0, 1.0]])).round(4).tolist()
    [[-0.5293999910354614]]

    Source: Zheng et al., "Distance-IoU loss" (arXiv:1911.08287), equation 7.
    """
    return _pairwise("distance_box_iou", boxes1, boxes2, _distance)


@answering
def complete_box_iou(boxes1: ArrayLike, boxes2: ArrayLike) -> Array:
    r"""Distance-IoU less a term for unlike shapes: $DIoU - \alpha v$, $\alpha = v / (1 - IoU + v)$, a constant.

    $v = \frac{4}{\pi^2} (\arctan \frac{w_2}{h_2} - \arctan \frac{w_1}{h_1})^2$.

    Shapes, errors: as :func:`box_iou`.

    >>> complete_box_iou(jnp.array([[0.0, 0.0, 2.0, 2.0]]), jnp.array([[0.0, 0.0, 2.0, 2.0]])).tolist()
    [[1.0]]

    Source: Zheng et al., "Distance-IoU loss" (arXiv:1911.08287), equations 9 to 11.
    """
    return _pairwise("complete_box_iou", boxes1, boxes2, _complete)


def _pairwise(where: str, boxes1: ArrayLike, boxes2: ArrayLike, measure: Callable[[Array, Array], Array]) -> Array:
    a, b = (boxes_of(where, x, "(..., boxes, 4)", 2) for x in (boxes1, boxes2))
    if a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2]:
        fix = "give both the same axes before (boxes, 4)"
        expected = "boxes1 and boxes2 of the same leading axes"
        raise ShapeError(expected, got=f"{describe(a)} and {describe(b)}", fix=fix, where=where)
    dtype = result_dtype(a, b)
    return measure(widen(a)[..., :, None, :], widen(b)[..., None, :, :]).astype(dtype)


def _iou(a: Array, b: Array) -> tuple[Array, Array]:
    """IoU and union of boxes side by side."""
    sides = jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0)
    inside = sides[..., 0] * sides[..., 1]
    union = box_area(a) + box_area(b) - inside
    return _ratio(inside, union), union


def _generalized(a: Array, b: Array) -> Array:
    iou, union = _iou(a, b)
    sides = _around(a, b)
    hull = sides[..., 0] * sides[..., 1]
    return iou - _ratio(hull - union, hull)


def _distance(a: Array, b: Array) -> Array:
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    return _iou(a, b)[0] - _ratio(jnp.sum(apart**2, -1), jnp.sum(_around(a, b) ** 2, -1))


def _complete(a: Array, b: Array) -> Array:
    unlike = 4 / np.pi**2 * (_slope(b) - _slope(a)) ** 2
    share = jax.lax.stop_gradient(_ratio(unlike, 1 - _iou(a, b)[0] + unlike))
    return _distance(a, b) - share * unlike


def _around(a: Array, b: Array) -> Array:
    """Width and height of the smallest box around both."""
    return jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])


def _slope(x: Array) -> Array:
    """The angle of width over height."""
    return jnp.arctan2(x[..., 2] - x[..., 0], jnp.where(x[..., 3] == x[..., 1], 1e-7, x[..., 3] - x[..., 1]))


def _ratio(above: Array, below: Array) -> Array:
    """above / below, 0 where there is nothing below."""
    return jnp.where(below == 0, 0, above / jnp.where(below == 0, 1, below))
