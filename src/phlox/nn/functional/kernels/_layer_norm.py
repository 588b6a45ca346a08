"""Layer normalisation on the CPU: output in one pass over the array, all gradients in one more."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.nn.functional._moments import centre
from phlox.nn.functional._numeric import beside
from phlox.nn.functional.kernels._gradients import differentiate, plain_gradient
from phlox.nn.functional.kernels._kernels import Kernel, in_use
from phlox.nn.functional.kernels._parts import Roles

__all__ = ["layer_norm_kernel"]


def layer_norm_kernel(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, eps: float) -> jax.Array | None:
    """The output by the kernel; None where there is no kernel for it.

    Shapes:
        x: (..., features); scale, bias: (features,) or None.
    """
    if x.ndim < 2 or not in_use(x) or {a.dtype for a in (x, scale, bias) if a is not None} != {jnp.dtype(jnp.float32)}:
        return None
    scale = jnp.ones(x.shape[-1], x.dtype) if scale is None else scale
    bias = jnp.zeros(x.shape[-1], x.dtype) if bias is None else bias
    return _forward(x, scale, bias, eps=float(eps))[0]


def _plain(x: jax.Array, scale: jax.Array, bias: jax.Array, *, eps: float) -> tuple[jax.Array]:
    _, var, centred = centre(x, (x.ndim - 1,))
    return (centred * lax.rsqrt(var + eps) * beside(scale, x.ndim) + beside(bias, x.ndim),)


def _shapes(x: Any, *_: Any, **params: Any) -> tuple[jax.ShapeDtypeStruct]:
    del params
    return (jax.ShapeDtypeStruct(x.shape, x.dtype),)


def _backward_shapes(x: Any, scale: Any, *_: Any, **params: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    del params
    features = jax.ShapeDtypeStruct(scale.shape, scale.dtype)
    return jax.ShapeDtypeStruct(x.shape, x.dtype), features, features


def _call(x: jax.Array, scale: jax.Array, bias: jax.Array, *, eps: float) -> Any:
    return tuple(jax.ffi.ffi_call("phlox_cpu_layer_norm", _shapes(x))(x, scale, bias, eps=np.float32(eps)))


def _call_backward(x: Any, scale: Any, bias: Any, y: Any, dy: Any, *, eps: float) -> Any:
    del bias, y
    call = jax.ffi.ffi_call("phlox_cpu_layer_norm_backward", _backward_shapes(x, scale))
    return tuple(call(x, scale, dy, eps=np.float32(eps)))


def _declines(library: Any, x: Any, *_: Any, **params: Any) -> str | None:
    del library, params
    return "fewer features than one instruction takes" if x.shape[-1] < 16 else None


_forward = Kernel("phlox_layer_norm", _plain, _call, _shapes, _declines, several=True, roles=Roles("rww", "r"))
_backward = Kernel(
    "phlox_layer_norm_backward",
    plain_gradient(_plain, 3),
    _call_backward,
    _backward_shapes,
    _declines,
    several=True,
    roles=Roles("rwwr", "rss"),
)
differentiate(_forward, _backward, 3)
