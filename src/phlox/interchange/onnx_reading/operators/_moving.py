"""Parts of arrays joined, cut, padded, repeated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, is_symbol, library
from phlox.interchange.onnx_reading._layout import aligned, laid, order_of, ordered
from phlox.interchange.onnx_reading.operators._table import OPERATORS


@OPERATORS.on("Concat", any_order=True)
def _concat(call: Call, *xs: Any) -> Any:
    arrays, order = aligned(xs)
    axis = call.axis(call.get("axis", 1), max(np.ndim(xs[0]), 1))
    return laid(library(*arrays).concatenate(arrays, order.index(axis) if order else axis), order)


@OPERATORS.on("Split", any_order=True)
def _split(call: Call, x: Any, sizes: Any = None) -> Any:
    axis = call.axis(call.get("axis", 0), x.ndim)
    length, given = x.shape[axis], call.axes(sizes, "split")
    if given is None:
        part = -(-length // call.get("num_outputs", call.count))
        given = [min(part, length - i * part) for i in range(call.count)]
    ends = np.cumsum(given)[:-1].tolist()
    order = order_of(x)
    array = ordered(x, order)
    return tuple(laid(y, order) for y in library(array).split(array, ends, order.index(axis)))


@OPERATORS.on("Slice", any_order=True)
def _slice(call: Call, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    """By attributes before version 10, by inputs since."""
    first, last = call.axes(starts, "starts") or [], call.axes(ends, "ends") or []
    along = call.axes(axes) or list(range(len(first)))
    by = [1] * len(first) if steps is None else call.ints(steps, "steps")
    where = [slice(None)] * x.ndim
    order = order_of(x)
    for axis, low, high, step in zip(along, first, last, by, strict=True):
        where[order.index(call.axis(axis, x.ndim))] = _window(low, high, step)
    return laid(_cut(ordered(x, order), where), order)


def _cut(x: Any, where: list[slice]) -> Any:
    """As Python cuts; between ends that are symbols as an array that has them is cut."""
    for axis, cut in enumerate(where):
        if is_symbol(cut.start or 0) or is_symbol(cut.stop or 0):
            stop = x.shape[axis] if cut.stop is None else cut.stop
            x = jax.lax.slice_in_dim(constant(x), cut.start or 0, stop, cut.step or 1, axis)
            where[axis] = slice(None)
    return x[tuple(where)]


_FAR = 2**31 - 1
"""What files write for the end of an axis; a length that is a symbol cannot be compared with it."""


def _window(low: int, high: int, step: int) -> slice:
    """As Python cuts, which is as the standard does."""
    return slice(low, None if step > 0 and not is_symbol(high) and high >= _FAR else high, step)


@OPERATORS.on("Tile")
def _tile(call: Call, x: Any, repeats: Any) -> Any:
    times = call.ints(repeats, "repeats")
    call.sized([n * k for n, k in zip(x.shape, times, strict=True)])
    return library(x).tile(x, times)


_PADS = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@OPERATORS.on("Pad", any_order=True)
def _pad(call: Call, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    """Negative counts cut; the others fill up."""
    counts = call.axes(pads, "pads") or []
    value = call.get("value", 0.0) if value is None else value
    along = list(range(x.ndim)) if axes is None else [call.axis(a, x.ndim) for a in call.ints(axes, "axes")]
    order = order_of(x)
    x = ordered(x, order)
    both = [(0, 0)] * x.ndim
    for i, axis in enumerate(along):
        both[order.index(axis)] = (counts[i], counts[len(along) + i])
    cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(both, x.shape, strict=True))
    widths = [(max(a, 0), max(b, 0)) for a, b in both]
    call.sized([n + a + b for n, (a, b) in zip(x.shape, both, strict=True)])
    mode = _PADS[call.get("mode", "constant")]
    if mode != "constant":
        return laid(jnp.pad(constant(x[cut]), widths, mode=mode), order)
    fill = jnp.asarray(value).astype(x.dtype).reshape(())
    return laid(jnp.pad(constant(x[cut]), widths, constant_values=fill), order)


@OPERATORS.on("Trilu")
def _trilu(call: Call, x: Any, k: Any = None) -> Any:
    shift = 0 if k is None else int(call.known(k, "the diagonal").reshape(()))
    xp = library(x)
    return (xp.triu if call.get("upper", 1) else xp.tril)(x, shift)


@OPERATORS.on("CenterCropPad")
def _center(call: Call, x: Any, shape: Any) -> Any:
    sizes = call.ints(shape, "the shape")
    along = call.axes() or list(range(x.ndim))
    for axis, size in zip(along, sizes, strict=True):
        x = _centred(call, constant(x), call.axis(axis, x.ndim), size)
    return x


def _centred(call: Call, x: Any, axis: int, size: int) -> Any:
    length = x.shape[axis]
    if length >= size:
        start = (length - size) // 2
        return jax.lax.slice_in_dim(x, start, start + size, axis=axis)
    widths = [(0, 0)] * x.ndim
    before = (size - length) // 2
    widths[axis] = (before, size - length - before)
    call.sized([size])
    return jnp.pad(x, widths)


@OPERATORS.on("ReverseSequence")
def _reverse_sequence(call: Call, x: Any, lengths: Any) -> Any:
    batch, time = call.get("batch_axis", 1), call.get("time_axis", 0)
    x = jnp.moveaxis(constant(x), (batch, time), (0, 1))
    return jnp.moveaxis(reversed_rows(x, constant(lengths)), (0, 1), (batch, time))


def reversed_rows(x: Any, lengths: Any) -> Any:
    """``x`` (batch, time, …), each row turned round within its length."""
    steps = jnp.arange(x.shape[1])[None]
    index = jnp.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), 1)


@OPERATORS.on("TensorScatter")
def _tensor_scatter(call: Call, past: Any, update: Any, indices: Any = None) -> Any:
    """New keys or values into a cache, from each row's index on."""
    axis = call.axis(call.get("axis", -2), past.ndim)
    past, update = (jnp.moveaxis(constant(x), axis, 1) for x in (past, update))
    start = jnp.zeros(past.shape[0], jnp.int32) if indices is None else constant(indices)
    steps = start[:, None] + jnp.arange(update.shape[1])[None]
    if call.get("mode", "linear") == "circular":
        steps = steps % past.shape[1]
    rows = jnp.arange(past.shape[0])[:, None]
    return jnp.moveaxis(past.at[rows, steps].set(update), 1, axis)
