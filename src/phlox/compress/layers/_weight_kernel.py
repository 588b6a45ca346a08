r"""Rows times a matrix of integers on the CPU: $y = \sum_g s_g \sum_{k \in g} x_k (q_k - z_g)$.

A step of generation multiplies a row or a few with every weight that there is, and waits for memory. The plain form
writes the whole matrix as floats before; here codes become floats in registers, and memory moves a byte for a weight,
or half a one. Many rows meet floats of a few outputs in a cache: of a table, as large as the vocabulary, writing floats
takes longer than the product.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import batching

from phlox.compress._integers import Integers, numbers
from phlox.nn import Kernel, Roles, derive_by_plain_form, in_use, map_plain_form

MOST_ROWS = 32  # of a Dense: beyond, floats made once serve all rows, and XLA's product of them is as fast
LEAST = 1 << 14  # weights: of smaller matrices a call costs more than it saves
_VECTOR = 16  # of a group whose codes lie beside each other, at once


def takes(lead: tuple[Any, ...], given: Integers, dtype: Any, axis: int) -> bool:
    """Whether the kernel, were it there, is for an input (*lead, ins) and a weight that was of ``dtype``."""
    known = all(isinstance(n, int) for n in lead) and math.prod(lead) > 0
    floats = dtype == given.scale.dtype == jnp.float32
    return known and floats and given.codes.ndim == 2 and given.codes.size >= LEAST and not _many(math.prod(lead), axis)


def _many(rows: int, axis: int) -> bool:
    return axis == -2 and rows > MOST_ROWS


def product(x: jax.Array, given: Integers, *, bits: int, group: int | None, axis: int) -> jax.Array | None:
    """The product by the kernel of what it ``takes``, x (..., ins) to (..., outs); None where there is none.

    Arguments:
        axis: where the codes that an output sums over lie, -2 of a Dense and -1 of an Embedding.
    """
    lead, ins = x.shape[:-1], x.shape[-1]
    flat = x.reshape(-1, ins)
    if x.dtype != jnp.float32 or not in_use(flat):
        return None
    outs = given.codes.shape[-3 - axis]
    shape = (-(-ins // group) if group else 1, outs)[:: 1 if axis == -2 else -1]
    scale = jnp.broadcast_to(given.scale, shape)
    zero = jnp.zeros(0, scale.dtype) if given.zero is None else jnp.broadcast_to(given.zero, shape).astype(scale.dtype)
    (y,) = _product(flat, given.codes, scale, zero, bits=bits, group=group, axis=axis)
    return y.reshape(*lead, outs)


def _plain(x: Any, codes: Any, scale: Any, zero: Any, *, bits: int, group: int | None, axis: int) -> tuple[jax.Array]:
    given = Integers(codes, scale, zero if zero.size else None)
    weight = numbers(given, bits, group, x.shape[-1], axis)
    return (x @ (weight if axis == -2 else weight.T),)


def _shapes(x: Any, codes: Any, *_: Any, axis: int, **options: Any) -> tuple[jax.ShapeDtypeStruct]:
    del options
    return (jax.ShapeDtypeStruct((x.shape[0], codes.shape[-3 - axis]), x.dtype),)


def _call(
    x: Any, codes: Any, scale: Any, zero: Any, *, bits: int, group: int | None, axis: int
) -> tuple[jax.Array, ...]:
    call = jax.ffi.ffi_call("phlox_cpu_integer_weights", _shapes(x, codes, axis=axis))
    options = {"bits": np.int64(bits), "group": np.int64(group or x.shape[-1]), "transposed": axis == -1}
    return tuple(call(x, codes, scale, zero, **options))


def _declines(library: Any, x: Any, codes: Any, *_: Any, bits: int, group: int | None, axis: int) -> str | None:
    del codes
    step = (1 if bits == 8 else 2) * (1 if axis == -2 else _VECTOR)
    if library.phlox_cpu_vector_bits() == 0:
        return "the processor has no AVX2"
    if _many(x.shape[0], axis):
        return "XLA's product of floats is faster for so many rows"
    if group and group < x.shape[1] and group % step:
        return f"groups of {group}, not of a multiple of {step}"
    return None


def _mapped(arrays: Any, axes: Any, **options: Any) -> Any:
    """Rows where x alone is mapped, else the plain form's."""
    x, *rest = arrays
    if axes[0] is None or any(axis is not None for axis in axes[1:]) or x.size == 0:
        return map_plain_form(_product, arrays, axes, options)
    x = jnp.moveaxis(x, axes[0], 0)
    (y,) = _product(x.reshape(-1, x.shape[-1]), *rest, **options)
    return [y.reshape(*x.shape[:2], -1)], [0]


_product = Kernel(
    "phlox_integer_weights", _plain, _call, _shapes, _declines, several=True, roles=Roles("rwww", "r")
)  # fmt: skip
derive_by_plain_form(_product)
batching.primitive_batchers[_product.primitive] = _mapped
