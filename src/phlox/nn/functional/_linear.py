"""Products of features with weights, and of batches with batches."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe, way
from phlox.nn.functional._numeric import beside, inexact, is_half, spread
from phlox.nn.functional.kernels._kernels import in_use
from phlox.nn.functional.kernels._product import bias_rows, product_kernel

__all__ = ["batched_mul", "bilinear", "concatenate", "dense"]


@answering
def dense(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """Multiply features by a matrix: ``y_o = sum_i x_i * weight_io + bias_o``.

    Leading axes are flattened into one before the product: the CPU compiler multiplies matrices
    much faster than it contracts higher ranks. A half-precision x gives a half-precision y.

    Shapes:
        x: (..., in); weight: (in, out); bias: (out,) or None; y: (..., out).

    Raises:
        ShapeError: a weight that is no matrix, features that are not ``in``, a bias that is not (out,).

    >>> dense(jnp.ones((2, 3)), jnp.ones((3, 1)), jnp.array([0.5])).tolist()
    [[3.5], [3.5]]

    Source: the definition of an affine map.
    """
    array, matrix = inexact(x, "dense"), inexact(weight, "dense")
    if matrix.ndim != 2:
        raise ShapeError("a weight of shape (in, out)", got=describe(matrix), fix="pass a matrix", where="dense")
    size, width = matrix.shape
    if array.ndim < 1 or array.shape[-1] != size:
        fix = f"give the input {size} features (its last axis), or the weight as many rows as the input has features"
        raise ShapeError(f"an input of shape (..., {size})", got=describe(array), fix=fix, where="dense")
    dtype = _dtype(array, matrix)
    lead = array.shape[:-1]
    a, b = array.astype(dtype), matrix.astype(dtype)
    elsewhere = way("dense") if array.ndim > 2 else None
    y = None if elsewhere is None else elsewhere(a, b)
    if y is None:
        # the size is spelled out: -1 cannot be resolved where another axis has size 0
        flat = a if array.ndim <= 2 else a.reshape(math.prod(lead), size)
        y = product_kernel(flat, b) if flat.ndim == 2 else None
        y = jnp.matmul(flat, b) if y is None else y
        y = y if array.ndim <= 2 else y.reshape(*lead, width)
    return _plus_bias("dense", y, bias)


def scores(x: Array, table: Array) -> Array:
    """$x W^T$, what each row of a table has in common with x; of any dtypes.

    Shapes:
        x: (..., in); table: (out, in); y: (..., out).
    """
    if x.dtype == table.dtype and x.ndim > 1 and way("dense") is None and in_use(x, table):
        y = product_kernel(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), table, turned=True)
        if y is not None:
            return y.reshape(*x.shape[:-1], y.shape[-1])
    return jnp.einsum("...d,nd->...n", x, table)


@answering
def concatenate(*arrays: Any, axis: int | None = None) -> Array:
    """Join arrays along an axis: what ``px.Parallel`` and ``px.SkipConnection`` combine features with.

    A list or tuple of arrays is joined as NumPy, JAX and PyTorch do, ``concatenate([a, b], axis)``: along the first
    axis unless told otherwise.

    Shapes:
        arrays: equal but along ``axis``; y: their sizes added there.

    Arguments:
        axis: the axis to join along; by default the last, the features, for arrays, and the first for a list.

    Raises:
        ShapeError: no arrays, no such axis, or sizes that differ along another.

    >>> concatenate(jnp.array([[1.0]]), jnp.array([[2.0, 3.0]])).tolist()
    [[1.0, 2.0, 3.0]]
    >>> concatenate([jnp.array([[1.0]]), jnp.array([[2.0]])]).tolist()
    [[1.0], [2.0]]

    Source: the definition.
    """
    listed = arrays and isinstance(arrays[0], (list, tuple))
    if listed and len(arrays) == 2 and axis is None and isinstance(arrays[1], int):  # concatenate([a, b], axis)
        arrays, axis = arrays[:1], arrays[1]
    if listed and len(arrays) == 1:
        arrays, axis = tuple(arrays[0]), 0 if axis is None else axis
    axis = -1 if axis is None else axis
    parts = [jnp.asarray(a) for a in arrays]
    ranks = {p.ndim for p in parts}
    if len(ranks) != 1 or not -min(ranks) <= axis < min(ranks):
        got = " and ".join(map(describe, parts)) or "none"
        fix = "give arrays of one rank that have this axis"
        raise ShapeError(f"arrays with an axis {axis}", got=got, fix=fix, where="concatenate")
    at = axis % min(ranks)
    if len({(*p.shape[:at], *p.shape[at + 1 :]) for p in parts}) > 1:
        got, fix = " and ".join(map(describe, parts)), "make the other axes equal, or join along another"
        raise ShapeError(f"sizes that differ along axis {axis} alone", got=got, fix=fix, where="concatenate")
    return jnp.concatenate(parts, at)


@answering
def bilinear(x1: ArrayLike, x2: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """Combine two inputs by a product: ``y_o = sum_ij x1_i * weight_ijo * x2_j + bias_o``.

    Shapes:
        x1: (..., in1); x2: (..., in2), the same leading axes; weight: (in1, in2, out); bias: (out,) or None;
        y: (..., out).

    Raises:
        ShapeError: sizes that do not match.

    >>> bilinear(jnp.array([2.0]), jnp.array([3.0]), jnp.ones((1, 1, 1))).tolist()
    [6.0]

    Source: Tenenbaum & Freeman, "Separating style and content with bilinear models" (2000).
    """
    a, b, w = inexact(x1, "bilinear"), inexact(x2, "bilinear"), inexact(weight, "bilinear")
    if w.ndim != 3:
        fix = "pass a weight with three axes"
        raise ShapeError("a weight of shape (in1, in2, out)", got=describe(w), fix=fix, where="bilinear")
    for name, given, size in (("x1", a, w.shape[0]), ("x2", b, w.shape[1])):
        if given.ndim < 1 or given.shape[-1] != size:
            fix = f"match the last axis of {name} with the weight {list(w.shape)}"
            raise ShapeError(f"{name} of shape (..., {size})", got=describe(given), fix=fix, where="bilinear")
    if a.shape[:-1] != b.shape[:-1]:
        got = f"{describe(a)} and {describe(b)}"
        fix = "broadcast the smaller one first"
        raise ShapeError("x1 and x2 with the same leading axes", got=got, fix=fix, where="bilinear")
    dtype = a.dtype if is_half(a.dtype) else jnp.result_type(a, b, w)
    lead, (in1, in2, out) = a.shape[:-1], w.shape
    rows = math.prod(lead)
    a, b, w = a.reshape(rows, in1).astype(dtype), b.reshape(rows, in2).astype(dtype), w.astype(dtype)
    half = jnp.matmul(a, w.reshape(in1, in2 * out)).reshape(rows, in2, out)
    y = jnp.einsum("nj,njo->no", b, half).reshape(*lead, out)
    return _plus_bias("bilinear", y, bias)


@answering
def batched_mul(a: ArrayLike, b: ArrayLike) -> Array:
    """Multiply two batches of matrices, pair by pair: ``c[..., :, :] = a[..., :, :] @ b[..., :, :]``.

    Shapes:
        a: (..., n, k); b: (..., k, m), leading axes equal or of size 1; c: (..., n, m).

    Raises:
        ShapeError: no matrices, inner sizes that differ, leading axes that do not broadcast.

    >>> batched_mul(jnp.ones((4, 2, 3)), jnp.ones((4, 3, 5))).shape
    (4, 2, 5)

    Source: the definition.
    """
    left, right = inexact(a, "batched_mul"), inexact(b, "batched_mul")
    got = f"{describe(left)} and {describe(right)}"
    if left.ndim < 2 or right.ndim < 2 or left.shape[-1] != right.shape[-2]:
        fix = "transpose one factor, so that the columns of a are the rows of b"
        raise ShapeError("(..., n, k) and (..., k, m)", got=got, fix=fix, where="batched_mul")
    try:
        jnp.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        fix = "make the leading axes equal, or of size 1"
        raise ShapeError("batches that broadcast", got=got, fix=fix, where="batched_mul") from None
    return jnp.matmul(left, right)


def _dtype(x: Array, weight: Array) -> jnp.dtype:
    """A half-precision input keeps its dtype; any other pair follows JAX's promotion."""
    return x.dtype if is_half(x.dtype) else jnp.result_type(x, weight)


def _plus_bias(where: str, y: Array, bias: ArrayLike | None) -> Array:
    if bias is None:
        return y
    b = inexact(bias, where)
    if b.shape != y.shape[-1:]:
        fix = "pass one number for each output feature"
        raise ShapeError(f"a bias of shape ({y.shape[-1]},)", got=describe(b), fix=fix, where=where)
    if is_half(y.dtype):
        return y + spread(b.astype(y.dtype), y.shape)
    rows = bias_rows(b, y)
    return y + (beside(b, y.ndim) if rows is None else rows)
