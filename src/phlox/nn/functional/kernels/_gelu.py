"""The exact gelu on the CPU, and its gradient, each in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.nn.functional.kernels._gradients import differentiate, map_as_examples, plain_gradient
from phlox.nn.functional.kernels._kernels import Kernel, in_use
from phlox.nn.functional.kernels._parts import Roles

__all__ = ["gelu_kernel"]

_SMALL = 1 << 13  # numbers, up to which one call costs more than it saves


def gelu_kernel(plain: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array | None]:
    """gelu by the kernel, ``act(x)``; None where there is no kernel for it.

    Arguments:
        plain: the same in plain JAX.
    """

    def reference(x: jax.Array) -> tuple[jax.Array]:
        return (plain(x),)

    forward = Kernel("phlox_gelu", reference, _call, _shapes, _declines, several=True, roles=Roles("r", "r"))
    backward = Kernel(
        "phlox_gelu_backward",
        plain_gradient(reference, 1),
        _call_backward,
        _shapes,
        _declines,
        several=True,
        roles=Roles("r", "r"),
    )
    differentiate(forward, backward, 1)
    map_as_examples(forward)
    map_as_examples(backward)

    def act(x: jax.Array) -> jax.Array | None:
        if x.ndim < 1 or x.dtype != jnp.float32 or not in_use(x):
            return None
        return forward(x)[0]

    return act


def _shapes(x: Any, *_: Any) -> tuple[jax.ShapeDtypeStruct]:
    return (jax.ShapeDtypeStruct(x.shape, x.dtype),)


def _call(x: jax.Array) -> Any:
    return tuple(jax.ffi.ffi_call("phlox_cpu_gelu", _shapes(x))(x))


def _call_backward(x: jax.Array, y: jax.Array, dy: jax.Array) -> Any:
    del y
    return tuple(jax.ffi.ffi_call("phlox_cpu_gelu_backward", _shapes(x))(x, dy))


def _declines(library: Any, x: Any, *_: Any) -> str | None:
    del library
    return "few numbers" if x.size <= _SMALL else None
