"""A product of rows with a weight, whose gradient for the weight is in the form that a CPU computes fastest.

XLA multiplies on a CPU at full speed where both factors lie as they are read, ``a @ b``. The gradient of the weight is
``x.T @ dy``, and what XLA does with ``x`` read down its columns takes up to three times as long where a row is a multiple
of a cache's stride, and up to ten times where ``dy`` is narrow. One of three orders of the same arithmetic is fast.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad, batching, mlir

from phlox.core import _compat
from phlox.nn.functional._kernels import plain_forms_only

__all__ = ["rows_times_weight"]

_SMALL = 1_000_000  # multiplications: below, an order takes as long as another
_NARROW = 32  # outputs
_MANY = 512  # rows


def rows_times_weight(x: jax.Array, weight: jax.Array) -> jax.Array:
    """The product ``x @ weight`` with all derivatives of one.

    Shapes:
        x: (rows, in); weight: (in, out); y: (rows, out).
    """
    return _product(x, weight) if _gains(x, weight) else jnp.matmul(x, weight)


def _gains(x: jax.Array, weight: jax.Array) -> bool:
    """Whether the gradient of the weight has a faster order than JAX's."""
    if x.ndim != 2 or x.dtype != jnp.float32 or weight.dtype != jnp.float32 or plain_forms_only():
        return False
    if not all(isinstance(n, int) for n in (*x.shape, *weight.shape)) or x.size * weight.shape[1] < _SMALL:
        return False
    return not (_compat.typed_by_mesh(x) or _compat.typed_by_mesh(weight)) and _turned(x.shape[0], *weight.shape)


def _turned(rows: int, size: int, out: int) -> bool:
    """Whether ``(dy.T @ x).T`` is faster than ``x.T @ dy``."""
    return out < size and (rows >= _MANY or out <= _NARROW)


def _gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """``x.T @ dy``; a barrier keeps XLA from going back to that form."""
    return jax.lax.optimization_barrier(jnp.matmul(dy.T, x)).T


_product = jax.custom_jvp(jnp.matmul)


def _tangent_of_product(primals: Any, tangents: Any) -> Any:
    (x, weight), (dx, dweight) = primals, tangents
    y = jnp.matmul(x, weight)
    by_x = None if isinstance(dx, SymbolicZero) else jnp.matmul(dx, weight)
    by_weight = None if isinstance(dweight, SymbolicZero) else _by_weight.bind(x, dweight)
    parts = [part for part in (by_x, by_weight) if part is not None]
    return y, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(y)


_product.defjvp(_tangent_of_product, symbolic_zeros=True)

# ``x @ dweight``, linear in both, whose transpose for ``dweight`` is the gradient above.
_by_weight = _compat.Primitive("phlox_by_weight")
_by_weight.def_impl(jnp.matmul)
_by_weight.def_abstract_eval(lambda x, w: _compat.ShapedArray((x.shape[0], w.shape[1]), x.dtype))
mlir.register_lowering(_by_weight, mlir.lower_fun(jnp.matmul, multiple_results=False))
ad.defbilinear(_by_weight, lambda dy, x, w: jnp.matmul(dy, w.T), lambda dy, x, w: _gradient(x, dy))


def _batched(arrays: Any, axes: Any) -> Any:
    return jax.vmap(jnp.matmul, list(axes))(*arrays), 0


batching.primitive_batchers[_by_weight] = _batched
