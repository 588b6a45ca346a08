"""Kernels that slide, over channels that are last."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading._layout import kernel, laid, last, ordered, plain
from phlox.interchange.onnx_reading.operators._products import centred
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.nn import functional as F

Pads = list[tuple[int, int]]


def pads(call: Call, size: tuple[int, ...], window: tuple[int, ...], strides: Any, dilations: Any) -> Pads:
    """How many places are added before and behind each axis."""
    mode = call.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        given = call.get("pads") or [0] * (2 * len(window))
        return list(zip(given[: len(window)], given[len(window) :], strict=True))
    if mode == "VALID":
        return [(0, 0)] * len(window)
    return [_same(*axis, mode) for axis in zip(size, window, strides, dilations, strict=True)]


def _same(size: int, window: int, stride: int, dilation: int, mode: str) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def _numbers(rank: int) -> Any:
    """Channels last, and kernels as Phlox has them."""
    axes = "DHW"[-rank:] if rank <= 3 else "ABCDEFG"[:rank]
    return (f"N{axes}C", f"{axes}IO", f"N{axes}C")


def _settings(call: Call, rank: int) -> tuple[Any, Any]:
    """Strides and dilations."""
    strides, dilations = (call.get(n) or [1] * rank for n in ("strides", "dilations"))
    return tuple(strides), tuple(dilations)


@OPERATORS.on("Conv", any_order=True)
def conv(call: Call, x: Any, w: Any, bias: Any = None) -> Any:
    strides, dilations = _settings(call, x.ndim - 2)
    padding = pads(call, x.shape[2:], w.shape[2:], strides, dilations)
    if x.ndim > 5 or any(n < 0 for pair in padding for n in pair):
        y = convolved(call, constant(plain(x)), constant(plain(w)))
        return y if bias is None else y + plain(bias).reshape(-1, *[1] * (x.ndim - 2))
    array, weight = ordered(x, last(x.ndim)), ordered(w, kernel(w.ndim))
    y = F.conv(
        constant(array), constant(weight), None if bias is None else constant(plain(bias)),
        stride=strides, padding=padding, dilation=dilations, groups=call.get("group", 1),
    )  # fmt: skip
    return laid(y, last(x.ndim))


def convolved(call: Call, x: Any, w: Any, dtype: Any = None) -> Any:
    """The cross-correlation of a node's attributes, in any dtype, channels as the file has them."""
    rank = x.ndim - 2
    strides, dilations = _settings(call, rank)
    padding = pads(call, x.shape[2:], w.shape[2:], strides, dilations)
    y = jax.lax.conv_general_dilated(
        ordered(x, last(x.ndim)), ordered(w, kernel(w.ndim)), strides, padding, rhs_dilation=dilations,
        feature_group_count=call.get("group", 1), dimension_numbers=_numbers(rank), preferred_element_type=dtype,
    )  # fmt: skip
    return plain(laid(y, last(x.ndim)))


@OPERATORS.on("ConvInteger")
def _conv_integer(call: Call, x: Any, w: Any, zx: Any = None, zw: Any = None) -> Any:
    w = centred(w, None, 0) - (0 if zw is None else _by_channel(zw, w.ndim))
    return convolved(call, centred(x, zx, 0), w)


def _by_channel(zero: Any, rank: int) -> Any:
    zero = constant(zero).astype(jnp.int32)
    return zero.reshape(-1, *[1] * (rank - 1)) if zero.ndim else zero


@OPERATORS.on("ConvTranspose", any_order=True)
def _conv_transpose(call: Call, x: Any, w: Any, bias: Any = None) -> Any:
    """Each number of the input adds its kernel to the result."""
    rank = x.ndim - 2
    strides, dilations = _settings(call, rank)
    extra = call.get("output_padding") or [0] * rank
    spans = [(k - 1) * d for k, d in zip(w.shape[2:], dilations, strict=True)]
    cut = _transposed_pads(call, x.shape[2:], spans, strides, extra)
    array, weight = ordered(x, last(x.ndim)), ordered(w, kernel(w.ndim, transposed=True))
    groups, least = call.get("group", 1), [max(pair) for pair in zip(strides, dilations, strict=True)]
    if rank <= 3 and min(map(min, cut)) >= 0 and all(e < n for e, n in zip(extra, least, strict=True)):
        own = {"stride": strides, "padding": cut, "output_padding": extra, "dilation": dilations, "groups": groups}
        y = F.conv_transpose(constant(array), constant(weight), **own)
    else:
        padding = [(s - a, s - b + e) for s, (a, b), e in zip(spans, cut, extra, strict=True)]
        y = _spread(constant(array), constant(weight), strides, dilations, padding, groups)
    return laid(y if bias is None else y + constant(plain(bias)), last(x.ndim))


def _spread(x: Any, w: Any, strides: Any, dilations: Any, padding: Pads, groups: int) -> Any:
    """The input spread out by the strides, and convolved with the turned kernel; where less than nothing is cut."""
    rank = x.ndim - 2
    w = jnp.flip(w, range(rank))  # (space, in, out / groups) to (space, in / groups, out)
    w = w.reshape(*w.shape[:rank], groups, -1, w.shape[-1])
    w = jnp.moveaxis(w, rank, -2).reshape(*w.shape[:rank], w.shape[rank + 1], -1)
    return jax.lax.conv_general_dilated(
        x, w, [1] * rank, padding, strides, dilations, feature_group_count=groups, dimension_numbers=_numbers(rank)
    )


def _transposed_pads(call: Call, size: Any, spans: Any, strides: Any, extra: Any) -> Pads:
    """What is cut off the result, from its size where that is given."""
    wanted = call.get("output_shape")
    mode = call.get("auto_pad", "NOTSET")
    if wanted is None and mode in ("NOTSET", "VALID"):
        return pads(call, size, tuple(spans), strides, strides)
    wanted = [n * s for n, s in zip(size, strides, strict=True)] if wanted is None else wanted[-len(size) :]
    totals = [(n - 1) * s + e + k + 1 - w for n, s, e, k, w in zip(size, strides, extra, spans, wanted, strict=True)]
    halves = [(t // 2, t - t // 2) for t in totals]
    return halves if mode == "SAME_UPPER" else [(b, a) for a, b in halves]


@OPERATORS.on("DeformConv")
def _deform_conv(call: Call, x: Any, w: Any, offset: Any, bias: Any = None, mask: Any = None) -> Any:
    """A kernel whose every tap is moved by an offset of its own, read between pixels; in two dimensions."""
    if x.ndim != 4:
        raise call.refusal("two axes of space", f"{x.ndim - 2}", "reshape to two")
    x, w, offset = constant(x), constant(w), constant(offset)
    groups, parts = call.get("group", 1), call.get("offset_group", 1)
    taps = w.shape[2] * w.shape[3]
    b, c, out = x.shape[0], x.shape[1], offset.shape[2:]
    where = _tap_places(call, w.shape[2:], out)
    moved = offset.reshape(b, parts, taps, 2, *out) + where[None, None].astype(offset.dtype)
    read = jax.vmap(jax.vmap(_between))(x.reshape(b, parts, c // parts, *x.shape[2:]), moved)
    if mask is not None:
        read = read * constant(mask).reshape(b, parts, 1, taps, *out)
    read = read.reshape(b, groups, c // groups, taps, *out)
    kernel = w.reshape(groups, -1, c // groups, taps)
    y = jnp.einsum("bgcthw,goct->bgohw", read, kernel).reshape(b, -1, *out)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _tap_places(call: Call, kernel: Any, out: Any) -> Any:
    """Row and column of every tap at every place of the result: (taps, 2, height, width)."""
    strides, dilations = (call.get(n) or [1, 1] for n in ("strides", "dilations"))
    given = call.get("pads") or [0] * 4
    rows, columns = (
        np.arange(n)[None, :] * s - p + (np.arange(k) * d)[:, None]
        for n, s, p, k, d in zip(out, strides, given, kernel, dilations, strict=False)
    )
    full = (*kernel, *out)
    places = [np.broadcast_to(rows[:, None, :, None], full), np.broadcast_to(columns[None, :, None, :], full)]
    return np.stack([p.reshape(-1, *out) for p in places], 1)


def _between(x: Any, places: Any) -> Any:
    """Channels (c, h, w) read at places (taps, 2, …), linearly, zero outside."""
    row, column = places[:, 0], places[:, 1]
    top, left = jnp.floor(row), jnp.floor(column)
    total = jnp.zeros((), x.dtype)
    for i in (0, 1):
        for j in (0, 1):
            r, c = top + i, left + j
            share = (1 - jnp.abs(row - r)) * (1 - jnp.abs(column - c))
            inside = (r >= 0) & (r < x.shape[1]) & (c >= 0) & (c < x.shape[2])
            r, c = (jnp.clip(a, 0, n - 1).astype(int) for a, n in ((r, x.shape[1]), (c, x.shape[2])))
            total = total + x[:, r, c] * jnp.where(inside, share, 0)
    return total
