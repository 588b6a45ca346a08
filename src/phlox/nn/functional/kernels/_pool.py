"""The largest of windows on the CPU, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.nn.functional.kernels._gradients import differentiate, map_as_examples, plain_gradient
from phlox.nn.functional.kernels._kernels import Kernel, in_use
from phlox.nn.functional.kernels._parts import Roles
from phlox.nn.functional.space._window import Window

__all__ = ["max_pool_kernel"]


def max_pool_kernel(plain: Callable[[jax.Array, Window], jax.Array]) -> Callable[..., jax.Array | None]:
    """The pool by the kernel, ``pool(x, window)``; None where there is no kernel for it.

    Arguments:
        plain: the same in plain JAX.
    """

    def reference(x: jax.Array, *, window: Window) -> tuple[jax.Array]:
        return (plain(x, window),)

    forward = Kernel("phlox_max_pool", reference, _call, _shapes, _declines, several=True, roles=Roles("r", "r"))
    backward = Kernel(
        "phlox_max_pool_backward",
        plain_gradient(reference, 1),
        _call_backward,
        lambda x, *_, window: (jax.ShapeDtypeStruct(x.shape, x.dtype),),
        _declines,
        several=True,
        roles=Roles("r", "r"),
    )
    differentiate(forward, backward, 1)
    map_as_examples(forward)
    map_as_examples(backward)

    def pool(x: jax.Array, window: Window) -> jax.Array | None:
        if not in_use(x):
            return None
        wide = x.astype(jnp.float32)  # bfloat16 too: what windows share adds up its gradient in float32
        return forward(wide, window=window)[0].astype(x.dtype)

    return pool


def _shapes(x: Any, *, window: Window) -> tuple[jax.ShapeDtypeStruct]:
    return (jax.ShapeDtypeStruct((x.shape[0], *window.outputs, x.shape[-1]), x.dtype),)


def _options(window: Window) -> dict[str, Any]:
    lows = [lo for lo, _ in window.padding]
    numbers = {"size": window.size, "stride": window.stride, "dilation": window.dilation, "low": lows}
    return {name: np.array(value, np.int64) for name, value in numbers.items()}


def _call(x: Any, *, window: Window) -> Any:
    return tuple(jax.ffi.ffi_call("phlox_cpu_max_pool", _shapes(x, window=window))(x, **_options(window)))


def _call_backward(x: Any, y: Any, dy: Any, *, window: Window) -> Any:
    call = jax.ffi.ffi_call("phlox_cpu_max_pool_backward", (jax.ShapeDtypeStruct(x.shape, x.dtype),))
    return tuple(call(x, y, dy, **_options(window)))


def _declines(library: Any, x: Any, *_: Any, window: Window) -> str | None:
    del library, window
    return "fewer channels than one instruction takes" if x.shape[-1] < 16 else None
