"""``LayerNormalization`` and ``RMSNormalization``, of the arithmetic that they are."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._clean import in_front
from phlox.interchange.onnx.tidy._graph import (
    Sizes,
    before,
    constant,
    follow,
    made_by,
    number,
    reduction,
    replace,
    same_sizes,
    sizes,
)

_RMS_FROM = 23  # the first opset that has RMSNormalization


def layer_norm(node: ir.Node) -> bool:
    """``(x - mean) / sqrt(var + eps) * scale + bias`` over the last axes, in float32."""
    c, spread = divided(node)
    if c is None or spread is None:
        return False
    x, axes = _centred(c)
    if x is None or not _is_variance(_above_zero(spread[0]), c, x, axes) or not _in_float32(x):
        return False
    size = _trailing(x, axes)
    if size is None:
        return False
    end, scale, bias = affine(node.outputs[0], size)
    scale = constant(node, np.ones(size, np.float32), f"{node.outputs[0].name}.ones") if scale is None else scale
    inputs = [x, scale] if bias is None else [x, scale, bias]
    place = end.producer()
    assert place is not None
    replace(end, before(place, "LayerNormalization", inputs, axis=axes[0], epsilon=spread[1]))
    return True


def rms_norm(version: int) -> Callable[[ir.Node], bool]:
    """The rule for graphs of this opset: ``x / sqrt(mean(x^2) + eps) * scale`` over the last axes."""
    return functools.partial(_rms_norm, version=version)


def _rms_norm(node: ir.Node, version: int) -> bool:
    x, spread = divided(node)
    found = None if spread is None else reduction(spread[0], "ReduceMean")
    if version < _RMS_FROM or x is None or spread is None or found is None or not found.kept:
        return False
    size = _trailing(x, found.axes)
    if size is None or not _is_square(found.x, x) or not _in_float32(x):
        return False
    end, scale, _ = affine(node.outputs[0], size, biased=False)
    scale = constant(node, np.ones(size, np.float32), f"{node.outputs[0].name}.ones") if scale is None else scale
    place = end.producer()
    assert place is not None
    replace(end, before(place, "RMSNormalization", [x, scale], axis=found.axes[0], epsilon=spread[1]))
    return True


def divided(node: ir.Node) -> tuple[ir.Value | None, tuple[ir.Value, float] | None]:
    """The c, v and eps of ``c / sqrt(v + eps)``."""
    if node.op_type == "Div":
        return node.inputs[0], _root(node.inputs[1])
    for value, rest in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        inverse = made_by(None if value is None else in_front(value), "Reciprocal")
        if inverse is not None and (found := _root(inverse.inputs[0])) is not None:
            return rest, found
    return None, None


def _root(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    """The v and eps of ``sqrt(v + eps)``."""
    root = made_by(None if value is None else in_front(value), "Sqrt")
    added = None if root is None else made_by(root.inputs[0], "Add")
    if added is None:
        return None
    a, b = added.inputs
    eps, rest = (number(b), a) if number(b) is not None else (number(a), b)
    return None if eps is None or rest is None else (rest, eps)


def affine(value: ir.Value, size: Sizes, biased: bool = True) -> tuple[ir.Value, ir.Value | None, ir.Value | None]:
    """Where a chain of ``* scale`` and ``+ bias`` of this size ends, which nobody reads in between, and both."""
    scale = bias = None
    if (found := follow(value, "Mul")) is not None and _has(found[1], size):
        scale, value = in_front(found[1]), found[0].outputs[0]
    if biased and (found := follow(value, "Add")) is not None and _has(found[1], size):
        bias, value = in_front(found[1]), found[0].outputs[0]
    return value, scale, bias


def _has(value: ir.Value, size: Sizes) -> bool:
    return same_sizes(sizes(in_front(value)), size)


def _centred(c: ir.Value) -> tuple[ir.Value | None, tuple[int, ...]]:
    """The x whose mean is taken away, once or twice, and the axes; the second time takes away what rounding left."""
    node = made_by(c, "Sub")
    found = None if node is None else reduction(node.inputs[1], "ReduceMean")
    if node is None or found is None or found.x is not node.inputs[0] or not found.kept:
        return None, ()
    rough, axes = _centred(found.x)
    return (rough, axes) if rough is not None and axes == found.axes else (found.x, found.axes)


def _above_zero(value: ir.Value) -> ir.Value | None:
    """What rounding could make negative, and is cut there."""
    if (node := made_by(value, "Relu")) is not None:
        return node.inputs[0]
    node = made_by(value, "Max")
    return node.inputs[0] if node is not None and number(node.inputs[1]) == 0.0 else value


def _is_variance(value: ir.Value | None, c: ir.Value, x: ir.Value, axes: tuple[int, ...]) -> bool:
    """``mean(c^2)``, or of ``d = x - rough mean`` the form ``mean(d^2) - mean(d)^2``."""
    if _is_mean_square(value, c, axes):
        return True
    node, outer = made_by(value, "Sub"), made_by(c, "Sub")
    d = None if outer is None else outer.inputs[0]
    if node is None or outer is None or d is None or d is x:
        return False
    return _is_mean_square(node.inputs[0], d, axes) and _is_square(node.inputs[1], outer.inputs[1])


def _is_mean_square(value: ir.Value | None, c: ir.Value, axes: tuple[int, ...]) -> bool:
    found = reduction(value, "ReduceMean")
    return found is not None and found.kept and found.axes == axes and _is_square(found.x, c)


def _is_square(value: ir.Value | None, x: ir.Value | None) -> bool:
    node = made_by(value, "Mul", "Pow")
    if node is None or node.inputs[0] is not x:
        return False
    return node.inputs[1] is x if node.op_type == "Mul" else number(node.inputs[1]) == 2.0


def _trailing(x: ir.Value, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The sizes along the axes, where these are the last ones and their sizes are known."""
    shape = sizes(x)
    if shape is None or axes != tuple(range(len(shape) - len(axes), len(shape))):
        return None
    known = tuple(n for n in shape[axes[0] :] if isinstance(n, int))
    return known if len(known) == len(axes) else None


def _in_float32(x: ir.Value) -> bool:
    return x.dtype == ir.DataType.FLOAT


RULES = {"Mul": (layer_norm,), "Div": (layer_norm,)}
