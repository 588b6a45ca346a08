"""``BatchNormalization`` in inference, of the arithmetic that it is, with the model's own statistics as its inputs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._clean import in_front, permutation
from phlox.interchange.onnx.tidy._graph import (
    alone,
    array,
    attribute,
    before,
    constant,
    first,
    made_by,
    replace,
    shaped,
    sizes,
)
from phlox.interchange.onnx.tidy._norms import affine, divided


def batch_norm(node: ir.Node) -> bool:
    """``(x - mean) / sqrt(var + eps) * scale + bias``, all four known and one number for each of the last axis.

    The operator wants the channels second: it stands between two transposes, which later go where they can.
    """
    c, spread = divided(node)
    centred, shape = made_by(c, "Sub"), sizes(node.outputs[0])
    if centred is None or spread is None or shape is None or len(shape) < 2 or not isinstance(shape[-1], int):
        return False
    x, statistics = centred.inputs[0], (centred.inputs[1], spread[0])
    mean, var = (None if v is None else in_front(v) for v in statistics)
    size = (shape[-1],)
    if x is None or sizes(x) != shape or not all(_is_vector(v, size) for v in (mean, var)):
        return False
    end, scale, bias = affine(node.outputs[0], size)
    if any(v is not None and not _is_vector(v, size) for v in (scale, bias)):
        return False
    place = end.producer()
    assert place is not None
    name = node.outputs[0].name
    scale = constant(place, np.ones(size, np.float32), f"{name}.ones") if scale is None else scale
    bias = constant(place, np.zeros(size, np.float32), f"{name}.zeros") if bias is None else bias
    rank = len(shape)
    if rank > 2:
        x = before(place, "Transpose", [x], perm=channels_second(rank))
        x = shaped(x, (shape[0], shape[-1], *shape[1:-1]), end)
    y = before(place, "BatchNormalization", [x, scale, bias, mean, var], epsilon=spread[1])
    if rank > 2:
        y = before(place, "Transpose", [shaped(y, sizes(x), end)], perm=channels_last(rank))
    replace(end, y)
    return True


def _is_vector(value: ir.Value | None, size: tuple[object, ...]) -> bool:
    if value is None or not value.is_initializer() or value.is_graph_input():
        return False
    return sizes(value) == size and value.dtype == ir.DataType.FLOAT


def channels_second(rank: int) -> list[int]:
    """The order of axes that takes (batch, *space, channels) to (batch, channels, *space)."""
    return [0, rank - 1, *range(1, rank - 1)]


def channels_last(rank: int) -> list[int]:
    """The order of axes that takes (batch, channels, *space) to (batch, *space, channels)."""
    return [0, *range(2, rank), 1]


def back_to_arithmetic(node: ir.Node) -> bool:
    """A batch norm whose first transpose found nothing to cancel with is a product and a sum, transposed afterwards."""
    source = made_by(first(node), "Transpose")
    order = None if source is None else permutation(source)
    if source is None or order is None or not alone(first(node)) or [*order] != channels_second(len(order)):
        return False
    numbers = [array(v) for v in node.inputs[1:]]
    if any(n is None for n in numbers):
        return False
    scale, bias, mean, var = (np.asarray(n, np.float64) for n in numbers)
    factor = scale / np.sqrt(var + attribute(node, "epsilon", 1e-5))
    x, name = first(source), node.outputs[0].name
    by = constant(node, factor.astype(np.float32), f"{name}.factor")
    more = constant(node, (bias - mean * factor).astype(np.float32), f"{name}.offset")
    product = shaped(before(node, "Mul", [x, by]), sizes(x), x)
    total = shaped(before(node, "Add", [product, more]), sizes(x), x)
    replace(node.outputs[0], before(node, "Transpose", [total], perm=[*order]))
    return True


RULES = {"Mul": (batch_norm,), "Div": (batch_norm,)}
LAST = {"BatchNormalization": (back_to_arithmetic,)}
