"""Sums along axes and their like, running ones too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import cast, constant, is_known, library, wide
from phlox.interchange.onnx_reading._layout import laid, order_of, ordered, plain
from phlox.interchange.onnx_reading.operators._table import OPERATORS


def _axes(call: Call, x: Any, axes: Any) -> tuple[int, ...]:
    """Along which axes; none named means all, or, where the node says so, none."""
    found = call.axes(axes)
    if not found:
        return () if call.get("noop_with_empty_axes", 0) else tuple(range(x.ndim))
    return tuple(call.axis(a, x.ndim) for a in found)


def _reduced(call: Call, x: Any, axes: Any, function: Callable[[Any, tuple[int, ...]], Any]) -> Any:
    """``function(array, axes)`` of the array as it lies, which keeps its axes; they go afterwards where they shall."""
    along, order = _axes(call, x, axes), order_of(x)
    array = ordered(x, order)
    y = function(array, tuple(order.index(a) for a in along))
    y = laid(cast(np.asarray(y) if is_known(y) else y, x.dtype), order)
    if call.get("keepdims", 1):
        return y
    y = plain(y)
    return library(y).squeeze(y, along)


def _reduction(name: str, before: Any = None, after: Any = None) -> Any:
    def operator(call: Call, x: Any, axes: Any = None) -> Any:
        def function(array: Any, along: tuple[int, ...]) -> Any:
            xp = library(array)
            y = array if before is None else before(xp, array)
            y = getattr(xp, name)(y, axis=along, keepdims=True)
            return y if after is None else after(xp, y)

        return _reduced(call, x, axes, function)

    return operator


_KINDS = {
    "ReduceSum": _reduction("sum"),
    "ReduceMean": _reduction("mean"),
    "ReduceProd": _reduction("prod"),
    "ReduceL1": _reduction("sum", lambda xp, x: xp.abs(x)),
    "ReduceL2": _reduction("sum", lambda xp, x: x * x, lambda xp, y: xp.sqrt(y)),
    "ReduceSumSquare": _reduction("sum", lambda xp, x: x * x),
    "ReduceLogSum": _reduction("sum", None, lambda xp, y: xp.log(y)),
}
for _kind, _operator in _KINDS.items():
    OPERATORS.on(_kind, any_order=True)(_operator)


@OPERATORS.on("ReduceLogSumExp", any_order=True)
def _log_sum_exp(call: Call, x: Any, axes: Any = None) -> Any:
    return _reduced(call, x, axes, lambda a, along: jax.nn.logsumexp(wide(constant(a)), along, keepdims=True))


def _extreme(name: str, end: int) -> Any:
    def operator(call: Call, x: Any, axes: Any = None) -> Any:
        first = _identity(x.dtype, end)

        def function(array: Any, along: tuple[int, ...]) -> Any:
            return getattr(library(array), name)(array, axis=along, keepdims=True, initial=first)

        return _reduced(call, x, axes, function)

    return operator


def _identity(dtype: Any, end: int) -> Any:
    """The largest number, or the smallest, of a dtype."""
    if np.dtype(dtype).kind == "b":
        return end > 0
    if jnp.issubdtype(dtype, jnp.floating):
        return end * np.inf
    bounds = jnp.iinfo(dtype)
    return int(bounds.max if end > 0 else bounds.min)


OPERATORS.on("ReduceMax", any_order=True)(_extreme("max", -1))
OPERATORS.on("ReduceMin", any_order=True)(_extreme("min", 1))


def _place(name: str) -> Any:
    def operator(call: Call, x: Any) -> Any:
        axis = call.axis(call.get("axis", 0), x.ndim)
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
        along = call.axis(int(call.known(axis, "the axis").reshape(())), x.ndim)
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
