"""Pooling to a given output size, and weighted sums along one spatial axis."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.core import answering
from phlox.nn.functional._numeric import copied
from phlox.nn.functional.space._pool import first_max, ordered
from phlox.nn.functional.space._window import per_axis, spatial_sizes

__all__ = ["adaptive_max_pool", "adaptive_mean_pool"]


@answering
def adaptive_max_pool(x: jax.Array, output_size: int | Sequence[int | None] | None) -> jax.Array:
    """Max-pool to a given size; the gradient goes to the first of equal maxima, in row-major order.

    Formula: ``y[n, p, c] = max x[n, floor(p·space/output) : ceil((p + 1)·space/output), c]``.

    Shapes: ``x`` (batch, *space, channels) → (batch, *output_size, channels). Windows overlap where the output does
    not divide the input, and repeat where it is larger.

    Arguments:
        output_size: elements; one int, or one per spatial axis; None keeps an axis as it is.

    Raises:
        ShapeError: ``x`` has not 1 to 3 spatial axes.
        RangeError: an output size below 1.
        DtypeError: ``x`` is complex.

    >>> adaptive_max_pool(jnp.array([1.0, 3.0, 2.0, 0.0, 5.0]).reshape(1, 5, 1), 2).ravel().tolist()
    [3.0, 5.0]

    Source: He et al. 2015, Spatial pyramid pooling (arXiv:1406.4729); windows as in ``torch.nn.AdaptiveMaxPool2d``.
    """
    x = ordered(x, "adaptive_max_pool")
    space = spatial_sizes(x, "adaptive_max_pool")
    sizes = _sizes(output_size, space, "adaptive_max_pool")
    for axis in reversed(range(len(space))):
        if sizes[axis] == space[axis]:
            continue
        starts, stops = adaptive_bounds(space[axis], sizes[axis])
        # A short window repeats its last element, which as the later of equal ones never wins.
        members = np.minimum(starts[:, None] + np.arange((stops - starts).max()), stops[:, None] - 1)
        x = first_max(copied(functools.partial(jnp.take, indices=members, axis=axis + 1), x), axis + 2)
    return x


@answering
def adaptive_mean_pool(x: jax.Array, output_size: int | Sequence[int | None] | None) -> jax.Array:
    """Average to a given size, in float32 at least.

    Formula: ``y[n, p, c] = mean x[n, floor(p·space/output) : ceil((p + 1)·space/output), c]``.

    Shapes, arguments, errors: as :func:`adaptive_max_pool`; complex ``x`` is fine.

    >>> adaptive_mean_pool(jnp.array([1.0, 3.0, 2.0, 0.0, 4.0]).reshape(1, 5, 1), 2).ravel().tolist()
    [2.0, 2.0]

    Source: He et al. 2015, Spatial pyramid pooling (arXiv:1406.4729); windows as in ``torch.nn.AdaptiveAvgPool2d``.
    """
    x = jnp.asarray(x)
    space = spatial_sizes(x, "adaptive_mean_pool")
    sizes = _sizes(output_size, space, "adaptive_mean_pool")
    matrices = [None if m == n else averaging_matrix(n, m) for n, m in zip(space, sizes, strict=True)]
    return weigh_axes(x, matrices)


def _sizes(output_size: Any, space: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The size of each axis of the output, None filled in from the input's."""
    if output_size is None:
        return space
    if not isinstance(output_size, (tuple, list)) or None not in output_size:
        return per_axis(output_size, len(space), "output_size", where, least=1)
    given = per_axis([1 if m is None else m for m in output_size], len(space), "output_size", where, least=1)
    return tuple(n if m is None else g for m, g, n in zip(output_size, given, space, strict=True))


def adaptive_bounds(size: int, output: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of ``output`` windows over ``size`` elements starts and stops."""
    index = np.arange(output)
    return index * size // output, -(-(index + 1) * size // output)


@functools.lru_cache(maxsize=256)
def averaging_matrix(size: int, output: int) -> np.ndarray:
    """The (output, size) matrix that averages each adaptive window."""
    starts, stops = adaptive_bounds(size, output)
    element = np.arange(size)
    inside = (element >= starts[:, None]) & (element < stops[:, None])
    return inside / inside.sum(1, keepdims=True)


def weigh_axes(x: jax.Array, matrices: list[Any]) -> jax.Array:
    """Multiply each spatial axis by its (output, size) matrix, in float32 at least; ``None`` leaves an axis.

    A matrix product is exact, has a matrix product for its gradient, and is fast on every device, where gathers
    have scattered additions for theirs.
    """
    out = x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.promote_types(x.dtype, jnp.float32)
    dtype = jnp.promote_types(out, jnp.float32)
    x = x.astype(dtype)
    for axis, matrix in enumerate(matrices, start=1):
        if matrix is not None:
            # The matrix goes first, so that the summed axis is followed by contiguous channels; then it moves back.
            y = jnp.tensordot(jnp.asarray(matrix, dtype), x, (1, axis), precision=lax.Precision.HIGHEST)
            x = jnp.moveaxis(y, 0, axis)
    return x.astype(out)
