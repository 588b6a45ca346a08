r"""Layers with integers as exporters see them: products of floats, whose rounding is by operations with names.

A file of another format says itself which numbers are integers: $s (q - z)$ and the rounding of what comes in are
operators there. Where operations are traced whole, each is one operation too, which an exporter knows by its name and
others take for its plain form: ``phlox_dequantize`` for a weight, ``phlox_round`` for what comes in.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from phlox.compress._integers import Integers, spread
from phlox.compress.layers._products import INPUT, Entry, Held
from phlox.nn import Kernel, derive_by_plain_form
from phlox.nn import functional as F


def _dequantize(codes: Any, scale: Any, *zero: Any, bits: Any, group: int | None, axis: int, shape: Any) -> jax.Array:
    """What integers stand for, in the dtype of their scales; no operation on bits but those that files have."""
    size = shape[-1] if axis == -1 else math.prod(shape[:-1])
    wide = (_halves(codes, size, axis) if bits == 4 else codes).astype(scale.dtype)
    if zero:
        wide = wide - spread(zero[0], size, group, axis).astype(scale.dtype)
    return (wide * spread(scale, size, group, axis)).reshape(shape)


def _halves(both: jax.Array, size: int, axis: int) -> jax.Array:
    """The two numbers in each byte, as ``unpacked`` gives them, by whole numbers of 32 bits."""
    wide = both.astype(jnp.int32)
    pair = jnp.stack([((half & 15) ^ 8) - 8 for half in (wide, wide >> 4)], axis)
    shape = list(both.shape)
    shape[axis] *= 2
    return jax.lax.slice_in_dim(pair.reshape(shape), 0, size, axis=both.ndim + axis)


def _weight_shape(codes: Any, scale: Any, *zero: Any, shape: Any, **params: Any) -> jax.ShapeDtypeStruct:
    del codes, zero, params
    return jax.ShapeDtypeStruct(tuple(shape), scale.dtype)


def _round(x: Any, scale: Any, *zero: Any, least: int) -> jax.Array:
    """The nearest integers times their scale: one for all, or one for each place of the first axis."""
    by_row = (-1,) + (1,) * (x.ndim - 1)
    scale = scale.reshape(by_row) if scale.ndim else scale
    z = zero[0].astype(scale.dtype) if zero else 0
    return (jnp.clip(jnp.round(x / scale) + z, least, INPUT.most) - z) * scale


def _same_shape(x: Any, *rest: Any, **params: Any) -> jax.ShapeDtypeStruct:
    del rest, params
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


DEQUANTIZE = Kernel("phlox_dequantize", _dequantize, _dequantize, _weight_shape, None)
ROUND = Kernel("phlox_round", _round, _round, _same_shape, None)
for _kernel in (DEQUANTIZE, ROUND):
    derive_by_plain_form(_kernel)


def weight(given: Integers, *, bits: Any, group: int | None, axis: int, shape: tuple[int, ...]) -> jax.Array:
    """The weight that integers stand for, in the dtype of their scales; of stacked layers by its plain form."""
    params = {"bits": bits, "group": group, "axis": axis, "shape": tuple(shape)}
    arrays = [x for x in given if x is not None]
    lead = given.codes.ndim - 2
    run = functools.partial(DEQUANTIZE.reference if lead else DEQUANTIZE, **params)
    for _ in range(lead):
        run = jax.vmap(run)
    return run(*arrays)


def rows(given: Integers, *, bits: Any, group: int | None, size: int) -> jax.Array:
    """What rows that were looked up stand for: codes (..., size), scale and zero (..., groups)."""
    arrays, shape = [x for x in given if x is not None], (*given.codes.shape[:-1], size)
    return DEQUANTIZE.reference(*arrays, bits=bits, group=group, axis=-1, shape=shape)


@jax.custom_vjp
def entered(x: jax.Array, entry: Entry | None) -> jax.Array:
    """What comes in, (rows, in) or (batch, *space, in), as its integers have it; a gradient passes within the range."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if entry is not None:
        return ROUND(wide, entry.scale, entry.zero, least=INPUT.least).astype(x.dtype)
    scale = jnp.abs(wide).max(tuple(range(1, x.ndim))) / INPUT.most
    return ROUND(wide, jnp.where(scale > 0, scale, 1), least=-INPUT.most).astype(x.dtype)


def _forward(x: jax.Array, entry: Entry | None) -> tuple[jax.Array, Any]:
    return entered(x, entry), (x, entry)


def _backward(kept: Any, g: jax.Array) -> tuple[jax.Array, None]:
    x, entry = kept
    if entry is None:
        return g, None
    low, high = ((end - entry.zero.astype(entry.scale.dtype)) * entry.scale for end in (INPUT.least, INPUT.most))
    return jnp.where((x >= low) & (x <= high), g, 0), None


entered.defvjp(_forward, _backward)


def dense(x: jax.Array, held: Held, *, bits: Any, group: int | None, inputs: str | None) -> jax.Array:
    """A map of features, without bias: x (..., in) to (..., out)."""
    if inputs == "dynamic":
        x = entered(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), None).reshape(x.shape)
    elif inputs is not None:
        x = entered(x, held.entry)
    shape = (x.shape[-1], held.given.codes.shape[-1])
    return F.dense(x, weight(held.given, bits=bits, group=group, axis=-2, shape=shape).astype(x.dtype))


def conv(x: jax.Array, held: Held, *, bits: Any, shape: tuple[int, ...], **options: Any) -> jax.Array:
    """A convolution of what comes in as integers, without bias; options as of ``F.conv``."""
    kernel = weight(held.given, bits=bits, group=None, axis=-2, shape=shape)
    return F.conv(entered(x, held.entry), kernel.astype(x.dtype), **options)
