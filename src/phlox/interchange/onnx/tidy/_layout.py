"""Transposes between channels last and channels second, moved past what does not care until they meet and cancel.

Each rule takes a transpose from before an operation to behind it: two in a row are none where they are inverse.
Attention's transposes stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._batch_norm import channels_last, channels_second
from phlox.interchange.onnx.tidy._clean import BROADCASTING, permutation
from phlox.interchange.onnx.tidy._graph import (
    Sizes,
    array,
    attribute,
    before,
    changed,
    constant,
    first,
    integers,
    made_by,
    replace,
    shaped,
    sizes,
)

Order = tuple[int, ...]  # of each axis of a transpose's result, which of its input it is

POINTWISE = frozenset(
    ["Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "IsInf", "IsNaN"]
    + ["LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus"]
    + ["Softsign", "Sqrt", "Tanh"]
)
REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")


def moved(value: ir.Value | None) -> tuple[ir.Value, Order] | None:
    """What a transpose between the two layouts moves, and how."""
    node = made_by(value, "Transpose")
    order = None if node is None else permutation(node)
    if node is None or order is None or len(order) < 3 or order == tuple(range(len(order))):
        return None
    known = list(order) in (channels_last(len(order)), channels_second(len(order)))
    return (first(node), order) if known else None


def behind(node: ir.Node, y: ir.Value, order: Sequence[int]) -> bool:
    """Let the node's readers read what the new one makes, transposed."""
    out = node.outputs[0]
    shape = sizes(out)
    if shape is not None:
        inner: list[int | str | None] = [None] * len(order)
        for i, axis in enumerate(order):
            inner[axis] = shape[i]
        shaped(y, tuple(inner), out)
    else:
        y.type = out.type
    replace(out, before(node, "Transpose", [y], perm=[*order]))
    return True


def rebuilt(node: ir.Node, inputs: Sequence[ir.Value | None], **changes: object) -> ir.Value:
    """The same operation of other inputs, some attributes changed."""
    attributes = {**node.attributes, **changes}
    return before(node, node.op_type, inputs, **attributes)


# --- elementwise ----------------------------------------------------------------------------------


def past_pointwise(node: ir.Node) -> bool:
    """An operation on each number by itself."""
    found = moved(node.inputs[0])
    return found is not None and behind(node, rebuilt(node, [found[0], *node.inputs[1:]]), found[1])


def past_operands(node: ir.Node) -> bool:
    """An operation on pairs or triples: all transposed alike, constant, or small where they are not."""
    order = next((found[1] for v in node.inputs if (found := moved(v)) is not None), None)
    shape = sizes(node.outputs[0])
    if order is None or shape is None or len(shape) != len(order):
        return False
    ways = [_way(v, order, shape) for v in node.inputs]
    if any(way is None for way in ways):
        return False
    inputs = [way(node) for way in ways if way is not None]
    return behind(node, rebuilt(node, inputs), order)


def _way(value: ir.Value | None, order: Order, shape: Sizes) -> Callable[[ir.Node], ir.Value] | None:
    """How an operand becomes one of the operation before the transpose; None where that would cost more."""
    found, own = moved(value), sizes(value)
    if value is None or own is None:
        return None
    if found is not None and found[1] == order:
        return lambda node: found[0]
    if all(d == 1 for d in own):
        return lambda node: value
    back = [order.index(i) for i in range(len(order))]
    numbers = array(value)
    if numbers is not None:
        full = numbers.reshape((1,) * (len(order) - numbers.ndim) + numbers.shape)
        return lambda node: changed(value, _short(full.transpose(back)), node)
    shrinks = len(own) == len(shape) and any(a == 1 != b for a, b in zip(own, shape, strict=True))
    return (lambda node: before(node, "Transpose", [value], perm=back)) if shrinks else None


def _short(numbers: np.ndarray) -> np.ndarray:
    """Without axes of size 1 in front, which broadcasting adds."""
    while numbers.ndim > 1 and numbers.shape[0] == 1:
        numbers = numbers[0]
    return numbers


# --- along axes -----------------------------------------------------------------------------------


def past_reduction(node: ir.Node) -> bool:
    """A reduction along known axes."""
    found = moved(node.inputs[0])
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "axes")
    if found is None or axes is None:
        return False
    x, order = found
    gone = sorted(order[a] for a in axes)
    inputs = [x] if len(node.inputs) < 2 else [x, constant(node, np.asarray(gone), f"{node.outputs[0].name}.axes")]
    y = rebuilt(node, inputs) if len(inputs) == 2 else rebuilt(node, inputs, axes=gone)
    if attribute(node, "keepdims", 1):
        return behind(node, y, order)
    reduced = {a % len(order) for a in axes}
    kept = [o for i, o in enumerate(order) if i not in reduced]
    return behind(node, y, [sorted(kept).index(o) for o in kept])


def past_axis(node: ir.Node) -> bool:
    """A softmax along one axis."""
    found = moved(node.inputs[0])
    if found is None:
        return False
    x, order = found
    return behind(node, rebuilt(node, [x], axis=order[attribute(node, "axis", -1)]), order)


def past_concat(node: ir.Node) -> bool:
    """Arrays joined, all transposed alike."""
    parts = [moved(v) for v in node.inputs]
    if any(p is None for p in parts) or len({p[1] for p in parts if p is not None}) != 1:
        return False
    order = next(p[1] for p in parts if p is not None)
    y = rebuilt(node, [p[0] for p in parts if p is not None], axis=order[attribute(node, "axis")])
    return behind(node, y, order)


def past_pad(node: ir.Node) -> bool:
    """A pad by known counts along all axes."""
    found, pads = moved(node.inputs[0]), integers(node.inputs[1])
    if found is None or pads is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return False
    (x, order), rank = found, len(found[1])
    back = [order.index(i) for i in range(rank)]
    counts = np.asarray([*(pads[i] for i in back), *(pads[rank + i] for i in back)])
    inputs = [x, constant(node, counts, f"{node.outputs[0].name}.pads"), *node.inputs[2:]]
    return behind(node, rebuilt(node, inputs), order)


def past_slice(node: ir.Node) -> bool:
    """A slice along known axes."""
    found = moved(node.inputs[0])
    if found is None:
        return False
    x, order = found
    given = node.inputs[3] if len(node.inputs) > 3 else None
    starts = sizes(node.inputs[1])
    count = starts[0] if starts else None
    axes = integers(given) if given is not None else tuple(range(count)) if isinstance(count, int) else None
    if axes is None:
        return False
    turned = constant(node, np.asarray([order[a] for a in axes]), f"{node.outputs[0].name}.axes")
    return behind(node, rebuilt(node, [x, *node.inputs[1:3], turned, *node.inputs[4:]]), order)


def past_reshape(node: ir.Node) -> bool:
    """A transpose that only moves axes of size 1 is nothing to a reshape."""
    found = moved(node.inputs[0])
    shape = None if found is None else sizes(found[0])
    target = integers(node.inputs[1])
    if found is None or shape is None or (target is not None and 0 in target):
        return False
    if target is None and None in (sizes(node.outputs[0]) or (None,)):
        return False
    large = [axis for axis in found[1] if shape[axis] != 1]
    if large != sorted(large):
        return False
    node.replace_input_with(0, found[0])
    return True


RULES = {
    **dict.fromkeys(POINTWISE, (past_pointwise,)),
    **dict.fromkeys(BROADCASTING, (past_operands,)),
    **dict.fromkeys(REDUCTIONS, (past_reduction,)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), (past_axis,)),
    "Concat": (past_concat,),
    "Pad": (past_pad,),
    "Slice": (past_slice,),
    "Reshape": (past_reshape,),
}
