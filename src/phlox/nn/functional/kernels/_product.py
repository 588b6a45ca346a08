"""Large products of features with a weight on the CPU: oneDNN's, which XLA's own does not reach.

Two primitives are closed under differentiation: rows times a weight, as it lies or turned, and what rows give to a
weight, ``x.T @ y``. Each one's transposes are the two again, to any order and in every mode. So are two for the bias:
once for each row, which is left to XLA's fusions, and the sum over rows.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching

from phlox.nn.functional.kernels._gradients import map_by_plain_form, map_plain_form
from phlox.nn.functional.kernels._kernels import Kernel, in_use, multiplies_half
from phlox.nn.functional.kernels._parts import Roles

__all__ = ["bias_rows", "gathered", "product_kernel"]

_LEAST = 1 << 23  # products of two numbers, below which XLA, which runs small ones side by side, loses nothing
_FEW = 1 << 17  # numbers, below which their sum is XLA's
_THIN = 16  # rows, columns or terms of a sum below which memory decides


def product_kernel(x: jax.Array, weight: jax.Array, *, turned: bool = False) -> jax.Array | None:
    """``x @ weight`` by the kernel; None where there is no kernel for it.

    Shapes:
        x: (rows, in); weight: (in, out), or where it is turned (out, in); y: (rows, out).
    """
    known = _takes(x, weight) and not _of_rows(None, x, weight, turned=turned)
    return _rows(x, weight, turned=turned) if known else None


def gathered(x: jax.Array, y: jax.Array) -> jax.Array:
    """``x.T @ y``, what the rows of both give to a weight; by the kernel where there is one.

    Shapes:
        x: (rows, in); y: (rows, out); the result: (in, out).
    """
    return _weight(x, y) if _takes(x, y) and not _of_weight(None, x, y) else x.T @ y


def bias_rows(bias: jax.Array, y: jax.Array) -> jax.Array | None:
    """A bias once for each row of y, whose gradient, a sum over rows, is a kernel's; None where there is none for it.

    Shapes:
        bias: (out,); y and the result: (..., out).
    """
    if y.ndim < 2 or y.dtype != jnp.float32 or not _takes(bias, y) or y.size < _FEW:
        return None
    return _spread(bias, rows=y.size // bias.size).reshape(y.shape)


def _takes(*arrays: jax.Array) -> bool:
    """Of one dtype: float32, or bfloat16 where the processor multiplies it."""
    alike = len({a.dtype for a in arrays}) == 1
    return alike and in_use(*arrays) and (arrays[0].dtype == jnp.float32 or multiplies_half())


def _plain_rows(x: jax.Array, weight: jax.Array, *, turned: bool) -> jax.Array:
    return jnp.matmul(x, weight.T if turned else weight)


def _plain_weight(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.matmul(x.T, y)


def _rows_shape(x: Any, weight: Any, *, turned: bool) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((x.shape[0], weight.shape[0 if turned else 1]), x.dtype)


def _weight_shape(x: Any, y: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((x.shape[1], y.shape[1]), x.dtype)


def _call_rows(x: Any, weight: Any, *, turned: bool) -> Any:
    call = jax.ffi.ffi_call("phlox_cpu_product", _rows_shape(x, weight, turned=turned))
    return call(x, weight, a_turned=False, b_turned=turned)


def _call_weight(x: Any, y: Any) -> Any:
    return jax.ffi.ffi_call("phlox_cpu_product", _weight_shape(x, y))(x, y, a_turned=True, b_turned=False)


def _plain_spread(bias: jax.Array, *, rows: int) -> jax.Array:
    return jnp.broadcast_to(bias, (rows, *bias.shape))


def _spread_shape(bias: Any, *, rows: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((rows, *bias.shape), bias.dtype)


def _plain_sums(x: jax.Array) -> jax.Array:
    return x.sum(0)


def _sums_shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)


def _call_sums(x: jax.Array) -> Any:
    return jax.ffi.ffi_call("phlox_cpu_sums", _sums_shape(x))(x)


def _few(library: Any, x: Any) -> str | None:
    del library
    return "small matrices" if x.size < _FEW else None


def _declines(rows: bool, library: Any, a: Any, b: Any, *, turned: bool = False) -> str | None:
    del library
    sizes = *a.shape, b.shape[0 if rows and turned else 1]
    if min(sizes) < _THIN:
        return "thin matrices"
    return "small matrices" if math.prod(sizes) < _LEAST else None


_of_rows, _of_weight = functools.partial(_declines, True), functools.partial(_declines, False)
_rows = Kernel("phlox_product", _plain_rows, _call_rows, _rows_shape, _of_rows, roles=Roles("rw", "r"))
_weight = Kernel("phlox_product_weight", _plain_weight, _call_weight, _weight_shape, _of_weight, roles=Roles("rr", "s"))

_sums = Kernel("phlox_sums", _plain_sums, _call_sums, _sums_shape, _few, roles=Roles("r", "s"))
_spread = Kernel("phlox_spread", _plain_spread, _plain_spread, _spread_shape, None)

ad.deflinear2(_sums.primitive, lambda ct, x, **over: [_spread(ct, rows=x.aval.shape[0], **over)])
ad.deflinear2(_spread.primitive, lambda ct, bias, *, rows, **over: [_sums(ct, **over)])
ad.defbilinear(
    _rows.primitive,
    lambda ct, x, w, *, turned, **over: _rows(ct, w, turned=not turned, **over),
    lambda ct, x, w, *, turned, **over: _weight(ct, x, **over) if turned else _weight(x, ct, **over),
)
ad.defbilinear(
    _weight.primitive,
    lambda ct, x, y, **over: _rows(y, ct, turned=True, **over),
    lambda ct, x, y, **over: _rows(x, ct, turned=False, **over),
)


def _mapped_rows(arrays: Any, axes: Any, **params: Any) -> Any:
    """A mapped axis is more rows where the weight is the same for all."""
    (x, weight), (along, shared) = arrays, axes
    if shared is not None or not x.shape[along]:
        return map_plain_form(_rows, arrays, axes, params)
    size, flat = x.shape[along], jnp.moveaxis(x, along, 0)
    out = _rows(flat.reshape(-1, flat.shape[2]), weight, **params)
    return out.reshape(size, -1, out.shape[1]), 0


batching.primitive_batchers[_rows.primitive] = _mapped_rows
for _kernel in (_weight, _sums, _spread):
    map_by_plain_form(_kernel)
