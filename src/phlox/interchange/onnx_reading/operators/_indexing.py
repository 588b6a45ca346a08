"""By index: gathered, scattered, sorted, found."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import canonical, constant, is_symbol, library
from phlox.interchange.onnx_reading.operators._table import OPERATORS


def _inside(index: Any, length: int) -> Any:
    """Indices from the end as ones from the start."""
    end = jnp.asarray(length).astype(index.dtype) if is_symbol(length) else np.asarray(length, index.dtype)
    return library(index, end).where(index < 0, index + end, index)


@OPERATORS.on("Gather")
def _gather(call: Call, x: Any, index: Any) -> Any:
    axis = call.get("axis", 0)
    if library(x, index) is np:
        return np.take(x, index, axis)
    return jnp.take(constant(x), _inside(constant(index), x.shape[axis]), axis, mode="clip")


@OPERATORS.on("GatherElements")
def _gather_elements(call: Call, x: Any, index: Any) -> Any:
    axis = call.axis(call.get("axis", 0), x.ndim)
    index = _inside(constant(index), x.shape[axis])
    return constant(x)[_places(index, axis)]


def _places(index: Any, axis: int) -> tuple[Any, ...]:
    """Each element's own place, but along one axis that of the index."""
    own = jnp.meshgrid(*map(jnp.arange, index.shape), indexing="ij", sparse=True)
    return tuple(index if a == axis else own[a] for a in range(index.ndim))


@OPERATORS.on("GatherND")
def _gather_nd(call: Call, x: Any, index: Any) -> Any:
    batch = call.get("batch_dims", 0)
    function = _picked
    for _ in range(batch):
        function = jax.vmap(function)
    return function(constant(x), constant(index))


def _picked(x: Any, index: Any) -> Any:
    return x[_columns(x, index)]


def _columns(x: Any, index: Any) -> tuple[Any, ...]:
    return tuple(_inside(index[..., i], x.shape[i]) for i in range(index.shape[-1]))


def _put(where: Any, updates: Any, how: str) -> Any:
    changes = {"none": where.set, "add": where.add, "mul": where.multiply, "max": where.max, "min": where.min}
    return changes[how](updates)


@OPERATORS.on("ScatterElements", "Scatter")
def _scatter_elements(call: Call, x: Any, index: Any, updates: Any) -> Any:
    axis = call.axis(call.get("axis", 0), x.ndim)
    places = _places(_inside(constant(index), x.shape[axis]), axis)
    return _put(constant(x).at[places], constant(updates), call.get("reduction", "none"))


@OPERATORS.on("ScatterND")
def _scatter_nd(call: Call, x: Any, index: Any, updates: Any) -> Any:
    if library(x, index, updates) is np and call.get("reduction", "none") == "none":
        y = np.array(x)
        y[tuple(np.moveaxis(index, -1, 0))] = updates
        return y
    x, index = constant(x), constant(index)
    return _put(x.at[_columns(x, index)], constant(updates), call.get("reduction", "none"))


@OPERATORS.on("OneHot")
def _one_hot(call: Call, index: Any, depth: Any, values: Any) -> Any:
    count = int(call.known(depth, "the depth").reshape(()))
    axis = call.get("axis", -1)
    call.sized([*index.shape, count])
    index = constant(index)
    hit = jnp.expand_dims(_inside(index, count), axis) == _along(count, index.ndim + 1, axis, index.dtype)
    return jnp.where(hit, values[1], values[0])


def _along(count: int, rank: int, axis: int, dtype: Any) -> Any:
    shape = [1] * rank
    shape[axis] = count
    return jnp.arange(count).astype(dtype).reshape(shape)


@OPERATORS.on("TopK")
def _top_k(call: Call, x: Any, k: Any = None) -> Any:
    """The k largest or smallest, the first of equals first."""
    axis = call.axis(call.get("axis", -1), x.ndim)
    count = call["k"] if k is None else int(call.known(k, "how many").reshape(()))
    x = constant(x)
    order = jnp.argsort(x, axis, stable=True, descending=bool(call.get("largest", 1)))
    index = jax.lax.slice_in_dim(order, 0, count, axis=axis)
    return jnp.take_along_axis(x, index, axis), index.astype(canonical(np.int64))


@OPERATORS.on("NonZero")
def _non_zero(call: Call, x: Any) -> Any:
    return np.stack(np.nonzero(call.known(x, "an array to look for zeros in"))).astype(np.int64)


@OPERATORS.on("Compress")
def _compress(call: Call, x: Any, which: Any) -> Any:
    flags = call.known(which, "the choice").astype(bool)
    index = np.flatnonzero(flags)
    if "axis" in call.attributes:
        return library(x).take(x, index, call["axis"])
    return x.reshape(-1)[index]


@OPERATORS.on("Unique")
def _unique(call: Call, x: Any) -> Any:
    """Of known values alone: how many there are decides shapes."""
    found = call.known(x, "an array of which each value is kept once")
    axis = call.get("axis")
    if axis is None:
        found, axis = found.reshape(-1), 0
    _, first, inverse, counts = np.unique(
        found, return_index=True, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    order = np.arange(len(first)) if call.get("sorted", 1) else np.argsort(first)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    values = np.take(found, first[order], axis)
    return values, *(a.astype(np.int64) for a in (first[order], back[inverse.reshape(-1)], counts[order]))
