"""Batch normalisation in training on the CPU: statistics and output in three passes, all gradients in two."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.nn.functional._bounds import rectified
from phlox.nn.functional._moments import centre
from phlox.nn.functional._numeric import beside
from phlox.nn.functional.kernels._gradients import differentiate, plain_gradient
from phlox.nn.functional.kernels._kernels import Kernel, in_use

__all__ = ["batch_norm_kernel"]


def batch_norm_kernel(
    x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, eps: float, relu: bool
) -> tuple[jax.Array, jax.Array, jax.Array] | None:
    """Output, mean and biased variance by the kernel, with ReLU if asked; None where there is no kernel for it."""
    if not in_use(x) or {a.dtype for a in (x, scale, bias) if a is not None} != {jnp.dtype(jnp.float32)}:
        return None
    scale = jnp.ones(x.shape[-1], x.dtype) if scale is None else scale
    bias = jnp.zeros(x.shape[-1], x.dtype) if bias is None else bias
    return _forward(x, scale, bias, eps=float(eps), relu=relu)


def _plain(x: jax.Array, scale: jax.Array, bias: jax.Array, *, eps: float, relu: bool) -> tuple[jax.Array, ...]:
    axes = tuple(range(x.ndim - 1))
    mean, var, centred = centre(x, axes)
    y = centred * lax.rsqrt(var + eps) * beside(scale, x.ndim) + beside(bias, x.ndim)
    return rectified(y) if relu else y, jnp.squeeze(mean, axes), jnp.squeeze(var, axes)


def _shapes(x: Any, scale: Any, *_: Any, **params: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    del params
    channels = jax.ShapeDtypeStruct(scale.shape, scale.dtype)
    return jax.ShapeDtypeStruct(x.shape, x.dtype), channels, channels


def _call(x: jax.Array, scale: jax.Array, bias: jax.Array, *, eps: float, relu: bool) -> Any:
    call = jax.ffi.ffi_call("phlox_cpu_batch_norm", _shapes(x, scale))
    return tuple(call(x, scale, bias, eps=np.float32(eps), relu=relu))


def _call_backward(x: Any, scale: Any, bias: Any, y: Any, *rest: Any, eps: float, relu: bool) -> Any:
    del bias
    call = jax.ffi.ffi_call("phlox_cpu_batch_norm_backward", _shapes(x, scale))
    return tuple(call(x, scale, y, *rest, eps=np.float32(eps), relu=relu))


def _declines(library: Any, x: Any, *_: Any, **params: Any) -> str | None:
    return "fewer channels than one instruction takes" if x.shape[-1] < 16 else None


_forward = Kernel("phlox_batch_norm", _plain, _call, _shapes, _declines, several=True)
_backward = Kernel(
    "phlox_batch_norm_backward", plain_gradient(_plain, 3), _call_backward, _shapes, _declines, several=True
)
differentiate(_forward, _backward, 3)
