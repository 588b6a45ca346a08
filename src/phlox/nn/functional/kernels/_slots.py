"""Attention of texts that come and go, on the CPU: slots of a cache are written where they lie, and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.nn.functional.kernels._gradients import map_by_plain_form
from phlox.nn.functional.kernels._kernels import Kernel, in_use

__all__ = ["slots_kernel"]

Results = tuple[jax.Array, jax.Array, jax.Array]


def slots_kernel(plain: Callable[..., Results]) -> Callable[..., Results | None]:
    """Attention over slots by the kernel; None where there is no kernel for it.

    Arguments:
        plain: the same in plain JAX, ``(q, k, v, keys, values, slot, position, lengths, *, scale, window)``,
            which gives what queries find, and keys and values with the new ones.
    """
    kernel = Kernel("phlox_slots", plain, _call, _shapes, _declines, several=True)
    map_by_plain_form(kernel)

    def attend(*arrays: jax.Array, scale: float, window: int | None) -> Results | None:
        q, k, v, keys, values = arrays[:5]
        if not in_use(q, k, v, keys, values) or any(a.dtype != jnp.float32 for a in (q, k, v, keys, values)):
            return None
        return kernel(*arrays, scale=float(scale), window=window)

    return attend


def _shapes(q: Any, k: Any, v: Any, keys: Any, values: Any, *_: Any, **options: Any) -> tuple[Any, ...]:
    del k, v, options
    return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (q, keys, values))


def _call(*arrays: Any, scale: float, window: int | None) -> Results:
    in_place = {3: 1, 4: 2}
    call = jax.ffi.ffi_call("phlox_cpu_slots", _shapes(*arrays), input_output_aliases=in_place)
    y, keys, values = call(*arrays, scale=np.float32(scale), window=np.int64(-1 if window is None else window))
    return y, keys, values


def _declines(library: Any, *avals: Any, **options: Any) -> None:
    del library, avals, options
