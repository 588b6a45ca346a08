"""Dtypes, and arrays that a node itself holds."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import (
    canonical,
    cast,
    constant,
    has_symbols,
    is_float,
    is_known,
    is_symbol,
    library,
    wide,
)
from phlox.interchange.onnx_reading._layout import laid, order_of, ordered
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_INTEGERS = 2.0**31


def _dtype(call: Call, element: int) -> np.dtype:
    """The dtype of ONNX's number for it."""
    import onnx

    if element == onnx.TensorProto.STRING:
        raise call.refusal("numbers", "text", "take the part of the model that works on numbers")
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))


@OPERATORS.on("Identity", any_order=True)
def _identity(call: Call, x: Any) -> Any:
    return x


@OPERATORS.elementwise("Cast")
def _cast(call: Call, x: Any) -> Any:
    return converted(call, x, _dtype(call, call["to"]))


@OPERATORS.on("CastLike", any_order=True)
def _cast_like(call: Call, x: Any, like: Any) -> Any:
    order = order_of(x)
    return laid(converted(call, ordered(x, order), like.dtype), order)


def converted(call: Call, x: Any, dtype: Any) -> Any:
    """A value in another dtype, by the rules of the standard: into 8 bits, what is too large is the largest."""
    if is_known(x) and x.dtype == object and not has_symbols(x):
        raise call.refusal("numbers", "text", "take the part of the model that works on numbers")
    if np.dtype(dtype).name == "float8_e8m0fnu" and is_float(x):
        return _power(call, x, dtype)
    if np.dtype(dtype).name.startswith(("float8", "float4")) and call.get("saturate", 1) and is_float(x):
        return _saturated(x, dtype)
    if is_float(x) and np.dtype(dtype).name.rstrip("0123456789") in ("int", "uint") and _bits(dtype) < 32:
        x = constant(x).astype(np.int32)  # what is too large keeps its lowest bits
    with np.errstate(all="ignore"):
        return cast(x, dtype)


def _bits(dtype: Any) -> int:
    return int(jnp.iinfo(dtype).bits)


def _power(call: Call, x: Any, dtype: Any) -> Any:
    """The exponent alone, which is all that this dtype has: the next power of two, or the nearest, or the one below."""
    bits = jax.lax.bitcast_convert_type(constant(x).astype(jnp.float32), jnp.uint32)
    exponent, rest = (bits >> 23) & 0xFF, bits & 0x7FFFFF
    half = 0x400000
    more = {"up": rest > 0, "nearest": (rest > half) | ((rest == half) & (exponent > 0)), "down": rest < 0}
    largest = 0xFE - (1 if call.get("saturate", 1) else 0)
    exponent = exponent + (more[call.get("round_mode", "up")] & (exponent <= largest))
    return jax.lax.bitcast_convert_type(exponent.astype(jnp.uint8), dtype)


def _saturated(x: Any, dtype: Any) -> Any:
    end = float(jnp.finfo(dtype).max)
    xp, full = library(x), wide(x)
    return cast(xp.where(xp.isnan(full), full, xp.clip(full, -end, end)), dtype)


@OPERATORS.on("BitCast")
def _bit_cast(call: Call, x: Any) -> Any:
    dtype = _dtype(call, call["to"])
    if is_known(x):
        return x.view(dtype)
    x = x.astype(np.uint8) if x.dtype == bool else x
    return jax.lax.bitcast_convert_type(x, canonical(dtype))


_PLAIN = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


@OPERATORS.on("Constant")
def _constant(call: Call) -> Any:
    for name, dtype in _PLAIN.items():
        if name in call.attributes:
            return np.asarray(call[name], dtype)
    return call["value"]


@OPERATORS.on("ConstantOfShape")
def _constant_of_shape(call: Call, shape: Any) -> Any:
    value = np.asarray(call.get("value", np.zeros(1, np.float32)))
    size = call.sized(call.ints(shape, "the shape"))
    return _full(size, value.reshape(-1)[0], value.dtype)


def _full(size: tuple[int, ...], value: Any, dtype: Any) -> Any:
    """Known where it is small, so that nothing large is made by NumPy."""
    if not any(map(is_symbol, size)) and math.prod(size) <= 1024:
        return np.full(size, value, dtype)
    return jnp.full(size, value, canonical(dtype))


@OPERATORS.on("EyeLike")
def _eye_like(call: Call, x: Any) -> Any:
    dtype = _dtype(call, call["dtype"]) if "dtype" in call.attributes else x.dtype
    rows, columns = call.sized(x.shape)
    return jnp.eye(rows, columns, call.get("k", 0), dtype=canonical(dtype))


@OPERATORS.on("Range")
def _range(call: Call, start: Any, stop: Any, step: Any) -> Any:
    first, last, by = (call.known(x, "an end of the range").reshape(()).item() for x in (start, stop, step))
    if is_symbol(last) and (first, by) == (0, 1):
        return jnp.arange(last, dtype=canonical(np.int64))
    count = max(int(np.ceil((last - first) / by)), 0) if by else 0
    (count,) = call.sized([count])
    if count <= 1 << 16:
        return (first + by * np.arange(count)).astype(np.asarray(start).dtype)
    return (first + by * jnp.arange(count)).astype(canonical(np.asarray(start).dtype))
