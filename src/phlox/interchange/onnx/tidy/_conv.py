"""Convolutions and pools take in what stands beside them: a bias, a padding, a factor."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._graph import (
    alone,
    array,
    attribute,
    before,
    changed,
    first,
    integers,
    made_by,
    number,
    replace,
    shaped,
    sizes,
)
from phlox.interchange.onnx.tidy._layout import moved


def with_bias(node: ir.Node) -> bool:
    """One number a channel added to a convolution without a bias is its bias."""
    for value, bias in (tuple(node.inputs), tuple(reversed(node.inputs))):
        last = moved(value)
        conv = made_by(value if last is None else last[0], "Conv", "ConvTranspose")
        numbers, shape = array(bias), None if conv is None else sizes(conv.outputs[0])
        if conv is None or len(conv.inputs) > 2 or numbers is None or shape is None or bias is None or value is None:
            continue
        if not alone(value) or not alone(conv.outputs[0]) or not isinstance(shape[1], int):
            continue
        axis = len(shape) - 1 if last is not None else 1
        if not _is_by_channel(numbers, shape[1], axis - len(shape)) or sizes(node.outputs[0]) != sizes(value):
            continue
        inputs = [*conv.inputs, changed(bias, numbers.reshape(-1), node)]
        y = shaped(before(node, conv.op_type, inputs, **conv.attributes), shape, node.outputs[0])
        y.producer().name = conv.name  # pyright: ignore[reportOptionalMemberAccess]
        replace(node.outputs[0], y if last is None else before(node, "Transpose", [y], perm=[*last[1]]))
        return True
    return False


def _is_by_channel(numbers: np.ndarray, channels: int, axis: int) -> bool:
    """Whether broadcasting spreads the numbers along the channels' axis (counted from the end) alone."""
    if numbers.size != channels or numbers.ndim < -axis:
        return False
    return numbers.shape[axis] == channels


def with_padding(node: ir.Node) -> bool:
    """A pad by -inf before ``MaxPool``, or by zeros before a convolution, is its padding."""
    layout = moved(node.inputs[0])
    pad = made_by(node.inputs[0] if layout is None else layout[0], "Pad")
    shape = sizes(node.inputs[0])
    if pad is None or shape is None or attribute(pad, "mode", "constant") != "constant" or len(pad.inputs) > 3:
        return False
    pads, value = integers(pad.inputs[1]), number(pad.inputs[2]) if len(pad.inputs) > 2 else 0.0
    if pads is None or min(pads) < 0 or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return False
    if value != (-math.inf if node.op_type == "MaxPool" else 0.0):
        return False
    rank, order = len(shape), range(len(shape)) if layout is None else layout[1]
    low, high = [pads[i] for i in order], [pads[rank + i] for i in order]
    own = [*attribute(node, "pads", (0,) * (2 * rank - 4))]
    if low[:2] + high[:2] != [0] * 4 or (node.op_type == "MaxPool" and any(own)):
        return False
    total = [a + b for a, b in zip(own, low[2:] + high[2:], strict=True)]
    if node.op_type == "MaxPool" and not _below_window(node, total):
        return False
    x = first(pad) if layout is None else before(node, "Transpose", [first(pad)], perm=[*order])
    attributes = {**node.attributes, "pads": total}
    replace(node.outputs[0], before(node, node.op_type, [x, *node.inputs[1:]], **attributes))
    return True


def _below_window(node: ir.Node, pads: list[int]) -> bool:
    """Whether no window lies in the padding alone, which readers refuse."""
    window = attribute(node, "kernel_shape")
    return all(p < k for p, k in zip(pads, [*window, *window], strict=True))


def pooled(node: ir.Node) -> bool:
    """The mean over all space, channels second, is ``GlobalAveragePool``, which readers keep in their own layout."""
    shape = sizes(node.inputs[0])
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "axes")
    near = made_by(node.inputs[0], "Conv", "Relu", "BatchNormalization", "Add", "Mul", "Concat", "Clip")
    if near is None or shape is None or axes is None or len(shape) < 4 or not attribute(node, "keepdims", 1):
        return False
    if sorted(a % len(shape) for a in axes) != list(range(2, len(shape))):
        return False
    replace(node.outputs[0], before(node, "GlobalAveragePool", [first(node)]))
    return True


RULES = {
    "Add": (with_bias,),
    "MaxPool": (with_padding,),
    "Conv": (with_padding,),
    "ReduceMean": (pooled,),
}
