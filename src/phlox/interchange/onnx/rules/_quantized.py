"""Numbers as integers: what stands for a weight, and rounding, by the operators that say so."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import ml_dtypes
import numpy as np

from phlox.interchange._scopes import operations
from phlox.interchange.onnx._build import reshape
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import element

RULES = Rules()

INT4 = np.dtype(ml_dtypes.int4)
_PLAIN, _NEWER = 18, 21  # blocks, numbers of 4 bits, and integers without a zero beside them are of opset 21


def opset_of(jaxpr: Any) -> int:
    """The oldest opset that has forms for the integers of a program."""
    return max((_wanted(operation.equation) for operation in operations(jaxpr)), default=_PLAIN)


def _wanted(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "phlox_round":
        return _PLAIN if len(equation.invars) > 2 else _NEWER
    if name == "phlox_dequantize":
        return _PLAIN if params["bits"] == 8 and params["group"] is None else _NEWER
    return _PLAIN


@RULES.on("phlox_dequantize")
def _dequantize(graph: Graph, step: Step, codes: Value, scale: Value, *zero: Value) -> Value:
    """A scale for each output lies beside an axis; those of groups of rows in blocks of one."""
    if step["bits"] == 4:
        if any(x.name not in graph.store.arrays for x in (codes, *zero)):  # rows of a loop
            return _by_arithmetic(graph, step, codes, scale, *zero)
        codes, zero = _by_four(graph, step, codes), tuple(_by_four(graph, step, z) for z in zero)
    outs, rows = (1, 0) if step["axis"] == -2 else (0, 1)
    if step["group"] is not None:
        y = graph.op("DequantizeLinear", codes, scale, *zero, dtype=scale.dtype, axis=rows, block_size=step["group"])
        return reshape(graph, y, step.shape)
    along: dict[str, Any] = {"axis": len(step.shape) - 1 if outs else 0} if scale.shape != (1, 1) else {}
    scale, zero = _flat(graph, scale), tuple(_flat(graph, z) for z in zero)
    codes = reshape(graph, codes, step.shape)
    return graph.op("DequantizeLinear", codes, scale, *zero, dtype=scale.dtype, **along)


def _flat(graph: Graph, x: Value) -> Value:
    """Without axes of size 1."""
    return reshape(graph, x, tuple(n for n in x.shape if n > 1))


def _by_arithmetic(graph: Graph, step: Step, *xs: Value) -> Value:
    """The plain form, for numbers whose bytes are not known while the file is written."""
    from phlox.compress import DEQUANTIZE  # as few programs have integers

    plain = functools.partial(DEQUANTIZE.reference, **step.params)
    jaxpr = jax.make_jaxpr(plain)(*(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in xs))
    return step.run(graph, jaxpr, xs)[0]


def _by_four(graph: Graph, step: Step, x: Value) -> Value:
    """Numbers of 4 bits one by one, in the file's own type; whole bytes are zeros, the others hold two."""
    held, axis = np.asarray(graph.store.arrays[x.name]), step["axis"]
    if x.dtype == np.int8:
        return _once(graph, f"{x.name}.4bit", lambda: held.astype(INT4))
    size = int(step.shape[-1] if axis == -1 else math.prod(map(int, step.shape[:-1])))
    whole = lambda: _halves(held, size, axis).astype(INT4)  # noqa: E731
    return _once(graph, f"{x.name}.4bit", whole if step["group"] else lambda: whole().reshape(step.shape))


def _once(graph: Graph, name: str, make: Callable[[], np.ndarray]) -> Value:
    """An array of the file that is made of another, once."""
    arrays = graph.store.arrays
    if name not in arrays:
        return graph.store.held(name, make())
    return Value(name, tuple(arrays[name].shape), np.dtype(arrays[name].dtype))


def _halves(both: np.ndarray, size: int, axis: int) -> np.ndarray:
    """The numbers of bytes that hold two, the first in its low half."""
    pair = np.stack([both & 15, both >> 4], axis).astype(np.int8)
    shape = list(both.shape)
    shape[axis] *= 2
    flat = ((pair ^ 8) - 8).reshape(shape)
    return flat.take(range(size), axis)


@RULES.on("phlox_round")
def _round(graph: Graph, step: Step, x: Value, scale: Value, *zero: Value) -> Value:
    """To integers and back; a scale for each place of the first axis, or one for all."""
    int8 = np.dtype(np.int8)
    along: dict[str, Any] = {"axis": 0} if scale.rank else {}
    kind: dict[str, Any] = {} if zero else {"output_dtype": element(int8)}
    codes = graph.op("QuantizeLinear", x, scale, *zero, dtype=int8, **along, **kind)
    return graph.op("DequantizeLinear", codes, scale, *zero, dtype=x.dtype, **along)
