"""Operations that do nothing, or that the next one undoes: each goes, or two become one."""

from __future__ import annotations

import math

import onnx_ir as ir

from phlox.interchange.onnx.tidy._graph import (
    alone,
    array,
    attribute,
    before,
    broadcast,
    first,
    integers,
    made_by,
    number,
    renameable,
    replace,
    same_sizes,
    shaped,
    sizes,
)

BROADCASTING = frozenset(
    ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "And", "Or", "Xor", "Equal", "Greater", "Less"]
    + ["GreaterOrEqual", "LessOrEqual", "Mod", "PRelu"]
)
WIDTHS = {"FLOAT16": 1, "BFLOAT16": 1, "FLOAT": 2, "DOUBLE": 3}  # a cast to a greater one loses nothing


def without_identity(node: ir.Node) -> bool:
    """``Identity(x)`` is x, except where a result of the graph must have a name of its own."""
    return _gives_back(node, first(node))


def without_cast(node: ir.Node) -> bool:
    """A cast to what it is; and of two casts the first, where it loses nothing."""
    source, target = first(node), ir.DataType(attribute(node, "to"))
    if source.dtype == target:
        return _gives_back(node, source)
    inner = made_by(source, "Cast")
    if inner is None:
        return False
    kind, between = first(inner).dtype, ir.DataType(attribute(inner, "to"))
    if kind is None or WIDTHS.get(kind.name, 9) >= WIDTHS.get(between.name, 0):
        return False
    node.replace_input_with(0, first(inner))
    return True


def without_transpose(node: ir.Node) -> bool:
    """A transpose that moves nothing; and two that follow each other as one."""
    order = permutation(node)
    if order is None:
        return False
    if order == tuple(range(len(order))):
        return _gives_back(node, first(node))
    inner = made_by(first(node), "Transpose")
    earlier = None if inner is None else permutation(inner)
    if inner is None or earlier is None:
        return False
    merged = before(node, "Transpose", [first(inner)], perm=[earlier[i] for i in order])
    replace(node.outputs[0], merged)
    return True


def permutation(node: ir.Node) -> tuple[int, ...] | None:
    """Which axis of the input each axis of a transpose's result is."""
    given = attribute(node, "perm")
    if given is not None:
        return tuple(given)
    shape = sizes(node.inputs[0])
    return None if shape is None else tuple(reversed(range(len(shape))))


def without_reshape(node: ir.Node) -> bool:
    """A reshape to the shape that it has; and of two the first. ``Squeeze`` and ``Unsqueeze`` are reshapes too."""
    source = first(node)
    if same_sizes(sizes(source), sizes(node.outputs[0])) or _asks_for_the_same(node):
        return _gives_back(node, source)
    inner = made_by(source, "Reshape", "Squeeze", "Unsqueeze")
    if inner is None or node.op_type != "Reshape" or not _says_all(node):
        return False
    node.replace_input_with(0, first(inner))
    return True


def _asks_for_the_same(node: ir.Node) -> bool:
    """Whether a reshape leaves one size open and asks for all others as they are."""
    target = integers(node.inputs[1]) if node.op_type == "Reshape" else None
    shape = sizes(first(node))
    if target is None or shape is None or len(target) != len(shape) or target.count(-1) != 1:
        return False
    return all(t in (-1, d) and t != 0 for t, d in zip(target, shape, strict=True))


def _says_all(node: ir.Node) -> bool:
    """Whether a reshape's target does not depend on the shape before: no 0, which copies a size."""
    target = integers(node.inputs[1])
    return target is not None and 0 not in target


def without_expand(node: ir.Node) -> bool:
    """An expand to the shape that it has."""
    return same_sizes(sizes(first(node)), sizes(node.outputs[0])) and _gives_back(node, first(node))


def without_broadcast(node: ir.Node) -> bool:
    """Operands that were expanded, or given axes in front, where broadcasting does the same."""
    result, found = sizes(node.outputs[0]), False
    for i, value in enumerate(node.inputs):
        source = _unbroadcast(value)
        if source is None or result is None or None in result:
            continue
        rest = [sizes(v) for j, v in enumerate(node.inputs) if j != i]
        if broadcast([*rest, sizes(source)]) == result:
            node.replace_input_with(i, source)
            found = True
    return found


def _unbroadcast(value: ir.Value | None) -> ir.Value | None:
    """What was expanded, or given axes of size 1 in front."""
    if expanded := made_by(value, "Expand"):
        return first(expanded)
    return in_front(value) if value is not None and in_front(value) is not value else None


def in_front(value: ir.Value) -> ir.Value:
    """The value without reshapes that only put axes of size 1 in front of it."""
    node = made_by(value, "Reshape", "Unsqueeze")
    if node is None:
        return value
    inner, outer = sizes(first(node)), sizes(value)
    if inner is None or outer is None or len(inner) > len(outer) or None in inner:
        return value
    return in_front(first(node)) if outer == (1,) * (len(outer) - len(inner)) + inner else value


def without_neutral(node: ir.Node) -> bool:
    """``x * 1``, ``x / 1``, ``x - 0``, ``max(x, -inf)``, ``min(x, inf)``, ``x and True``."""
    if len(node.inputs) != 2 or node.outputs[0].dtype is None:
        return False
    neutral = {"Mul": 1.0, "Div": 1.0, "Sub": 0.0, "Max": -math.inf, "Min": math.inf, "And": 1.0, "Or": 0.0}
    a, b = node.inputs
    turned = node.op_type not in ("Div", "Sub")
    for kept, rest in ((a, b), (b, a) if turned else (a, b)):
        fits = kept is not None and same_sizes(sizes(kept), sizes(node.outputs[0]))
        if kept is not None and fits and number(rest) == neutral[node.op_type]:
            return _gives_back(node, kept)
    return False


def without_padding(node: ir.Node) -> bool:
    """A pad by nothing."""
    pads = integers(node.inputs[1])
    return pads is not None and not any(pads) and _gives_back(node, first(node))


def without_concat(node: ir.Node) -> bool:
    """One array joined with none."""
    return len(node.inputs) == 1 and _gives_back(node, first(node))


def without_where(node: ir.Node) -> bool:
    """A choice that is made."""
    if node.inputs[1] is node.inputs[2] and node.inputs[1] is not None:
        kept = node.inputs[1]
        return same_sizes(sizes(kept), sizes(node.outputs[0])) and _gives_back(node, kept)
    chosen = array(node.inputs[0])
    if chosen is None or (chosen.any() != chosen.all()):
        return False
    kept = node.inputs[1 if chosen.all() else 2]
    return kept is not None and same_sizes(sizes(kept), sizes(node.outputs[0])) and _gives_back(node, kept)


def with_kept_axes(node: ir.Node) -> bool:
    """A reduction whose axes are put back with size 1 keeps them instead."""
    names = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
    inner = made_by(first(node), *names)
    if inner is None or not alone(first(node)) or attribute(inner, "keepdims", 1):
        return False
    axes, shape = integers(inner.inputs[1]) if len(inner.inputs) > 1 else None, sizes(first(inner))
    if axes is None or shape is None:
        return False
    gone = {a % len(shape) for a in axes}
    wanted = tuple(1 if i in gone else d for i, d in enumerate(shape))
    if not same_sizes(wanted, sizes(node.outputs[0])):
        return False
    kept = before(inner, inner.op_type, inner.inputs, keepdims=1)
    replace(node.outputs[0], shaped(kept, wanted, node.outputs[0]))
    return True


def _gives_back(node: ir.Node, value: ir.Value) -> bool:
    """Let the node's readers read what it was given."""
    if node.op_type == "Identity" and node.outputs[0].is_graph_output() and not renameable(value, node):
        return False
    replace(node.outputs[0], value)
    return True


RULES = {
    "Identity": (without_identity,),
    "Cast": (without_cast,),
    "Transpose": (without_transpose,),
    "Reshape": (with_kept_axes, without_reshape),
    "Squeeze": (without_reshape,),
    "Unsqueeze": (with_kept_axes, without_reshape),
    "Expand": (without_expand,),
    "Pad": (without_padding,),
    "Concat": (without_concat,),
    **dict.fromkeys(BROADCASTING, (without_broadcast,)),
    **dict.fromkeys(("Mul", "Div", "Sub", "Max", "Min", "And", "Or"), (without_broadcast, without_neutral)),
    "Where": (without_where, without_broadcast),
}
