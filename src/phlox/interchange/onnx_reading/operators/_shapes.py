"""Sizes, and arrays in other shapes."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import is_known, is_symbol, library, sizes
from phlox.interchange.onnx_reading._layout import Laid, laid, order_of
from phlox.interchange.onnx_reading.operators._table import OPERATORS


@OPERATORS.on("Shape", any_order=True)
def _shape(call: Call, x: Any) -> Any:
    return sizes(x.shape[slice(call.get("start", 0), call.get("end"))])


@OPERATORS.on("Size", any_order=True)
def _size(call: Call, x: Any) -> Any:
    return sizes([math.prod(x.shape)])[0]


@OPERATORS.on("Reshape")
def _reshape(call: Call, x: Any, shape: Any) -> Any:
    wanted = call.ints(shape, "the shape")
    if not call.get("allowzero", 0):
        wanted = [x.shape[i] if not is_symbol(n) and n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


@OPERATORS.on("Flatten")
def _flatten(call: Call, x: Any) -> Any:
    axis = call.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@OPERATORS.on("Squeeze")
def _squeeze(call: Call, x: Any, axes: Any = None) -> Any:
    found = call.axes(axes)
    return library(x).squeeze(x, None if found is None else tuple(found))


@OPERATORS.on("Unsqueeze")
def _unsqueeze(call: Call, x: Any, axes: Any = None) -> Any:
    return library(x).expand_dims(x, tuple(call.axes(axes) or ()))


@OPERATORS.on("Transpose", any_order=True)
def _transpose(call: Call, x: Any) -> Any:
    """Only said of arrays that lie another way already, and where it brings channels before space."""
    turn = [call.axis(a, x.ndim) for a in call.get("perm") or range(x.ndim - 1, -1, -1)]
    if isinstance(x, Laid) or (not is_known(x) and x.ndim > 2 and turn == [0, x.ndim - 1, *range(1, x.ndim - 1)]):
        array = x.array if isinstance(x, Laid) else x
        return laid(array, [turn.index(a) for a in order_of(x)])
    return library(x).transpose(x, turn)


@OPERATORS.on("Expand")
def _expand(call: Call, x: Any, shape: Any) -> Any:
    wanted = call.sized(jnp.broadcast_shapes(x.shape, tuple(call.ints(shape, "the shape"))))
    return (jnp if any(map(is_symbol, wanted)) else library(x)).broadcast_to(x, wanted)


@OPERATORS.on("DepthToSpace")
def _depth_to_space(call: Call, x: Any) -> Any:
    b, c, h, w = x.shape
    n = call["blocksize"]
    if call.get("mode", "DCR") == "DCR":
        y = x.reshape(b, n, n, c // n**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(b, c // n**2, n, n, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(b, c // n**2, h * n, w * n)


@OPERATORS.on("SpaceToDepth")
def _space_to_depth(call: Call, x: Any) -> Any:
    b, c, h, w = x.shape
    n = call["blocksize"]
    y = x.reshape(b, c, h // n, n, w // n, n)
    order = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return y.transpose(order).reshape(b, c * n**2, h // n, w // n)
