"""Sums along axes and their like, running ones too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import canonical, cast, constant, is_known, library, wide
from phlox.interchange.onnx_reading.operators._table import OPERATORS


def _axes(call: Call, x: Any, axes: Any) -> tuple[int, ...] | None:
    """Along which axes; none named means all, or, where the node says so, none."""
    found = call.axes(axes)
    if not found:
        return () if call.get("noop_with_empty_axes", 0) else None
    return tuple(found)


def _reduction(function: Any, before: Any = None, after: Any = None) -> Any:
    def operator(call: Call, x: Any, axes: Any = None) -> Any:
        along = _axes(call, x, axes)
        y = x if before is None else before(x)
        y = function(library(x))(y, axis=along, keepdims=bool(call.get("keepdims", 1)))
        y = y if after is None else after(library(x), y)
        return cast(np.asarray(y) if is_known(y) else y, x.dtype)

    return operator


def _sum(xp: Any) -> Any:
    return xp.sum


_KINDS = {
    "ReduceSum": _reduction(_sum),
    "ReduceMean": _reduction(lambda xp: xp.mean),
    "ReduceProd": _reduction(lambda xp: xp.prod),
    "ReduceL1": _reduction(_sum, lambda x: library(x).abs(x)),
    "ReduceL2": _reduction(_sum, lambda x: x * x, lambda xp, y: xp.sqrt(y)),
    "ReduceSumSquare": _reduction(_sum, lambda x: x * x),
    "ReduceLogSum": _reduction(_sum, None, lambda xp, y: xp.log(y)),
}
for _kind, _operator in _KINDS.items():
    OPERATORS.on(_kind)(_operator)


@OPERATORS.on("ReduceLogSumExp")
def _log_sum_exp(call: Call, x: Any, axes: Any = None) -> Any:
    along = _axes(call, x, axes)
    keep = bool(call.get("keepdims", 1))
    return jax.nn.logsumexp(wide(constant(x)), along, keepdims=keep).astype(canonical(x.dtype))


def _extreme(name: str, end: int) -> Any:
    def operator(call: Call, x: Any, axes: Any = None) -> Any:
        first = _identity(x.dtype, end)
        along = _axes(call, x, axes)
        reduce = getattr(library(x), name)
        return (
            np.asarray(y)
            if is_known(y := reduce(x, axis=along, keepdims=bool(call.get("keepdims", 1)), initial=first))
            else y
        )

    return operator


def _identity(dtype: Any, end: int) -> Any:
    """The largest number, or the smallest, of a dtype."""
    if np.dtype(dtype).kind == "b":
        return end > 0
    if jnp.issubdtype(dtype, jnp.floating):
        return end * np.inf
    bounds = jnp.iinfo(dtype)
    return int(bounds.max if end > 0 else bounds.min)


OPERATORS.on("ReduceMax")(_extreme("max", -1))
OPERATORS.on("ReduceMin")(_extreme("min", 1))


def _place(name: str) -> Any:
    def operator(call: Call, x: Any) -> Any:
        axis = call.get("axis", 0) % x.ndim
        xp, find = library(x), getattr(library(x), name)
        index = find(x, axis=axis)
        if call.get("select_last_index", 0):
            index = x.shape[axis] - 1 - find(xp.flip(x, axis), axis=axis)
        index = cast(np.asarray(index) if xp is np else index, np.int64)
        return xp.expand_dims(index, axis) if call.get("keepdims", 1) else index

    return operator


OPERATORS.on("ArgMax")(_place("argmax"))
OPERATORS.on("ArgMin")(_place("argmin"))


def _running(name: str, start: int) -> Any:
    def operator(call: Call, x: Any, axis: Any) -> Any:
        along = int(call.known(axis, "the axis").reshape(())) % x.ndim
        xp = library(x)
        y = xp.flip(x, along) if call.get("reverse", 0) else x
        y = getattr(xp, name)(y, along).astype(x.dtype)
        if call.get("exclusive", 0):
            y = _shifted(xp, y, along, start)
        return xp.flip(y, along) if call.get("reverse", 0) else y

    return operator


def _shifted(xp: Any, y: Any, axis: int, start: int) -> Any:
    """One place later, the first without anything before it."""
    first = xp.full_like(xp.take(y, np.array([0]), axis), start)
    rest = xp.take(y, np.arange(y.shape[axis] - 1), axis)
    return xp.concatenate([first, rest], axis)


OPERATORS.on("CumSum")(_running("cumsum", 0))
OPERATORS.on("CumProd")(_running("cumprod", 1))
