"""Windows that slide."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import canonical, constant
from phlox.interchange.onnx_reading._layout import laid, last, order_of, ordered, plain
from phlox.interchange.onnx_reading.operators._convolutions import Pads, pads
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.nn import functional as F


class Windows:
    """Where a pooling node's windows are, those that begin inside but end outside too where it says so."""

    def __init__(self, call: Call, size: tuple[int, ...]):
        rank = len(size)
        self.kernel = tuple(call["kernel_shape"])
        self.strides = tuple(call.get("strides") or [1] * rank)
        self.dilations = tuple(call.get("dilations") or [1] * rank)
        self.pads = pads(call, size, self.kernel, self.strides, self.dilations)
        self.filled = self._filled(size) if call.get("ceil_mode", 0) else self.pads

    def _filled(self, size: tuple[int, ...]) -> Pads:
        """Pads with what the last window needs beyond them."""
        found = []
        for n, k, s, d, (a, b) in zip(size, self.kernel, self.strides, self.dilations, self.pads, strict=True):
            span = (k - 1) * d + 1
            count = -(-(n + a + b - span) // s) + 1
            count -= (count - 1) * s >= n + a
            found.append((a, max(b, (count - 1) * s + span - n - a)))
        return found

    @property
    def small(self) -> bool:
        """Whether no window lies in pads alone, and there are one to three axes, as Phlox's own pools want it."""
        spans = [(k - 1) * d for k, d in zip(self.kernel, self.dilations, strict=True)]
        return len(spans) <= 3 and all(0 <= n <= s for pair, s in zip(self.filled, spans, strict=True) for n in pair)

    def reduce(self, x: Any, first: Any, function: Any) -> Any:
        """Every window's numbers folded into one; channels last."""
        widths = [(0, 0), *self.filled, (0, 0)]
        return jax.lax.reduce_window(
            x, np.asarray(first, x.dtype), function, (1, *self.kernel, 1), (1, *self.strides, 1), widths,
            window_dilation=(1, *self.dilations, 1),
        )  # fmt: skip


def _lowest(dtype: Any) -> Any:
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else int(jnp.iinfo(dtype).min)


@OPERATORS.on("MaxPool", any_order=True)
def _max_pool(call: Call, x: Any) -> Any:
    windows = Windows(call, x.shape[2:])
    array = constant(ordered(x, last(x.ndim)))
    if windows.small:
        own = {"stride": windows.strides, "padding": windows.filled, "dilation": windows.dilations}
        y = F.max_pool(array, windows.kernel, **own)
    else:
        y = windows.reduce(array, _lowest(array.dtype), jax.lax.max)
    y = laid(y, last(x.ndim))
    return (y, _places(call, constant(plain(x)), windows)) if call.wants(1) else y


def _places(call: Call, x: Any, windows: Windows) -> Any:
    """The place of each maximum in the flat array, the first of equals."""
    size = x.shape[2:]
    order = "C" if not call.get("storage_order", 0) else "F"
    flat = np.arange(np.prod(size)).reshape(size, order=order)
    taps = _taps(x, _lowest(x.dtype), windows)
    index = _taps(jnp.broadcast_to(jnp.asarray(flat), (1, 1, *size)), 0, windows)
    best = jnp.argmax(taps, 0)
    found = jnp.take_along_axis(jnp.broadcast_to(index, taps.shape), best[None], 0)[0]
    start = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(size)) * np.prod(size)
    return (found + start).astype(canonical(np.int64))


def _taps(x: Any, fill: Any, windows: Windows) -> Any:
    """Each place of the window on its own: (taps, batch, channels, …)."""
    x = jnp.pad(x, [(0, 0), (0, 0), *windows.filled], constant_values=fill)
    spans = [(k - 1) * d for k, d in zip(windows.kernel, windows.dilations, strict=True)]
    counts = [(n - s - 1) // step + 1 for n, s, step in zip(x.shape[2:], spans, windows.strides, strict=True)]
    found = []
    for tap in np.ndindex(*windows.kernel):
        starts = [t * d for t, d in zip(tap, windows.dilations, strict=True)]
        cut = [slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, windows.strides, strict=True)]
        found.append(x[(slice(None), slice(None), *cut)])
    return jnp.stack(found)


@OPERATORS.on("AveragePool", any_order=True)
def _average_pool(call: Call, x: Any) -> Any:
    windows = Windows(call, x.shape[2:])
    array = constant(ordered(x, last(x.ndim)))
    total = windows.reduce(array, 0, jax.lax.add)
    return laid(total / _counted(call, windows, x.shape[2:], array.dtype), last(x.ndim))


def _counted(call: Call, windows: Windows, size: tuple[int, ...], dtype: Any) -> np.ndarray:
    """How many numbers each window has, those of the array or of its pads too: (1, …, 1)."""
    total = np.ones((1,) * (len(size) + 2), dtype)
    for i, n in enumerate(size):
        (low, high), k, d = windows.pads[i], windows.kernel[i], windows.dilations[i]
        low, high = (low, high) if call.get("count_include_pad", 0) else (0, 0)
        reach = n + sum(windows.filled[i]) - (k - 1) * d
        taps = np.arange(0, reach, windows.strides[i])[:, None] - windows.filled[i][0] + np.arange(k) * d
        count = ((taps >= -low) & (taps < n + high)).sum(1)
        total = total * np.expand_dims(count, tuple(a for a in range(total.ndim) if a != i + 1))
    return total.astype(dtype)


@OPERATORS.on("LpPool", any_order=True)
def _lp_pool(call: Call, x: Any) -> Any:
    p = call.get("p", 2)
    array = constant(ordered(x, last(x.ndim)))
    total = Windows(call, x.shape[2:]).reduce(jnp.abs(array) ** p, 0, jax.lax.add)
    return laid(total ** np.asarray(1 / p, x.dtype), last(x.ndim))


def _over_space(function: Any) -> Any:
    def operator(call: Call, x: Any) -> Any:
        order = order_of(x)
        space = tuple(i for i, axis in enumerate(order) if axis > 1)
        return laid(function(call, constant(ordered(x, order)), space), order)

    return operator


def _norm_over(call: Call, x: Any, space: tuple[int, ...]) -> Any:
    p = call.get("p", 2)
    return jnp.sum(jnp.abs(x) ** p, space, keepdims=True) ** np.asarray(1 / p, x.dtype)


_GLOBAL = {
    "GlobalAveragePool": lambda call, x, space: jnp.mean(x, space, keepdims=True),
    "GlobalMaxPool": lambda call, x, space: jnp.max(x, space, keepdims=True),
    "GlobalLpPool": _norm_over,
}
for _kind, _function in _GLOBAL.items():
    OPERATORS.on(_kind, any_order=True)(_over_space(_function))


@OPERATORS.on("MaxUnpool")
def _max_unpool(call: Call, x: Any, index: Any, shape: Any = None) -> Any:
    rank = x.ndim - 2
    strides, given = call.get("strides") or [1] * rank, call.get("pads") or [0] * (2 * rank)
    own = [
        (n - 1) * s + k - a - b
        for n, s, k, a, b in zip(x.shape[2:], strides, call["kernel_shape"], given[:rank], given[rank:], strict=True)
    ]
    size = call.sized([*x.shape[:2], *own])
    full = size if shape is None else call.sized(call.ints(shape, "the shape"))
    flat = jnp.zeros(int(np.prod(size)), x.dtype).at[constant(index).reshape(-1)].set(constant(x).reshape(-1))
    return jnp.pad(flat.reshape(size), [(0, n - m) for n, m in zip(full, size, strict=True)])


@OPERATORS.on("MaxRoiPool")
def _max_roi_pool(call: Call, x: Any, rois: Any) -> Any:
    """The largest number in each cell of a grid over each region; (batch index, x1, y1, x2, y2)."""
    x, rois = constant(x), constant(rois)
    scale = np.asarray(call.get("spatial_scale", 1.0), x.dtype)
    height, width = call["pooled_shape"]

    def one(roi: Any) -> Any:
        left, top, right, bottom = jnp.round(roi[1:] * scale)
        rows = _cells(top, bottom, height, x.shape[2])
        columns = _cells(left, right, width, x.shape[3])
        inside = rows[:, None, :, None] & columns[None, :, None, :]
        found = jnp.where(inside, x[roi[0].astype(int)][:, None, None], -jnp.inf).max((-2, -1))
        return jnp.where(jnp.isfinite(found), found, 0)

    return jax.vmap(one)(rois)


def _cells(low: Any, high: Any, count: int, size: int) -> Any:
    """Which pixels are in which cell: (cells, pixels)."""
    step = jnp.maximum(high - low + 1, 1) / count
    first = jnp.clip(jnp.floor(jnp.arange(count) * step) + low, 0, size)
    last = jnp.clip(jnp.ceil((jnp.arange(count) + 1) * step) + low, 0, size)
    pixels = jnp.arange(size)[None]
    return (pixels >= first[:, None]) & (pixels < last[:, None])
