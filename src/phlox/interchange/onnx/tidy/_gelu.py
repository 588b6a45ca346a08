"""``Gelu``, of its formula by erf or by tanh; before opset 20 in the form that readers know."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._arithmetic import factors, stripped
from phlox.interchange.onnx.tidy._graph import before, constant, first, made_by, number, replace, shaped, sizes

_FROM = 20  # the first opset that has Gelu


class Gate(NamedTuple):
    """``2 P(Z <= x)``, by erf or by tanh, and whether it stands there as readers know it."""

    x: ir.Value
    exact: bool
    known: bool


def gelu(version: int) -> Callable[[ir.Node], bool]:
    """The rule for graphs of this opset: ``0.5 * x * (1 + erf(x / sqrt 2))``, and the form by tanh."""
    return functools.partial(_gelu, version=version)


def _gelu(node: ir.Node, version: int) -> bool:
    for value in (*node.inputs, *_below(node)):
        gate = None if value is None else _gate(value)
        if value is None or gate is None:
            continue
        n, rest = factors(node.outputs[0], [gate.x, value])
        if _close(n, 0.5) and len(rest) == 2 and {*map(id, rest)} == {id(gate.x), id(value)}:
            return _written(node, gate, version)
    return False


def _below(node: ir.Node) -> list[ir.Value | None]:
    """What is multiplied by what the node multiplies."""
    return [v for value in node.inputs if (inner := made_by(value, "Mul")) for v in inner.inputs]


def _written(node: ir.Node, gate: Gate, version: int) -> bool:
    if version >= _FROM:
        approximate = "none" if gate.exact else "tanh"
        replace(node.outputs[0], before(node, "Gelu", [gate.x], approximate=approximate))
        return True
    if gate.known:
        return False
    replace(node.outputs[0], (_as_erf if gate.exact else _as_tanh)(_Writer(node), gate.x))
    return True


class _Writer:
    """Writes a formula before a node, of values that have the shape of its result."""

    def __init__(self, node: ir.Node):
        self.node, self.out = node, node.outputs[0]

    def __call__(self, op: str, *operands: ir.Value | float) -> ir.Value:
        values = [v if isinstance(v, ir.Value) else self._number(v) for v in operands]
        return shaped(before(self.node, op, values), sizes(self.out), self.out)

    def _number(self, n: float) -> ir.Value:
        dtype = ir.DataType.FLOAT if self.out.dtype is None else self.out.dtype
        return constant(self.node, np.asarray(n, dtype.numpy()), f"{self.out.name}.number")


def _as_erf(op: _Writer, x: ir.Value) -> ir.Value:
    twice = op("Add", op("Erf", op("Div", x, math.sqrt(2))), 1.0)
    return op("Mul", op("Mul", x, twice), 0.5)


def _as_tanh(op: _Writer, x: ir.Value) -> ir.Value:
    inner = op("Add", x, op("Mul", op("Pow", x, 3.0), 0.044715))
    twice = op("Add", op("Tanh", op("Mul", inner, math.sqrt(2 / math.pi))), 1.0)
    return op("Mul", op("Mul", x, 0.5), twice)


# --- recognised -----------------------------------------------------------------------------------


def _gate(value: ir.Value) -> Gate | None:
    """``1 + erf(x / sqrt 2)``, or ``1 - erf(-x / sqrt 2)``, or the same by tanh."""
    node = made_by(value, "Add", "Sub")
    if node is None:
        return None
    a, b = node.inputs
    one, rest = (a, b) if number(a) is not None else (b, a)
    if number(one) != 1.0 or rest is None or (node.op_type == "Sub" and one is b):
        return None
    n, function = stripped(rest)
    odd = made_by(function, "Erf", "Tanh")
    if odd is None or not _close(abs(n), 1.0):
        return None
    sign = -n if node.op_type == "Sub" else n
    return (_by_erf if odd.op_type == "Erf" else _by_tanh)(first(odd), sign)


def _by_erf(value: ir.Value, sign: float) -> Gate | None:
    n, x = stripped(value)
    known = made_by(value, "Div") is not None
    return Gate(x, True, known) if _close(n * sign, math.sqrt(0.5)) else None


def _by_tanh(value: ir.Value, sign: float) -> Gate | None:
    """``tanh(sqrt(2 / pi) (x + 0.044715 x^3))``; beyond 10 to either side tanh is 1, and x may be cut there."""
    n, polynomial = stripped(value)
    node = made_by(polynomial, "Add")
    if node is None or not _close(n * sign, math.sqrt(2 / math.pi)):
        return None
    a, b = node.inputs
    for x, cube in ((a, b), (b, a)):
        m, powers = (0.0, []) if x is None else factors(cube, [x])
        if x is not None and _close(m, 0.044715) and len(powers) == 3 and all(p is x for p in powers):
            inner = made_by(cube, "Mul")
            return Gate(_uncut(x), False, inner is not None and made_by(inner.inputs[0], "Pow") is not None)
    return None


def _uncut(x: ir.Value) -> ir.Value:
    """What was cut at a number beyond 10 to either side."""
    node = made_by(x, "Clip", "Max", "Min")
    if node is None or len(node.inputs) < 2:
        return x
    if node.op_type == "Clip":
        low, high = number(node.inputs[1]), number(node.inputs[2]) if len(node.inputs) > 2 else math.inf
        return first(node) if low is not None and high is not None and low <= -10 and high >= 10 else x
    a, b = node.inputs
    rest, bound = (a, number(b)) if number(a) is None else (b, number(a))
    beyond = bound is not None and (bound <= -10 if node.op_type == "Max" else bound >= 10)
    return _uncut(rest) if beyond and rest is not None else x


def _close(a: float, b: float) -> bool:
    return abs(a - b) < 1e-5 * abs(b)
