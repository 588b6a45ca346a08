"""The gradient of a strided convolution's input as a convolution without stride, for inputs of few channels.

Along an axis with stride s, input i lies at phase r of step q, where i + padding = s q + r, and its gradient is
Σ_m y[q − m] w[s m + r]: all phases of a step are the channels of one convolution of y, s times as many as the input
has. A processor multiplies 16 channels at once, so that 3 would leave most of it idle, and the phases of 3 do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.nn.functional.space._window import Window

_FEW = 8  # channels of an input, below which its phases are computed together


def has_phases(window: Window, groups: int, channels: int) -> bool:
    """Whether an input of so many channels is better computed by phases."""
    strided = max(window.stride) > 1 and {*window.dilation} == {1} and all(lo >= 0 for lo, _ in window.padding)
    return groups == 1 and channels < _FEW and strided


def by_phases(y: jax.Array, weight: jax.Array, window: Window, convolved: Callable[..., Any]) -> jax.Array:
    """The gradient of the input.

    Shapes:
        y: (batch, *outputs, out); weight: (*size, in, out); result: (batch, *inputs, in).

    Arguments:
        window: of the convolution whose input it is; no padding is as long as the window.
        convolved: ``convolved(y, weight, window=…, groups=1)`` convolves.
    """
    steps = tuple(-(-k // s) for k, s in zip(window.size, window.stride, strict=True))
    lows = [lo for lo, _ in window.padding]
    counts = [-(-(n + lo) // s) for n, lo, s in zip(window.inputs, lows, window.stride, strict=True)]
    padding = tuple((m - 1, q - n) for m, q, n in zip(steps, counts, window.outputs, strict=True))
    flat = Window(window.outputs, steps, (1,) * window.rank, (1,) * window.rank, padding)
    z = convolved(y, _of_phases(weight, window, steps), window=flat, groups=1)
    return _woven(z, window, counts, lows)


def _of_phases(weight: jax.Array, window: Window, steps: tuple[int, ...]) -> jax.Array:
    """(*steps, out, phases · in), the steps from the last to the first, as a convolution goes."""
    rank = window.rank
    full = [(0, m * s - k) for m, s, k in zip(steps, window.stride, window.size, strict=True)]
    apart = jnp.pad(weight, [*full, (0, 0), (0, 0)])
    apart = apart.reshape(*(n for both in zip(steps, window.stride, strict=True) for n in both), *weight.shape[-2:])
    order = [*range(0, 2 * rank, 2), 2 * rank + 1, *range(1, 2 * rank, 2), 2 * rank]
    turned = jnp.flip(apart.transpose(order), range(rank))
    return turned.reshape(*steps, weight.shape[-1], math.prod(window.stride) * weight.shape[-2])


def _woven(z: jax.Array, window: Window, counts: list[int], lows: list[int]) -> jax.Array:
    """The phases, (batch, *counts, phases · in), side by side: (batch, *inputs, in)."""
    rank, batch = window.rank, z.shape[0]
    apart = z.reshape(batch, *counts, *window.stride, -1)
    order = [0, *(1 + axis + part for axis in range(rank) for part in (0, rank)), 2 * rank + 1]
    sizes = [q * s for q, s in zip(counts, window.stride, strict=True)]
    whole = apart.transpose(order).reshape(batch, *sizes, -1)
    for axis, (n, lo) in enumerate(zip(window.inputs, lows, strict=True)):
        whole = jax.lax.slice_in_dim(whole, lo, lo + n, axis=axis + 1)
    return whole
