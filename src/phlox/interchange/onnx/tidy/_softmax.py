"""``Softmax`` and ``LogSoftmax``, of exponentials less the largest that are divided by their sum."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._graph import (
    array,
    attribute,
    before,
    constant,
    first,
    made_by,
    number,
    reduction,
    replace,
    shaped,
    sizes,
)


class Shifted(NamedTuple):
    """Numbers less their largest along an axis; guarded where a largest that is not finite counts as 0."""

    x: ir.Value
    top: ir.Value
    axis: int
    guarded: bool


def softmax(node: ir.Node) -> bool:
    """``exp(x - max x) / sum exp(x - max x)``.

    Guarded, rows of -inf alone are zeros instead of NaN: that stays, unless no row can be one.
    """
    powers = made_by(node.inputs[0], "Exp")
    found = None if powers is None else _shifted(powers.inputs[0])
    if powers is None or found is None:
        return False
    total = _or_one(node.inputs[1]) if found.guarded else node.inputs[1]
    summed = reduction(total, "ReduceSum")
    if summed is None or summed.x is not powers.outputs[0] or summed.axes != (found.axis,) or not summed.kept:
        return False
    y = before(node, "Softmax", [found.x], axis=found.axis)
    if found.guarded and not _is_finite_somewhere(found.x, found.axis):
        y = _zero_where_hidden(node, y, found.top)
    replace(node.outputs[0], y)
    return True


def log_softmax(node: ir.Node) -> bool:
    """``(x - max x) - log(sum(exp(x - max x)))``."""
    found, logarithm = _shifted(node.inputs[0]), made_by(node.inputs[1], "Log")
    summed = None if logarithm is None else reduction(first(logarithm), "ReduceSum")
    powers = None if summed is None else made_by(summed.x, "Exp")
    if found is None or summed is None or powers is None or powers.inputs[0] is not node.inputs[0]:
        return False
    if found.guarded or summed.axes != (found.axis,) or not summed.kept:
        return False
    replace(node.outputs[0], before(node, "LogSoftmax", [found.x], axis=found.axis))
    return True


def _shifted(value: ir.Value | None) -> Shifted | None:
    node = made_by(value, "Sub")
    if node is None:
        return None
    plain = _if_finite(node.inputs[1])
    top = node.inputs[1] if plain is None else plain
    found = reduction(top, "ReduceMax")
    if found is None or top is None or found.x is not node.inputs[0] or len(found.axes) != 1 or not found.kept:
        return None
    return Shifted(found.x, top, found.axes[0], plain is not None)


def _if_finite(value: ir.Value | None) -> ir.Value | None:
    """The x of ``where(isfinite(x), x, 0)``."""
    node = made_by(value, "Where")
    if node is None or number(node.inputs[2]) != 0.0:
        return None
    x = node.inputs[1]
    return x if x is not None and _asks_if_finite(node.inputs[0], x) else None


def _asks_if_finite(value: ir.Value | None, x: ir.Value) -> bool:
    if (less := made_by(value, "Less")) is not None:
        size = made_by(less.inputs[0], "Abs")
        return size is not None and size.inputs[0] is x and number(less.inputs[1]) == math.inf
    if (negated := made_by(value, "Not")) is not None:
        either = made_by(negated.inputs[0], "Or")
        asked = {(n.op_type, id(n.inputs[0])) for v in (either.inputs if either else ()) if (n := _test(v))}
        return asked == {("IsInf", id(x)), ("IsNaN", id(x))}
    if (both := made_by(value, "And")) is not None:
        negated_all = [made_by(v, "Not") for v in both.inputs]
        asked = {(n.op_type, id(n.inputs[0])) for v in negated_all if v is not None and (n := _test(v.inputs[0]))}
        return asked == {("IsInf", id(x)), ("IsNaN", id(x))}
    return False


def _test(value: ir.Value | None) -> ir.Node | None:
    """A question for infinity of either sign, or for what is no number."""
    node = made_by(value, "IsInf", "IsNaN")
    signs = ("detect_negative", "detect_positive")
    return node if node is not None and all(attribute(node, s, 1) for s in signs) else None


def _or_one(value: ir.Value | None) -> ir.Value | None:
    """The x of ``where(x == 0, 1, x)``."""
    node = made_by(value, "Where")
    asked = None if node is None else made_by(node.inputs[0], "Equal")
    if node is None or asked is None or number(node.inputs[1]) != 1.0:
        return None
    x, (a, b) = node.inputs[2], asked.inputs
    return x if (a is x and number(b) == 0.0) or (b is x and number(a) == 0.0) else None


def _is_finite_somewhere(x: ir.Value, axis: int) -> bool:
    """Whether no row along the axis can be -inf alone: products, of which a known mask leaves something.

    A product of matrices is infinite only where its numbers overflow, and then there is nothing to save.
    """
    node = made_by(x, "MatMul", "Gemm", "Einsum", "Mul", "Div", "Reshape", "Where", "Add", "Tanh", "Cast")
    if node is None:
        return False
    if node.op_type in ("MatMul", "Gemm", "Einsum", "Tanh"):
        return True
    if node.op_type == "Where":
        return _leaves_something(node, x, axis)
    if node.op_type == "Reshape":  # of whole rows
        inner, outer = sizes(node.inputs[0]), sizes(x)
        same = inner is not None and outer is not None and inner[-1:] == outer[-1:] and axis == len(outer) - 1
        return same and inner is not None and _is_finite_somewhere(first(node), len(inner) - 1)
    if node.op_type == "Add":
        return all(_is_finite(v) or (v is not None and _is_finite_somewhere(v, axis)) for v in node.inputs) and any(
            _is_finite(v) for v in node.inputs
        )
    if node.op_type == "Cast":
        return _is_finite_somewhere(first(node), axis)
    a, b = node.inputs
    one, many = (a, b) if number(a) is not None else (b, a)
    return number(one) is not None and many is not None and _is_finite_somewhere(many, axis)


def _is_finite(value: ir.Value | None) -> bool:
    numbers = array(value)
    return numbers is not None and bool(np.isfinite(numbers.astype(np.float32)).all())


def _leaves_something(node: ir.Node, x: ir.Value, axis: int) -> bool:
    """Whether a known mask shows at least one number of each row, and that one is finite."""
    seen, shape = array(node.inputs[0]), sizes(x)
    if seen is None or shape is None or node.inputs[1] is None:
        return False
    along = axis - (len(shape) - seen.ndim)
    some = along >= 0 and (seen.any(along).all() if seen.shape[along] != 1 else seen.all())
    return bool(some) and _is_finite_somewhere(node.inputs[1], axis)


def _zero_where_hidden(node: ir.Node, y: ir.Value, top: ir.Value) -> ir.Value:
    """0 where the largest is -inf."""
    out = node.outputs[0]
    assert out.dtype is not None
    kind, name = out.dtype.numpy(), out.name
    lowest = constant(node, np.asarray(-np.inf, kind), f"{name}.lowest")
    zero = constant(node, np.asarray(0, kind), f"{name}.zero")
    hidden = before(node, "Equal", [top, lowest])
    hidden.type = ir.TensorType(ir.DataType.BOOL)
    hidden.shape = top.shape
    return before(node, "Where", [hidden, zero, shaped(y, sizes(out), out)])


RULES = {"Div": (softmax,), "Sub": (log_softmax,)}
