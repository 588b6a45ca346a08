"""What does not depend on inputs is computed now, where the file does not grow by it.

A weight that is only turned (transposed, reshaped) is turned once, and keeps its name; one that others read as it is
stays, and is turned by who runs the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from phlox.interchange.onnx.tidy._clean import permutation
from phlox.interchange.onnx.tidy._graph import alone, array, attribute, changed, constant, replace, sizes

SMALL = 1024  # bytes that a file may grow by for one result
FLAGS = 1 << 22  # the same for masks, of which many are one
TURNS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")


def fold(node: ir.Node) -> bool:
    """Compute a node whose inputs are all known."""
    numbers = [array(v) for v in node.inputs]
    if any(n is None for n in numbers) or len(node.outputs) != 1 or node.outputs[0].is_graph_output():
        return False
    if not _is_worth_it(node):
        return False
    with np.errstate(all="ignore"):
        result = np.asarray(EVALUATE[node.op_type](node, *numbers))
    kind, source = node.outputs[0].dtype, node.inputs[0]
    if kind is None:
        return False
    result = result.astype(kind.numpy())
    if node.op_type in TURNS and source is not None and alone(source) and source.graph is node.graph:
        replace(node.outputs[0], changed(source, result, node))
    else:
        replace(node.outputs[0], constant(node, result, node.outputs[0].name or node.op_type))
    return True


def fold_whole_numbers(node: ir.Node) -> bool:
    """The same for masks and positions alone, which tell other rules what they need to know."""
    kind = node.outputs[0].dtype
    return kind is not None and (kind == ir.DataType.BOOL or kind.is_integer()) and fold(node)


def _is_worth_it(node: ir.Node) -> bool:
    """Whether the result is small, or takes the place of a weight that nobody else reads."""
    kind = node.outputs[0].dtype
    if kind is None or (count := _count(node)) is None:
        return False
    size = count * kind.itemsize
    gone = {
        id(v): v.const_value.nbytes for v in node.inputs if v is not None and alone(v) and v.const_value is not None
    }
    most = FLAGS if kind == ir.DataType.BOOL and node.op_type != "Expand" else SMALL
    return size <= max(most, sum(gone.values()))


def _count(node: ir.Node) -> int | None:
    """How many elements the result has."""
    shape = sizes(node.outputs[0])
    if shape is None or not all(isinstance(n, int) for n in shape):
        return None
    return int(np.prod([n for n in shape if isinstance(n, int)]))


def known_shape(node: ir.Node) -> bool:
    """The sizes that a ``Shape`` asks for, where they are numbers."""
    shape, start, end = sizes(node.inputs[0]), attribute(node, "start", 0), attribute(node, "end")
    asked = None if shape is None else shape[start:end]
    if asked is None or not all(isinstance(n, int) for n in asked) or node.outputs[0].is_graph_output():
        return False
    numbers = np.asarray(asked, np.int64)
    replace(node.outputs[0], constant(node, numbers, node.outputs[0].name or "shape"))
    return True


# --- operators in NumPy ---------------------------------------------------------------------------


def _reshape(node: ir.Node, x: np.ndarray, target: np.ndarray) -> np.ndarray:
    copied = [int(n) if n or attribute(node, "allowzero", 0) else x.shape[i] for i, n in enumerate(target)]
    return x.reshape(copied)


def _axes(node: ir.Node, given: tuple[np.ndarray, ...]) -> tuple[int, ...] | None:
    found = tuple(map(int, given[0].reshape(-1))) if given else attribute(node, "axes")
    return None if found is None else tuple(found)


def _squeeze(node: ir.Node, x: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    return np.squeeze(x, _axes(node, axes))


def _unsqueeze(node: ir.Node, x: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, _axes(node, axes) or ())


def _transpose(node: ir.Node, x: np.ndarray) -> np.ndarray:
    return np.transpose(x, permutation(node))


def _slice(node: ir.Node, x: np.ndarray, starts: np.ndarray, ends: np.ndarray, *more: np.ndarray) -> np.ndarray:
    axes = more[0] if more else np.arange(len(starts))
    steps = more[1] if len(more) > 1 else np.ones(len(starts), np.int64)
    along: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop = None if step < 0 and end < -x.shape[axis] else int(end)
        along[int(axis)] = slice(int(start), stop, int(step))
    return x[tuple(along)]


def _divide(node: ir.Node, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "iu":
        return x / y
    away = np.abs(x) // np.where(y == 0, 1, np.abs(y))  # whole numbers round towards 0
    return np.sign(x) * np.sign(y) * away


def _several(f: Callable[..., Any]) -> Callable[..., Any]:
    def run(node: ir.Node, *xs: np.ndarray) -> Any:
        total = xs[0]
        for x in xs[1:]:
            total = f(total, x)
        return total

    return run


def _simple(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, *xs: f(*xs)


EVALUATE: dict[str, Callable[..., Any]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Div": _divide,
    "Cast": lambda node, x: x,
    "Expand": lambda node, x, shape: x * np.ones(shape, x.dtype) if x.dtype != bool else x & np.ones(shape, bool),
    "Concat": lambda node, *xs: np.concatenate(xs, attribute(node, "axis")),
    "Gather": lambda node, x, at: np.take(x, at, attribute(node, "axis", 0)),
    "Range": _simple(lambda start, end, step: np.arange(start.item(), end.item(), step.item())),
    "Max": _several(np.maximum),
    "Min": _several(np.minimum),
    **{op: _simple(f) for op, f in {
        "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt,
        "Exp": np.exp, "Log": np.log, "Reciprocal": lambda x: 1 / x, "Not": np.logical_not, "And": np.logical_and,
        "Or": np.logical_or, "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal,
        "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Where": np.where,
    }.items()},
}  # fmt: skip

EARLY = {**dict.fromkeys(EVALUATE, (fold_whole_numbers,)), "Shape": (known_shape,)}
RULES = {**dict.fromkeys(EVALUATE, (fold,)), "Shape": (known_shape,)}
