"""Numbers as integers: what turns a weight turns the integers that it stands for, so that the file has them turned."""

from __future__ import annotations

import onnx_ir as ir

from phlox.interchange.onnx.tidy._clean import permutation
from phlox.interchange.onnx.tidy._graph import (
    alone,
    array,
    attribute,
    before,
    first,
    made_by,
    replace,
    shaped,
    sizes,
)
from phlox.interchange.onnx.tidy._layout import behind, moved, past_pointwise, rebuilt


def turned_before(node: ir.Node) -> bool:
    """A weight of integers is turned before they are made numbers, where nobody else reads it."""
    inner, order = made_by(first(node), "DequantizeLinear"), permutation(node)
    if inner is None or order is None or not alone(inner.outputs[0]) or array(inner.inputs[0]) is None:
        return False
    inputs = [_turned(inner, value, order) for value in inner.inputs]
    axis = attribute(inner, "axis", 1) % len(order)
    attributes = {**inner.attributes, **({"axis": order.index(axis)} if "axis" in inner.attributes else {})}
    y = before(node, "DequantizeLinear", inputs, **attributes)
    replace(node.outputs[0], shaped(y, sizes(node.outputs[0]), node.outputs[0]))
    return True


def _turned(node: ir.Node, value: ir.Value | None, order: tuple[int, ...]) -> ir.Value | None:
    """An array with as many axes as the weight in another order; scales along one axis as they are."""
    shape = sizes(value)
    if value is None or shape is None or len(shape) != len(order):
        return value
    turned = before(node, "Transpose", [value], perm=[*order])
    turned.type, turned.shape = value.type, ir.Shape([shape[axis] for axis in order])
    return turned


def past_rounding(node: ir.Node) -> bool:
    """A transpose moves past rounding: with one scale for all, or with one for each place of an axis."""
    scale = sizes(node.inputs[1])
    if scale == ():
        return past_pointwise(node)
    found = moved(node.inputs[0])
    if found is None or scale is None or len(scale) != 1:
        return False
    x, order = found
    axis = order[attribute(node, "axis", 1) % len(order)]
    return behind(node, rebuilt(node, [x, *node.inputs[1:]], axis=axis), order)


RULES = {
    "Transpose": (turned_before,),
    "QuantizeLinear": (past_rounding,),
    "DequantizeLinear": (past_rounding,),
}
