r"""Products of integers: $x W ≈ s_x s_w (q_x - z_x)\, q_w$, summed in 32 bits, with scales at the end.

What comes in is rounded with a scale of its own: of each token (each example of a convolution), found anew in every
call, or one for all, with a zero, which was measured before. The gradient is that of the product with floats: rounding
counts as if it were not there, and beyond the measured range nothing comes back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from phlox.compress._integers import Integers, numbers, unpacked
from phlox.compress._scheme import Scheme
from phlox.compress.layers._product_kernel import product_kernel
from phlox.nn import Window, pad_spatial, plan_window
from phlox.nn import functional as F

INPUT = Scheme(8, symmetric=False)
_TOKEN = Scheme(8)
_FEATURES = Window((), (), (), (), ())  # no space: rows alone


class Entry(NamedTuple):
    """How all that comes in is rounded."""

    scale: Any
    zero: Any


class Held(NamedTuple):
    """The arrays of a layer with integer products."""

    given: Integers
    entry: Entry | None
    """None where scales are found in the call."""


def rounded_input(x: jax.Array, entry: Entry | None, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array, Any]:
    """Integers of what comes in, their scale, and their zero; ``axes`` are those that share a scale found here."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if entry is None:
        scale = jnp.abs(wide).max(axes, keepdims=True) / _TOKEN.most
        scale = jnp.where(scale == 0, 1, scale)  # NaN stays, and reaches what comes out
        return jnp.clip(jnp.round(wide / scale), _TOKEN.least, _TOKEN.most).astype(jnp.int8), scale, None
    zero = entry.zero.astype(wide.dtype)  # once, where XLA would do it for each number
    codes = jnp.clip(jnp.round(wide / entry.scale) + zero, INPUT.least, INPUT.most)
    return codes.astype(jnp.int8), entry.scale, entry.zero


def dense(x: jax.Array, held: Held, bias: Any, *, bits: int) -> jax.Array:
    """A map of features by integers: x (..., in) to (..., out), in the dtype of x."""
    exact = lambda x, held, bias: _dense(x, held, bias, bits)  # noqa: E731
    return _through(exact, lambda x, w: F.dense(x, w), bits, ())(x, held, bias)


def _dense(x: jax.Array, held: Held, bias: Any, bits: int) -> jax.Array:
    flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    entered = rounded_input(flat, held.entry, (-1,))
    y = _finished(flat, entered, _codes(held.given, bits, x.shape[-1]), held.given.scale[0], bias, _FEATURES)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def conv(
    x: jax.Array, held: Held, bias: Any, *, bits: int, shape: tuple[int, ...], groups: int, padding_mode: str,
    **options: Any,
) -> jax.Array:  # fmt: skip
    """A convolution by integers; shape (*kernel, in / groups, out), options as of ``F.conv``."""
    exact = lambda x, held, bias: _conv(x, held, bias, bits, shape, groups, padding_mode, **options)  # noqa: E731
    plain = lambda x, w: F.conv(x, w, groups=groups, padding_mode=padding_mode, **options)  # noqa: E731
    return _through(exact, plain, bits, shape)(x, held, bias)


def _conv(
    x: jax.Array, held: Held, bias: Any, bits: int, shape: tuple[int, ...], groups: int, padding_mode: str,
    **options: Any,
) -> jax.Array:  # fmt: skip
    where = "px.compress"
    window = plan_window(x, shape[:-2], options["stride"], options["padding"], options["dilation"], where)
    codes, scale, zero = rounded_input(x, held.entry, tuple(range(1, x.ndim)))
    weight = _codes(held.given, bits, math.prod(shape[:-1]))
    if padding_mode != "zeros":
        codes, window = pad_spatial(codes, window.padding, padding_mode, where), window.inside()
    return _finished(x, (codes, scale, zero), weight, held.given.scale[0], bias, window, groups)


def _finished(
    x: jax.Array, entered: tuple[jax.Array, jax.Array, Any], weight: jax.Array, column: jax.Array, bias: Any,
    window: Window, groups: int = 1,
) -> jax.Array:  # fmt: skip
    """Sums of integers times both scales, and the bias, in the dtype of x; by the kernel where there is one."""
    codes, scale, zero = entered
    row, column = (scale.reshape(-1), column) if zero is None else (None, scale * column)
    if groups == 1:
        y = _by_kernel(x, codes, weight, row, column, zero, bias, window)
        if y is not None:
            return y
    total = _sums(codes, weight, zero, window, groups)
    scale = column if row is None else row.reshape(-1, *[1] * (total.ndim - 1)) * column
    y = (total.astype(scale.dtype) * scale).astype(x.dtype)
    return y if bias is None else y + bias.astype(y.dtype)


def _sums(codes: jax.Array, weight: jax.Array, zero: Any, window: Window, groups: int = 1) -> jax.Array:
    """The sums of integers over a window, or over features where it has no axes; int32."""
    edge = jnp.zeros((), jnp.int8) if zero is None else zero.reshape(())
    if window.rank:
        codes = lax.pad(codes, edge, [(0, 0, 0), *((low, high, 0) for low, high in window.padding), (0, 0, 0)])
    kernel = weight.reshape(*window.size, -1, weight.shape[-1])
    total = _windows(codes, kernel, window.inside(), groups)
    if zero is None:
        return total
    # the sums of columns as a product, which XLA does faster than a sum
    return total - edge.astype(jnp.int32) * _contracted(jnp.ones((1, weight.shape[0]), jnp.int8), weight)[0]


def _windows(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array:
    """The sums over a window that slides, a product for each position in it; int32."""
    parts = (_mixed(window.at(x, offsets), weight[offsets], groups) for offsets in window.offsets())
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _mixed(x: jax.Array, weight: jax.Array, groups: int) -> jax.Array:
    """Channels of a group times a matrix: x (..., in), weight (in / groups, out) to (..., out), int32."""
    lead, (ins, outs) = x.shape[:-1], weight.shape
    if groups == 1:
        return _contracted(x.reshape(math.prod(lead), ins), weight).reshape(*lead, outs)
    if ins == 1:
        return jnp.repeat(x, outs // groups, -1).astype(jnp.int32) * weight[0].astype(jnp.int32)
    apart = x.reshape(math.prod(lead), groups, ins)
    by_group = weight.reshape(ins, groups, outs // groups)
    total = lax.dot_general(apart, by_group, (((2,), (0,)), ((1,), (1,))), preferred_element_type=jnp.int32)
    return jnp.moveaxis(total, 0, 1).reshape(*lead, outs)


def _contracted(x: jax.Array, weight: jax.Array) -> jax.Array:
    return lax.dot_general(x, weight, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32)


def _codes(given: Integers, bits: int, rows: int) -> jax.Array:
    return given.codes if bits == 8 else unpacked(given.codes, rows, -2)


_by_kernel = product_kernel(_sums)


def _through(
    exact: Callable[[Any, Held, Any], jax.Array], plain: Callable[[Any, Any], jax.Array], bits: int,
    shape: tuple[int, ...],
) -> Callable[[Any, Held, Any], jax.Array]:  # fmt: skip
    """A product of integers whose gradient, of what comes in and the bias, is that of the product with floats."""

    def floats(x: Any, held: Held) -> jax.Array:
        rows = math.prod(shape[:-1]) if shape else x.shape[-1]
        weight = numbers(held.given, bits, None, rows, -2)
        if held.entry is not None:
            scale, zero = held.entry.scale, held.entry.zero.astype(held.entry.scale.dtype)
            low, high = ((end - zero) * scale for end in (INPUT.least, INPUT.most))
            x = jnp.where((x >= low) & (x <= high), x, lax.stop_gradient(x))
        return plain(x, (weight.reshape(shape) if shape else weight).astype(x.dtype))

    @jax.custom_vjp
    def run(x: Any, held: Held, bias: Any) -> jax.Array:
        return exact(x, held, bias)

    def forward(x: Any, held: Held, bias: Any) -> tuple[jax.Array, tuple[Any, Held, Any]]:
        return exact(x, held, bias), (x, held, bias)

    def backward(kept: tuple[Any, Held, Any], g: Any) -> tuple[Any, None, Any]:
        x, held, bias = kept
        of_x = jax.vjp(lambda x: floats(x, held), x)[1](g)[0]
        return of_x, None, None if bias is None else g.sum(tuple(range(g.ndim - 1)), dtype=bias.dtype)

    run.defvjp(forward, backward)
    return run
