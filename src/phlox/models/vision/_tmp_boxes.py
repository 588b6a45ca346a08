"""Until the box functions are merged: these names are then ``phlox.nn.functional``'s."""

# ruff: noqa: E731
# pyright: basic
from typing import Any

import jax.numpy as jnp


def box_convert(boxes: Any, in_fmt: str, out_fmt: str) -> Any:
    assert (in_fmt, out_fmt) == ("cxcywh", "xyxy")
    centre, size = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([centre - size / 2, centre + size / 2], -1)


def generalized_box_iou(a: Any, b: Any) -> Any:
    a, b = a[..., :, None, :], b[..., None, :, :]
    area = lambda low, high: jnp.prod(jnp.maximum(high - low, 0), -1)
    both = area(jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:]))
    around = area(jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:]))
    union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - both
    return both / union - (around - union) / around
