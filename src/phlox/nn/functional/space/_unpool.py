"""Max pooling that remembers where its maxima were, and its partial inverse."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe
from phlox.nn.functional.space._pool import beats, ordered, pad_lowest, plan_pool
from phlox.nn.functional.space._window import Padding, Sizes, Window, explicit_pairs, per_axis, spatial_sizes

__all__ = ["max_pool_with_indices", "max_unpool"]


@answering
def max_pool_with_indices(
    x: jax.Array,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Max-pool, and also tell where in the input each maximum was.

    Formula: ``y[n, p, c] = x[n].reshape(-1, channels)[indices[n, p, c], c]``.

    Shapes: ``x`` (batch, *space, channels) → two of (batch, *space', channels); the indices are int32 and count
    the input's spatial elements in row-major order, without padding.

    Arguments and errors: as :func:`max_pool`.

    >>> y, i = max_pool_with_indices(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2)
    >>> y.ravel().tolist(), i.ravel().tolist()
    ([3.0, 2.0], [1, 2])

    Source: Zeiler & Fergus 2014, Visualizing and understanding convolutional networks (arXiv:1311.2901).
    """
    x = ordered(x, "max_pool_with_indices")
    return _max_and_place(x, plan_pool(x, window, stride, padding, dilation, ceil_mode, "max_pool_with_indices"))


@functools.partial(jax.jit, static_argnames=("window",), inline=True)
def _max_and_place(x: jax.Array, window: Window) -> tuple[jax.Array, jax.Array]:
    place = np.arange(int(np.prod(window.inputs)), dtype=np.int32).reshape(1, *window.inputs, 1)
    place = jnp.asarray(np.pad(place, ((0, 0), *window.padding, (0, 0)), constant_values=-1))
    x, window = pad_lowest(x, window), window.inside()
    for axis in reversed(range(window.rank)):
        best, best_at = window.along(x, axis, 0), window.along(place, axis, 0)
        for offset in range(1, window.size[axis]):
            other, other_at = window.along(x, axis, offset), window.along(place, axis, offset)
            # The padding (-1) also yields to an input that is as low as it is.
            better = beats(other, best) | ((best_at < 0) & (other_at >= 0))
            best, best_at = jnp.where(better, other, best), jnp.where(better, other_at, best_at)
        x, place = best, best_at
    return x, place


@answering
def max_unpool(
    x: jax.Array,
    indices: jax.Array,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> jax.Array:
    """Put maxima back where :func:`max_pool_with_indices` found them, with zeros elsewhere.

    Formula: ``y[n].reshape(-1, channels)[indices[n, p, c], c] = x[n, p, c]``. Where windows overlap and share their
    maximum, one of the equal values is kept; indices outside the output are dropped.

    Shapes: ``x`` and ``indices`` (batch, *space, channels) → (batch, *space', channels), by default with
    ``space' = (space - 1)·stride - 2·padding + window``.

    Arguments:
        window, stride, padding: elements, as they were given to the pool.
        output_size: ``space'``, where the pool's rounding left it open: within one stride of the default.

    Raises:
        ShapeError: ``x`` and ``indices`` differ in shape, or have not 1 to 3 spatial axes.
        DtypeError: ``indices`` are not integers.
        RangeError: ``output_size`` does not belong to such a pool.

    >>> y, i = max_pool_with_indices(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2)
    >>> max_unpool(y, i, 2).ravel().tolist()
    [0.0, 3.0, 2.0, 0.0]

    Source: Zeiler & Fergus 2014, Visualizing and understanding convolutional networks (arXiv:1311.2901).
    """
    where = "max_unpool"
    x, indices = jnp.asarray(x), jnp.asarray(indices)
    space = spatial_sizes(x, where)
    if x.shape != indices.shape:
        raise ShapeError(
            f"indices of the shape of x, {x.shape}", got=describe(indices), fix="give both from one pool", where=where
        )
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise DtypeError("integer indices", got=describe(indices), fix="swap x and indices, or cast them", where=where)
    size = _unpooled_size(space, window, stride, padding, output_size)
    batch, channels = x.shape[0], x.shape[-1]
    n, c = np.ogrid[:batch, :channels]
    flat = jnp.zeros((batch, int(np.prod(size)), channels), x.dtype)
    flat = flat.at[n[:, None], indices.reshape(batch, -1, channels), c[:, None]].set(
        x.reshape(batch, -1, channels), mode="drop"
    )
    return flat.reshape(batch, *size, channels)


def _unpooled_size(
    space: tuple[int, ...], window: Sizes, stride: Sizes | None, padding: Sizes, output_size: Sizes | None
) -> tuple[int, ...]:
    where, rank = "max_unpool", len(space)
    kernel = per_axis(window, rank, "window", where, least=1)
    step = kernel if stride is None else per_axis(stride, rank, "stride", where, least=1)
    pairs = explicit_pairs(padding, rank, where)
    default = tuple((n - 1) * s - sum(p) + k for n, s, p, k in zip(space, step, pairs, kernel, strict=True))
    if output_size is None:
        return default
    size = per_axis(output_size, rank, "output_size", where, least=1)
    if any(abs(a - b) >= s for a, b, s in zip(size, default, step, strict=True)):
        raise RangeError(
            f"output_size within one stride {step} of {default}",
            got=repr(output_size),
            fix="give the spatial size of the pool's input",
            where=where,
        )
    return size
