r"""Integers that stand for a matrix: $w ≈ s (q - z)$, with a scale s and a zero z for each output or group of rows.

Shapes:
    matrix: (..., rows, outs) with ``axis=-2``, or (..., outs, rows) with ``axis=-1``; codes: as the matrix, of 4 bits
    half as long along ``axis``; scale, zero: as the matrix, with the number of groups along ``axis``.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from phlox.compress._scheme import Scheme


class Integers(NamedTuple):
    """A matrix as integers."""

    codes: Any
    """int8; of 4 bits uint8, two in each: the first in its low half; or floats of 8 bits."""
    scale: Any
    zero: Any
    """int8; None where 0 stands for 0."""


@functools.partial(jax.jit, static_argnames=("scheme", "axis"))
def integers(matrix: Any, scheme: Scheme, axis: int) -> Integers:
    """A matrix as integers, whose ranges are those of its numbers."""
    matrix = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
    scale, zero = ranges(matrix, scheme, axis)
    return stored(rounded(matrix, scale, zero, scheme, axis), scale, zero, scheme, axis)


def ranges(matrix: jax.Array, scheme: Scheme, axis: int) -> tuple[jax.Array, jax.Array | None]:
    """Scale and zero of each group of a matrix, by its smallest and its largest number."""
    size = matrix.shape[axis]
    group = scheme.group or size
    last = jnp.moveaxis(matrix, axis, -1)
    count = -(-size // group)
    full = jnp.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, count * group - size)])  # every range holds 0 anyway
    parts = full.reshape(*last.shape[:-1], count, group)
    low, high = parts.min(-1), parts.max(-1)
    if scheme.per == "tensor":
        low, high = low.min((-2, -1), keepdims=True), high.max((-2, -1), keepdims=True)
    scale, zero = grid(low, high, scheme)
    return jnp.moveaxis(scale, -1, axis), None if zero is None else jnp.moveaxis(zero, -1, axis)


def grid(low: Any, high: Any, scheme: Scheme) -> tuple[jax.Array, jax.Array | None]:
    """Scale and zero by which the integers reach from low to high, with 0 among what they stand for."""
    low, high = jnp.minimum(low, 0), jnp.maximum(high, 0)
    if scheme.symmetric:
        scale = jnp.maximum(-low, high) / scheme.most
        return jnp.where(scale > 0, scale, 1), None
    scale = (high - low) / (scheme.most - scheme.least)
    scale = jnp.where(scale > 0, scale, 1)
    zero = jnp.clip(scheme.least - jnp.round(low / scale), scheme.least, scheme.most)
    return scale, zero.astype(jnp.int8)


def rounded(matrix: jax.Array, scale: Any, zero: Any, scheme: Scheme, axis: int) -> jax.Array:
    """The nearest integer of each number, int8, or the nearest float of 8 bits; of two as near the even one."""
    size = matrix.shape[axis]
    codes = matrix / spread(scale, size, scheme.group, axis)
    if scheme.dtype is not None:
        return jnp.clip(codes, scheme.least, scheme.most).astype(scheme.dtype)
    codes = jnp.round(codes)
    if zero is not None:
        codes = codes + spread(zero, size, scheme.group, axis)
    return jnp.clip(codes, scheme.least, scheme.most).astype(jnp.int8)


def stored(codes: jax.Array, scale: Any, zero: Any, scheme: Scheme, axis: int) -> Integers:
    """Integers as a layer holds them."""
    return Integers(packed(codes, axis) if scheme.bits == 4 else codes, scale, zero)


def numbers(given: Integers, bits: int | str, group: int | None, size: int, axis: int) -> jax.Array:
    """What integers stand for, in the dtype of their scales; ``size`` is that of the matrix along ``axis``."""
    codes = (unpacked(given.codes, size, axis) if bits == 4 else given.codes).astype(given.scale.dtype)
    if given.zero is not None:
        codes = codes - spread(given.zero, size, group, axis)
    return codes * spread(given.scale, size, group, axis)


def spread(of_groups: Any, size: int, group: int | None, axis: int) -> Any:
    """What there is for each group, for each row."""
    if group is None:
        return of_groups
    return jax.lax.slice_in_dim(jnp.repeat(of_groups, group, axis=axis), 0, size, axis=of_groups.ndim + axis)


def packed(codes: jax.Array, axis: int) -> jax.Array:
    """Two neighbours along an axis in one byte; a last one alone has 0 beside it."""
    if codes.shape[axis] % 2:
        widths = [(0, 0)] * codes.ndim
        widths[axis] = (0, 1)
        codes = jnp.pad(codes, widths)
    at = codes.ndim + axis
    size = codes.shape[axis]
    low, high = (jax.lax.slice_in_dim(codes, i, size, 2, at).astype(jnp.uint8) for i in range(2))
    return (low & 15) | (high << 4)


def unpacked(both: jax.Array, size: int, axis: int) -> jax.Array:
    """The integers in bytes of two, int8."""
    signed = jax.lax.bitcast_convert_type(both, jnp.int8)
    pair = jnp.stack([(signed << 4) >> 4, signed >> 4], axis)
    shape = list(both.shape)
    shape[axis] *= 2
    return jax.lax.slice_in_dim(pair.reshape(shape), 0, size, axis=both.ndim + axis)
