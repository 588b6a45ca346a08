"""Matrices and their like."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, library
from phlox.interchange.onnx_reading.operators._table import OPERATORS


@OPERATORS.on("MatMul")
def _matmul(call: Call, a: Any, b: Any) -> Any:
    return library(a, b).matmul(a, b)


@OPERATORS.on("Gemm")
def gemm(call: Call, a: Any, b: Any, c: Any = None) -> Any:
    a = a.T if call.get("transA", 0) else a
    b = b.T if call.get("transB", 0) else b
    y = _scaled(jnp.matmul(a, b), call.get("alpha", 1.0))
    return y if c is None else y + _scaled(constant(c), call.get("beta", 1.0))


def _scaled(x: Any, by: float) -> Any:
    return x if by == 1.0 else x * np.asarray(by, x.dtype)


@OPERATORS.on("Einsum")
def _einsum(call: Call, *xs: Any) -> Any:
    return jnp.einsum(call["equation"].replace(" ", ""), *map(constant, xs))


@OPERATORS.on("Det")
def _det(call: Call, x: Any) -> Any:
    return jnp.linalg.det(constant(x))


@OPERATORS.on("MatMulInteger")
def _matmul_integer(call: Call, a: Any, b: Any, za: Any = None, zb: Any = None) -> Any:
    return jnp.matmul(centred(a, za, -2), centred(b, zb, -1))


def centred(x: Any, zero: Any, axis: int) -> Any:
    """Small whole numbers as 32 bits, less their zero, of which there may be one for each row or column."""
    x = constant(x).astype(jnp.int32)
    if zero is None:
        return x
    zero = constant(zero).astype(jnp.int32)
    if zero.ndim != 1 or x.ndim < 2:
        return x - zero
    return x - (zero[:, None] if axis == -2 else zero)
