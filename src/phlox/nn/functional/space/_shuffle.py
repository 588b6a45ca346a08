"""Rearrangements between channels and space."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional.space._window import Sizes, is_int, per_axis, spatial_sizes

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


@answering
def pixel_shuffle(x: jax.Array, factor: Sizes) -> jax.Array:
    """Move channels into space: each element becomes a block of ``factor`` elements along every spatial axis.

    Formula: ``y[n, r·p + k, c] = x[n, p, c·|r| + k]``, with k the row-major position in the block.

    Shapes: ``x`` (batch, *space, channels·∏factor) → (batch, *(space·factor), channels).

    Arguments:
        factor: elements; one int, or one per spatial axis.

    Raises:
        ShapeError: the block's elements do not divide the channels, or ``x`` has not 1 to 3 spatial axes.
        RangeError: a factor below 1.

    >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2).tolist()
    [[[[0.0], [1.0]], [[2.0], [3.0]]]]

    Source: Shi et al. 2016, Real-time single image and video super-resolution (arXiv:1609.05158).
    """
    x = jnp.asarray(x)
    space = spatial_sizes(x, "pixel_shuffle")
    rank = len(space)
    factors = per_axis(factor, rank, "factor", "pixel_shuffle", least=1)
    block = math.prod(factors)
    if x.shape[-1] % block:
        raise ShapeError(
            f"channels that are a multiple of {block}, the product of factor {factors}",
            got=describe(x),
            fix="change the factor, or the channels before it",
            where="pixel_shuffle",
        )
    x = x.reshape(*x.shape[:-1], x.shape[-1] // block, *factors)
    order = [0, *(a for i in range(rank) for a in (1 + i, 2 + rank + i)), 1 + rank]
    x = x.transpose(order)
    return x.reshape(x.shape[0], *(n * r for n, r in zip(space, factors, strict=True)), x.shape[-1])


@answering
def pixel_unshuffle(x: jax.Array, factor: Sizes) -> jax.Array:
    """Move space into channels: each block of ``factor`` elements along every spatial axis becomes one element.

    Formula: ``y[n, p, c·|r| + k] = x[n, r·p + k, c]``, the inverse of :func:`pixel_shuffle`.

    Shapes: ``x`` (batch, *(space·factor), channels) → (batch, *space, channels·∏factor).

    Arguments:
        factor: elements; one int, or one per spatial axis.

    Raises:
        ShapeError: the factor does not divide the space, or ``x`` has not 1 to 3 spatial axes.
        RangeError: a factor below 1.

    >>> pixel_unshuffle(jnp.arange(4.0).reshape(1, 2, 2, 1), 2).tolist()
    [[[[0.0, 1.0, 2.0, 3.0]]]]

    Source: Shi et al. 2016, Real-time single image and video super-resolution (arXiv:1609.05158).
    """
    x = jnp.asarray(x)
    space = spatial_sizes(x, "pixel_unshuffle")
    rank = len(space)
    factors = per_axis(factor, rank, "factor", "pixel_unshuffle", least=1)
    if any(n % r for n, r in zip(space, factors, strict=True)):
        raise ShapeError(
            f"spatial sizes that are multiples of factor {factors}",
            got=describe(x),
            fix="pad or crop x first",
            where="pixel_unshuffle",
        )
    small = tuple(n // r for n, r in zip(space, factors, strict=True))
    blocks = (v for pair in zip(small, factors, strict=True) for v in pair)
    y = x.reshape(x.shape[0], *blocks, x.shape[-1])
    order = [0, *range(1, 2 * rank, 2), 2 * rank + 1, *range(2, 2 * rank + 1, 2)]
    return y.transpose(order).reshape(x.shape[0], *small, x.shape[-1] * math.prod(factors))


@answering
def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Interleave groups of channels, so that the next grouped convolution sees all of them.

    Formula: ``y[..., j·groups + g] = x[..., g·(channels/groups) + j]``.

    Shapes: ``x`` (..., channels) → (..., channels).

    Arguments:
        groups: number of groups, a divisor of the channels.

    Raises:
        RangeError: ``groups`` is not such a divisor.

    >>> channel_shuffle(jnp.arange(6.0), 2).tolist()
    [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]

    Source: Zhang et al. 2018, ShuffleNet (arXiv:1707.01083).
    """
    x = jnp.asarray(x)
    if x.ndim == 0:
        raise ShapeError("(..., channels)", got=describe(x), fix="give x a channel axis", where="channel_shuffle")
    if not is_int(groups) or groups < 1 or x.shape[-1] % groups:
        raise RangeError(
            f"groups that divide the {x.shape[-1]} channels of {describe(x)}",
            got=f"groups={groups!r}",
            fix=f"choose a divisor of {x.shape[-1]}",
            where="channel_shuffle",
        )
    y = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    return y.swapaxes(-1, -2).reshape(x.shape)
