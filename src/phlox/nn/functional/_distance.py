"""How near vectors are to each other: cosine similarity and distances, row by row and all with all."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.nn.functional._numeric import axes_of, in_range, lp_norm, real, squarable, widen

__all__ = ["cdist", "cosine_similarity", "pairwise_distance", "pdist"]


@answering
def cosine_similarity(x1: ArrayLike, x2: ArrayLike, axis: int = -1, *, eps: float = 1e-8) -> Array:
    """Cosine of the angle between vectors: ``y = sum(x1 * x2) / (max(||x1||, eps) * max(||x2||, eps))``.

    Shapes:
        x1, x2: real, broadcast to each other; y: their common shape without ``axis``.

    Arguments:
        axis: the axis of the vectors, in the common shape.
        eps: the smallest length that is divided by, at least 0.

    Raises:
        ShapeError: shapes that do not broadcast, or no such axis. RangeError: ``eps`` below 0.

    >>> round(cosine_similarity(jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0])).item(), 4)
    0.7071

    Source: the definition.
    """
    a, b, dtype = _pair("cosine_similarity", x1, x2)
    in_range("cosine_similarity", "eps", eps, 0.0, math.inf)
    axes = axes_of("cosine_similarity", a, axis)
    return jnp.sum(_unit(a, axes, eps) * _unit(b, axes, eps), axes).astype(dtype)


def _unit(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Vectors of length 1, or ``x / eps`` where they are shorter than eps, up to those of the largest floats."""
    scale = squarable(x, axes)
    x, least = x / scale, eps / scale
    size = lp_norm(x, 2.0, axes, keepdims=True)
    return x / jnp.where(size < least, least, size)


@answering
def pairwise_distance(
    x1: ArrayLike, x2: ArrayLike, p: float = 2.0, *, eps: float = 1e-6, keepdims: bool = False
) -> Array:
    """Distance of each pair of vectors: ``y = ||x1 - x2 + eps||_p`` along the last axis.

    Shapes:
        x1, x2: (..., features), real, broadcast to each other; y: (...), or (..., 1) with ``keepdims``.

    Arguments:
        p: order of the norm, above 0 or infinity.
        eps: added to each difference, so that equal vectors have a gradient.
        keepdims: keep the last axis with size 1.

    Raises:
        ShapeError: shapes that do not broadcast. RangeError: ``p`` not above 0.

    >>> pairwise_distance(jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0]), eps=0.0).item()
    5.0

    Source: torch.nn.PairwiseDistance, the definition.
    """
    a, b, dtype = _pair("pairwise_distance", x1, x2)
    in_range("pairwise_distance", "p", p, 0.0, math.inf, open_low=True)
    axes = axes_of("pairwise_distance", a, -1)
    return lp_norm(a - b + eps, p, axes, keepdims=keepdims).astype(dtype)


@answering
def cdist(x1: ArrayLike, x2: ArrayLike, p: float = 2.0) -> Array:
    """Distances of all vectors with all: ``y_ij = ||x1_i - x2_j||_p``; equal vectors have gradient 0.

    Differences are taken before they are squared: ``|a|**2 + |b|**2 - 2 a @ b`` would cancel for neighbours.

    Shapes:
        x1: (..., n, features); x2: (..., m, features), real; y: (..., n, m).

    Arguments:
        p: order of the norm, above 0 or infinity.

    Raises:
        ShapeError: no matrices, features that differ, leading axes that do not broadcast.
        RangeError: ``p`` not above 0.

    >>> cdist(jnp.array([[0.0]]), jnp.array([[1.0], [5.0]])).tolist()
    [[1.0, 5.0]]

    Source: torch.cdist, the definition.
    """
    a, b = real(x1, "cdist"), real(x2, "cdist")
    in_range("cdist", "p", p, 0.0, math.inf, open_low=True)
    got = f"{describe(a)} and {describe(b)}"
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        fix = "pass two sets of vectors with equal features"
        raise ShapeError("(..., n, features) and (..., m, features)", got=got, fix=fix, where="cdist")
    wide_a, wide_b, dtype = _pair("cdist", jnp.expand_dims(a, -2), jnp.expand_dims(b, -3))
    return lp_norm(wide_a - wide_b, p, (wide_a.ndim - 1,)).astype(dtype)


@answering
def pdist(x: ArrayLike, p: float = 2.0) -> Array:
    """Distances of all pairs of vectors of one set, each pair once: ``y_k = ||x_i - x_j||_p`` for i < j, row by row.

    Shapes:
        x: (n, features), real; y: (n (n - 1) / 2,).

    Arguments:
        p: order of the norm, above 0 or infinity.

    Raises:
        ShapeError: no matrix. RangeError: ``p`` not above 0.

    >>> pdist(jnp.array([[0.0], [1.0], [5.0]])).tolist()
    [1.0, 5.0, 4.0]

    Source: scipy.spatial.distance.pdist, the definition.
    """
    vectors = real(x, "pdist")
    if vectors.ndim != 2:
        fix = "pass one set of vectors; jax.vmap takes more"
        raise ShapeError("(n, features)", got=describe(vectors), fix=fix, where="pdist")
    in_range("pdist", "p", p, 0.0, math.inf, open_low=True)
    first, second = np.triu_indices(vectors.shape[0], 1)
    wide = widen(vectors)
    return lp_norm(wide[first] - wide[second], p, (1,)).astype(vectors.dtype)


def _pair(name: str, x1: ArrayLike, x2: ArrayLike) -> tuple[Array, Array, jnp.dtype]:
    """Both arrays, broadcast and wide enough to sum in, and the dtype to answer in."""
    a, b = real(x1, name), real(x2, name)
    try:
        shape = jnp.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        got, fix = f"{describe(a)} and {describe(b)}", "make the sizes equal, or 1"
        raise ShapeError("shapes that broadcast", got=got, fix=fix, where=name) from None
    dtype = jnp.result_type(a, b)
    return jnp.broadcast_to(widen(a), shape), jnp.broadcast_to(widen(b), shape), dtype
