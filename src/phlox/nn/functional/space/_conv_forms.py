"""Convolutions in plain JAX: XLA's own, a matrix product, or a sum over window positions, whichever it runs fastest."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.nn.functional._numeric import beside
from phlox.nn.functional.kernels._kernels import whole_wanted
from phlox.nn.functional.space._padding import pad_spatial
from phlox.nn.functional.space._window import Window

_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}

# Beyond this many window positions a sum over them compiles slowly, and XLA's own kernel takes over.
_MOST_TAPS = 64


def convolve(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array:
    """The convolution of checked operands."""
    if not whole_wanted() and groups == 1 and set(window.size) == {1} and not any(map(any, window.padding)):
        return window.at(x, (0,) * window.rank) @ weight.reshape(weight.shape[-2:])
    if groups > 1 and _sums_taps(window):
        return _gather_taps(x, weight, window, groups)
    return lax.conv_general_dilated(
        x,
        weight,
        window.stride,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=_LAYOUT[window.rank],
        feature_group_count=groups,
    )


def transpose(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array:
    """The transposed convolution of checked operands; the window is that over the output."""
    if groups > 1 and _sums_taps(window):
        return _scatter_taps(x, weight, window, groups)
    if window.abuts and groups == 1 and not whole_wanted():
        return _tile(x, weight)
    return _dilated(x, weight, window, groups)


def _sums_taps(window: Window) -> bool:
    """Whether to sum over window positions: where XLA's grouped kernels are 10 to 50 times slower (its CPU ones)."""
    return not whole_wanted() and jax.default_backend() == "cpu" and int(np.prod(window.size)) <= _MOST_TAPS


def _sum_dtype(dtype: Any) -> Any:
    return jnp.promote_types(dtype, jnp.float32)


def _mix(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiply channels by one window position's weight: (..., groups, in) × (groups, in, out), in float32 at least."""
    dtype = _sum_dtype(x.dtype)
    if weight.shape[1] == 1:
        return x.astype(dtype) * beside(weight[:, 0].astype(dtype), x.ndim)
    return jnp.einsum("...gi,gio->...go", x.astype(dtype), weight.astype(dtype))


@functools.partial(jax.jit, static_argnames=("window", "groups"), inline=True)
def _gather_taps(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array:
    """A grouped convolution as a sum over window positions of products that XLA vectorises."""
    x, window = pad_spatial(x, window.padding, "zeros", "conv"), window.inside()
    channels, out = weight.shape[-2:]
    x = x.reshape(*x.shape[:-1], groups, channels)
    y: Any = 0
    for offsets in window.offsets():
        tap = weight[offsets].reshape(channels, groups, out // groups).swapaxes(0, 1)
        y = y + _mix(window.at(x, offsets), tap)
    return y.reshape(*y.shape[:-2], out).astype(x.dtype)


def _tile(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Stride equal to the kernel: the kernels lie side by side, so one matrix product writes them all."""
    *size, _, out = weight.shape
    rank = len(size)
    y = x @ jnp.moveaxis(weight, -2, 0).reshape(x.shape[-1], -1)
    y = y.reshape(*x.shape[:-1], *size, out)
    order = [0, *(a for i in range(rank) for a in (1 + i, 1 + rank + i)), 2 * rank + 1]
    return y.transpose(order).reshape(x.shape[0], *(n * k for n, k in zip(x.shape[1:-1], size, strict=True)), out)


def _dilated(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array:
    """XLA's convolution of the spread input with the flipped kernel."""
    rank, (channels, out) = window.rank, weight.shape[-2:]
    weight = jnp.flip(weight, tuple(range(rank))).reshape(*window.size, groups, channels // groups, out)
    weight = jnp.moveaxis(weight, rank, rank + 1).reshape(*window.size, channels // groups, groups * out)
    return lax.conv_general_dilated(
        x,
        weight,
        (1,) * rank,
        [(e - 1 - lo, e - 1 - hi) for e, (lo, hi) in zip(window.span, window.padding, strict=True)],
        lhs_dilation=window.stride,
        rhs_dilation=window.dilation,
        dimension_numbers=_LAYOUT[rank],
        feature_group_count=groups,
    )


@functools.partial(jax.jit, static_argnames=("window", "groups"), inline=True)
def _scatter_taps(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array:
    """A grouped transpose as a sum over window positions, each spread to its place in the output."""
    channels, out = weight.shape[-2:]
    xg = x.reshape(*x.shape[:-1], groups, channels // groups)
    y: Any = 0
    for offsets in window.offsets():
        z = _mix(xg, weight[offsets].reshape(groups, channels // groups, out))
        z = z.reshape(*x.shape[:-1], groups * out)
        place = [
            (k * d - lo, e - 1 - k * d - hi, s - 1)
            for k, d, e, s, (lo, hi) in zip(
                offsets, window.dilation, window.span, window.stride, window.padding, strict=True
            )
        ]
        y = y + lax.pad(z, jnp.zeros((), z.dtype), [(0, 0, 0), *place, (0, 0, 0)])
    return y.astype(x.dtype)
