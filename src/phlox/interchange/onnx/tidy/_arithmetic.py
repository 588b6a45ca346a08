"""Arithmetic in the forms that the other rules know: means, quotients, one factor for several."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._graph import (
    alone,
    before,
    constant,
    first,
    made_by,
    number,
    reduction,
    replace,
    sizes,
)


def mean(node: ir.Node) -> bool:
    """A sum divided by how many it adds is ``ReduceMean``."""
    total = node.inputs[0]
    found, count = reduction(total, "ReduceSum"), number(node.inputs[1])
    if total is None or found is None or count is None or not alone(total):
        return False
    shape = sizes(found.x) or ()
    added = [shape[a] for a in found.axes]
    if not all(isinstance(n, int) for n in added) or math.prod(n for n in added if isinstance(n, int)) != count:
        return False
    summed = total.producer()
    assert summed is not None
    replace(node.outputs[0], before(node, "ReduceMean", summed.inputs, keepdims=int(found.kept)))
    return True


def quotient(node: ir.Node) -> bool:
    """``x * (1 / y)`` is ``x / y``."""
    a, b = node.inputs
    for value, rest in ((a, b), (b, a)):
        inverse = made_by(value, "Reciprocal")
        if inverse is None or value is None or rest is None or not alone(value):
            continue
        if sizes(rest) is not None and sizes(rest) == sizes(node.outputs[0]):  # a row of divisors is no dearer
            replace(node.outputs[0], before(node, "Div", [rest, first(inverse)]))
            return True
    return False


def one_factor(node: ir.Node) -> bool:
    """Numbers that are multiplied or divided by one after the other are one."""
    n, x = stripped(node.outputs[0])
    shape, near = sizes(node.outputs[0]), (node.outputs[0], *node.inputs)
    if any(x is v for v in near) or shape is None or sizes(x) != shape or not math.isfinite(n) or n == 0:
        return False
    if abs(n - 1.0) < 1e-9:
        replace(node.outputs[0], x)
        return True
    if x.dtype is None:
        return False
    factor = constant(node, np.asarray(n, x.dtype.numpy()), f"{node.outputs[0].name}.factor")
    replace(node.outputs[0], before(node, "Mul", [x, factor]))
    return True


def stripped(value: ir.Value) -> tuple[float, ir.Value]:
    """A value as a number times what is left: ``-x / 2`` is (-0.5, x); what has no such factor is 1 and itself."""
    n, node = 1.0, made_by(value, "Mul", "Div", "Neg")
    while node is not None and value.dtype is not None and value.dtype.is_floating_point():
        a, b = (node.inputs[0], node.inputs[-1])
        if node.op_type == "Neg":
            n, rest = -n, a
        elif (found := number(b)) is not None and (node.op_type == "Mul" or found):
            n, rest = (n * found if node.op_type == "Mul" else n / found), a
        elif node.op_type == "Mul" and (found := number(a)) is not None:
            n, rest = n * found, b
        else:
            break
        assert rest is not None
        value, node = rest, made_by(rest, "Mul", "Div", "Neg")
    return n, value


def factors(value: ir.Value | None, leaves: Sequence[ir.Value]) -> tuple[float, list[ir.Value]]:
    """A product taken apart down to some leaves: the number in it, and what else is multiplied.

    ``0.5 * x * -y`` is (-0.5, [x, y]).
    """
    if value is None:
        return math.nan, []
    n, node = number(value), made_by(value, "Mul", "Div", "Neg", "Pow")
    if n is not None:
        return n, []
    if node is None or any(value is leaf for leaf in leaves):
        return 1.0, [value]
    if node.op_type == "Neg":
        n, rest = factors(node.inputs[0], leaves)
        return -n, rest
    (n, rest), m = factors(node.inputs[0], leaves), number(node.inputs[1])
    if node.op_type == "Mul":
        also, more = factors(node.inputs[1], leaves)
        return n * also, rest + more
    if node.op_type == "Div":
        return (n / m, rest) if m else (1.0, [value])
    return (n ** int(m), rest * int(m)) if m in (2.0, 3.0) else (1.0, [value])


def relu(node: ir.Node) -> bool:
    """``max(x, 0)`` of floats is ``Relu``, which readers take into the operation before it."""
    a, b = node.inputs if len(node.inputs) == 2 else (None, None)
    x = a if number(b) == 0.0 else b if number(a) == 0.0 else None
    if x is None or x.dtype is None or not x.dtype.is_floating_point() or sizes(x) != sizes(node.outputs[0]):
        return False
    replace(node.outputs[0], before(node, "Relu", [x]))
    return True


RULES = {"Div": (mean, one_factor), "Mul": (quotient, one_factor), "Max": (relu,)}
