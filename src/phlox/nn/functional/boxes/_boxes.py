"""Boxes in their formats, and their areas."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import real, widen

__all__ = ["box_area", "box_convert"]


@answering
def box_convert(boxes: ArrayLike, in_fmt: str, out_fmt: str) -> Array:
    """Write boxes in another format.

    ``"xyxy"``: two corners, x1 <= x2 and y1 <= y2; ``"xywh"``: the first corner, width and height; ``"cxcywh"``:
    centre, width and height.

    Shapes:
        boxes, y: (..., 4), in pixels or as shares of the picture.

    Arguments:
        in_fmt: the format of ``boxes``: "xyxy", "xywh" or "cxcywh".
        out_fmt: the format of the result.

    Raises:
        RangeError: another format. ShapeError: a last axis that is not 4.

    >>> box_convert(jnp.array([1.0, 2.0, 4.0, 6.0]), "xyxy", "cxcywh").tolist()
    [2.5, 4.0, 3.0, 4.0]

    Source: the formats of torchvision's ``box_convert``; "xywh" is that of COCO's annotations.
    """
    x = boxes_of("box_convert", boxes)
    for name, fmt in (("in_fmt", in_fmt), ("out_fmt", out_fmt)):
        if fmt not in _CORNERS:
            fix = "choose one of them"
            raise RangeError(f"{name} of {', '.join(_CORNERS)}", got=describe(fmt), fix=fix, where="box_convert")
    if in_fmt == out_fmt:
        return x
    first, last = _CORNERS[in_fmt](widen(x))
    return _WRITTEN[out_fmt](first, last).astype(x.dtype)


@answering
def box_area(boxes: ArrayLike) -> Array:
    """The area of each box: ``(x2 - x1) (y2 - y1)``.

    Shapes:
        boxes: (..., 4), x1 <= x2 and y1 <= y2; y: (...), float32 at least: squares of pixels outgrow 16 bits.

    Raises:
        ShapeError: a last axis that is not 4.

    >>> box_area(jnp.array([[1.0, 2.0, 4.0, 6.0]])).tolist()
    [12.0]

    Source: Lin et al., "Microsoft COCO: common objects in context" (arXiv:1405.0312).
    """
    x = widen(boxes_of("box_area", boxes))
    return (x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1])


def boxes_of(where: str, boxes: ArrayLike, layout: str = "(..., 4)", rank: int = 1) -> Array:
    """Boxes as an array of floats, with a last axis of 4."""
    x = real(boxes, where)
    if x.ndim < rank or x.shape[-1] != 4:
        fix = "give four numbers for each box, along the last axis"
        if x.ndim < rank and x.shape[-1:] == (4,):
            fix = "add the axis of boxes: boxes[None]"
        raise ShapeError(f"boxes {layout}", got=describe(x), fix=fix, where=where)
    return x


_Corners = tuple[Array, Array]

# The two corners (..., 2) of a format, and the format of two corners.
_CORNERS: dict[str, Callable[[Array], _Corners]] = {
    "xyxy": lambda x: (x[..., :2], x[..., 2:]),
    "xywh": lambda x: (x[..., :2], x[..., :2] + x[..., 2:]),
    "cxcywh": lambda x: (x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2),
}
_WRITTEN: dict[str, Callable[[Array, Array], Array]] = {
    "xyxy": lambda a, b: jnp.concatenate([a, b], -1),
    "xywh": lambda a, b: jnp.concatenate([a, b - a], -1),
    "cxcywh": lambda a, b: jnp.concatenate([(a + b) / 2, b - a], -1),
}
