"""Attention on the CPU that never holds all scores, with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.nn.functional.kernels._gradients import derive_by_plain_form, differentiate, map_as_examples, plain_gradient
from phlox.nn.functional.kernels._kernels import Kernel, in_use
from phlox.nn.functional.kernels._parts import Roles

__all__ = ["attention_kernel"]

_SMALL = 16  # keys, up to which one call costs more than it saves
_TILES = 2  # as native/cpp/integer_products.h numbers them
_FEW = 8  # queries, below which arranging keys and values in panels costs more than the products with them


def attention_kernel(plain: Callable[..., jax.Array]) -> Callable[..., jax.Array | None]:
    """Attention by the kernel, ``attend(q, k, v, scale=, causal=)``; None where there is no kernel for it.

    Arguments:
        plain: the same in plain JAX.
    """

    def reference(q: jax.Array, k: jax.Array, v: jax.Array, *, scale: float, causal: bool) -> tuple[jax.Array]:
        return (plain(q, k, v, scale=scale, causal=causal),)

    def plain_backward(q: Any, k: Any, v: Any, y: Any, dy: Any, **options: Any) -> tuple[jax.Array, ...]:
        return plain_gradient(reference, 3)(q, k, v, y, dy, **options)

    forward = Kernel("phlox_attention", reference, _call, _shapes, _declines, several=True, roles=Roles("r", "r"))
    backward = Kernel(
        "phlox_attention_backward",
        plain_backward,
        _call_backward,
        _backward_shapes,
        _declines,
        several=True,
        roles=Roles("r", "rrr"),
    )
    differentiate(forward, backward, 3)
    map_as_examples(forward)
    map_as_examples(backward)

    def widened(q: jax.Array, k: jax.Array, v: jax.Array, *, scale: float, causal: bool) -> tuple[jax.Array]:
        wide = (a.astype(jnp.float32) for a in (q, k, v))  # bfloat16 is multiplied in float32, and rounded once
        return (forward(*wide, scale=scale, causal=causal)[0].astype(q.dtype),)

    half = Kernel(
        "phlox_attention_half", widened, _call_half, _shapes, _declines_half, several=True, roles=forward.roles
    )
    derive_by_plain_form(half)  # which is that of float32: a training computes in it both ways
    map_as_examples(half)

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, *, scale: float, causal: bool) -> jax.Array | None:
        if not in_use(q, k, v) or len({a.dtype for a in (q, k, v)}) > 1:
            return None
        kernel = half if q.dtype == jnp.bfloat16 else forward
        return kernel(q, k, v, scale=float(scale), causal=causal)[0]

    return attend


def _shapes(q: Any, k: Any, v: Any, **options: Any) -> tuple[jax.ShapeDtypeStruct]:
    del k, options
    return (jax.ShapeDtypeStruct((*q.shape[:3], v.shape[3]), q.dtype),)


def _backward_shapes(q: Any, k: Any, v: Any, *_: Any, **options: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    del options
    return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (q, k, v))


def _call(q: Any, k: Any, v: Any, *, scale: float, causal: bool) -> Any:
    call = jax.ffi.ffi_call("phlox_cpu_attention", _shapes(q, k, v))
    return tuple(call(q, k, v, scale=np.float32(scale), causal=causal))


def _call_half(q: Any, k: Any, v: Any, *, scale: float, causal: bool) -> Any:
    call = jax.ffi.ffi_call("phlox_cpu_attention_half", _shapes(q, k, v))
    return tuple(call(q, k, v, scale=np.float32(scale), causal=causal))


def _call_backward(q: Any, k: Any, v: Any, y: Any, dy: Any, *, scale: float, causal: bool) -> Any:
    del y  # the weights are computed again, and with them what the output would tell
    call = jax.ffi.ffi_call("phlox_cpu_attention_backward", _backward_shapes(q, k, v))
    return tuple(call(q, k, v, dy, scale=np.float32(scale), causal=causal))


def _declines(library: Any, q: Any, k: Any, *_: Any, **options: Any) -> str | None:
    del library, options
    if k.shape[1] <= _SMALL:
        return f"{_SMALL} keys or fewer"
    return f"fewer than {_FEW} queries" if q.shape[1] < _FEW else None


def _declines_half(library: Any, q: Any, k: Any, *_: Any, **options: Any) -> str | None:
    if library.phlox_cpu_integer_instructions() != _TILES:
        return "the processor has no tiles (AMX): it computes in float32"
    return _declines(library, q, k, **options)
