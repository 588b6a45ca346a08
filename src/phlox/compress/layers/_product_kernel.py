"""Products of integers on the CPU by VNNI or AMX, summed in 32 bits, with scales and bias in the same pass.

A dense layer's rows are a convolution without space. What is beyond the edge stands for zero, as the codes have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import batching

from phlox.nn import Kernel, Roles, Window, derive_by_plain_form, in_use, map_plain_form

LEAST = 1 << 12  # weights of a Dense: of smaller ones a call costs more than it saves


def product_kernel(sums: Callable[..., jax.Array]) -> Callable[..., jax.Array | None]:
    """The product by the kernel, ``product(like, codes, weight, row, column, zero, bias, window)``; None without one.

    Arguments:
        sums: the sums in plain JAX, ``sums(codes, weight, zero, window)``, int32.
    """

    def plain(codes: Any, weight: Any, row: Any, column: Any, zero: Any, bias: Any, *, window: Window) -> Any:
        total = sums(codes, weight, zero if zero.size else None, window)
        scale = row.reshape(-1, *[1] * (total.ndim - 1)) * column if row.size else column
        y = total.astype(scale.dtype) * scale
        return (y + bias if bias.size else y,)

    kernel = Kernel(
        "phlox_integer_product", plain, _call, _shapes, _declines, several=True, roles=Roles("rwrwww", "r")
    )  # fmt: skip
    derive_by_plain_form(kernel)

    def mapped(arrays: Any, axes: Any, **options: Any) -> Any:
        """Examples where what comes in alone is mapped, else the plain form's."""
        codes, weight, row, *rest = arrays
        alone = axes[0] is not None and all(axes[i] is None for i in (1, 3, 4, 5))
        if not alone or (axes[2] is None and row.size) or codes.size == 0:
            return map_plain_form(kernel, arrays, axes, options)
        size = codes.shape[axes[0]]
        codes = jnp.moveaxis(codes, axes[0], 0)
        row = row if axes[2] is None else jnp.moveaxis(row, axes[2], 0).reshape(-1)
        (y,) = kernel(codes.reshape(-1, *codes.shape[2:]), weight, row, *rest, **options)
        return [y.reshape(size, -1, *y.shape[1:])], [0]

    batching.primitive_batchers[kernel.primitive] = mapped

    def product(
        like: jax.Array, codes: Any, weight: Any, row: Any, column: Any, zero: Any, bias: Any, window: Window
    ) -> jax.Array | None:
        scales = [a for a in (row, column, bias) if a is not None]
        if like.dtype != jnp.float32 or any(a.dtype != jnp.float32 for a in scales) or not in_use(like):
            return None
        if weight.size < LEAST and not window.rank:
            return None
        none = jnp.zeros(0, jnp.float32)
        row, bias = (none if a is None else a for a in (row, bias))
        zero = jnp.zeros(0, jnp.int8) if zero is None else zero.reshape(1)
        column = jnp.broadcast_to(column, weight.shape[-1:])
        return kernel(codes, weight, row, column, zero, bias, window=window)[0]

    return product


def _shapes(codes: Any, weight: Any, *_: Any, window: Window) -> tuple[jax.ShapeDtypeStruct]:
    return (jax.ShapeDtypeStruct((codes.shape[0], *window.outputs, weight.shape[-1]), jnp.float32),)


def _call(*arrays: Any, window: Window) -> tuple[jax.Array, ...]:
    options = {
        "kernel": window.size, "stride": window.stride, "dilation": window.dilation,
        "low": tuple(low for low, _ in window.padding),
    }  # fmt: skip
    call = jax.ffi.ffi_call("phlox_cpu_integer_product", _shapes(*arrays, window=window))
    return tuple(call(*arrays, **{name: np.array(value, np.int64) for name, value in options.items()}))


def _declines(library: Any, *avals: Any, window: Window) -> str | None:
    del avals, window
    return None if library.phlox_cpu_integer_instructions() else "the processor has no AVX2"
