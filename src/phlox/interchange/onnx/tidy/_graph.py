"""What a rule sees of a graph: producers, constants, shapes, readers; and how one value takes another's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

Dim = int | str | None  # a size, the name of one, or nothing known
Sizes = tuple[Dim, ...]


# --- reading --------------------------------------------------------------------------------------


def made_by(value: ir.Value | None, *ops: str) -> ir.Node | None:
    """The node that makes a value, where it is one of these operators."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in ops and node.domain == "" else None


def first(node: ir.Node) -> ir.Value:
    """A node's first input, which it must have."""
    value = node.inputs[0]
    assert value is not None
    return value


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """An attribute's value."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def array(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of a constant; None of any other value."""
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()


def number(value: ir.Value | None) -> float | None:
    """The only number of a constant of one element."""
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    found = array(value)
    return None if found is None or found.dtype.kind == "c" else float(found.reshape(-1)[0])


def integers(value: ir.Value | None) -> tuple[int, ...] | None:
    """A constant of whole numbers as a tuple: axes, sizes, counts of padding."""
    found = array(value)
    return None if found is None or found.dtype.kind not in "iu" else tuple(map(int, found.reshape(-1)))


def sizes(value: ir.Value | None) -> Sizes | None:
    """The shape, where the rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else None if d.value is None else str(d.value) for d in value.shape)


def same_sizes(a: Sizes | None, b: Sizes | None) -> bool:
    """Whether two shapes are equal for certain: a size that is not known equals none."""
    return a is not None and a == b and None not in a


def broadcast(shapes: Sequence[Sizes | None]) -> Sizes | None:
    """The shape of an elementwise result; None where it cannot be told."""
    if any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    rank = max(map(len, known))
    result: list[Dim] = []
    for axis in zip(*[(1,) * (rank - len(s)) + s for s in known], strict=True):
        others = {d for d in axis if d != 1}
        if len(others) > 1:
            return None
        result.append(others.pop() if others else 1)
    return tuple(result)


def alone(value: ir.Value) -> bool:
    """Whether one place reads the value, and no more."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The second operand of a node of two, where the value is the first in either order."""
    a, b = node.inputs
    return b if a is value else a if b is value else None


def follow(value: ir.Value, op: str) -> tuple[ir.Node, ir.Value] | None:
    """The only reader, where it is this operator of two operands, and its other operand."""
    if not alone(value):
        return None
    node, maker = next(iter(value.uses())).node, value.producer()
    if maker is None or node.graph is not maker.graph or node.op_type != op or node.domain or len(node.inputs) != 2:
        return None
    found = other(node, value)
    return None if found is None else (node, found)


class Reduction(NamedTuple):
    """Of what, along which axes (none of them negative), and whether they stay with size 1."""

    x: ir.Value
    axes: tuple[int, ...]
    kept: bool


def reduction(value: ir.Value | None, op: str) -> Reduction | None:
    """A reduction whose axes are known."""
    node = made_by(value, op)
    if node is None or (shape := sizes(node.inputs[0])) is None:
        return None
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if axes is None:
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            return None
        axes = attribute(node, "axes", tuple(range(len(shape))))
    return Reduction(first(node), tuple(sorted(a % len(shape) for a in axes)), bool(attribute(node, "keepdims", 1)))


# --- writing --------------------------------------------------------------------------------------


def before(node: ir.Node, op: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
    """The result of a new node that stands before another and is called by the same layer."""
    layer, _, _ = (node.name or "").rpartition("/")
    new = ir.node(op, inputs, attributes, name=f"{layer}/{op}" if layer else op)
    graph = node.graph
    assert graph is not None
    graph.insert_before(node, new)
    return new.outputs[0]


def shaped(value: ir.Value, shape: Sizes | None, like: ir.Value) -> ir.Value:
    """The value, of a known shape and another's type."""
    value.shape = None if shape is None else ir.Shape(shape)
    value.type = like.type
    return value


def constant(node: ir.Node, numbers: np.ndarray, name: str) -> ir.Value:
    """A new constant beside a node, by this name or one that is like it."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    free, count = name, 0
    while free in graph.initializers:
        count += 1
        free = f"{name}.{count}"
    value = ir.val(free, const_value=ir.tensor(np.ascontiguousarray(numbers).reshape(numbers.shape)))
    graph.register_initializer(value)
    return value


def changed(value: ir.Value, numbers: np.ndarray, node: ir.Node) -> ir.Value:
    """A constant with other numbers, for one reader: itself, by its name, where nobody else reads it."""
    if not alone(value) or value.graph is not node.graph:
        return constant(node, numbers, f"{value.name}.changed")
    value.const_value = ir.tensor(np.ascontiguousarray(numbers).reshape(numbers.shape))
    value.shape = ir.Shape(numbers.shape)
    value.type = ir.TensorType(value.const_value.dtype)
    return value


def replace(old: ir.Value, new: ir.Value) -> None:
    """Let all that read one value read another; a result of the graph keeps its name."""
    if new.shape is None:
        new.shape = old.shape
    if new.type is None:
        new.type = old.type
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return
    node = old.producer()
    assert node is not None
    if not renameable(new, node):
        new = shaped(before(node, "Identity", [new]), sizes(old), old)
    name, old.name = old.name, f"{old.name}.old"
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    new.name = name


def renameable(value: ir.Value, node: ir.Node) -> bool:
    """Whether a value may take the name of a result of the node's graph."""
    producer = value.producer()
    return producer is not None and producer.graph is node.graph and not value.is_graph_output()
