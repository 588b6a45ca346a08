"""Rescaling: to unit length, by the responses of neighbours, and of weights (weight and spectral normalisation)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.nn.functional._numeric import axes_of, in_range, lp_norm, min_rank, real, result_dtype, vector, widen

__all__ = ["local_response_norm", "normalize", "spectral_norm", "weight_norm"]


@answering
def normalize(x: ArrayLike, p: float = 2.0, axis: int | Sequence[int] = -1, *, eps: float = 1e-12) -> Array:
    """Scale to unit length: ``y = x / max(||x||_p, eps)``, the norm along ``axis``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        p: order of the norm, above 0 or infinity.
        axis: the axis (or axes) of the norm.
        eps: the smallest divisor, at least 0.

    Raises:
        RangeError: ``p`` not above 0, ``eps`` below 0. ShapeError: no such axis.

    >>> [round(v, 4) for v in normalize(jnp.array([3.0, 4.0])).tolist()]
    [0.6, 0.8]

    Source: the definition.
    """
    array = real(x, "normalize")
    in_range("normalize", "p", p, 0.0, math.inf, open_low=True)
    in_range("normalize", "eps", eps, 0.0, math.inf)
    wide = widen(array)
    size = lp_norm(wide, p, axes_of("normalize", array, axis), keepdims=True)
    return (wide / jnp.where(size < eps, eps, size)).astype(array.dtype)


@answering
def local_response_norm(
    x: ArrayLike, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Divide by the responses of neighbouring channels: ``y_c = x_c / (k + alpha / size * sum_n x_n**2) ** beta``.

    The sum runs over ``size`` channels around c, from ``c - size // 2``; channels outside count as 0.

    Shapes:
        x: (..., channels), real; y: as x.

    Arguments:
        size: channels in a neighbourhood, at least 1.
        alpha, beta, k: weight, exponent and offset of the sum.

    Raises:
        RangeError: ``size`` below 1. ShapeError: no channel axis.

    >>> round(local_response_norm(jnp.array([2.0]), 1, alpha=1.0, beta=1.0).item(), 4)
    0.4

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks" (2012).
    """
    array = real(x, "local_response_norm")
    in_range("local_response_norm", "size", size, 1, math.inf)
    min_rank("local_response_norm", array, 1, "an input of shape (..., channels)")
    wide = widen(array)
    window = (*[1] * (array.ndim - 1), size)
    padding = [*[(0, 0)] * (array.ndim - 1), (size // 2, (size - 1) // 2)]
    around = lax.reduce_window(jnp.square(wide), 0.0, lax.add, window, (1,) * array.ndim, padding)
    return (wide * (k + alpha / size * around) ** -beta).astype(array.dtype)


@answering
def weight_norm(direction: ArrayLike, size: ArrayLike, *, axis: int = -1) -> Array:
    """A weight from its direction and its length: ``w = size * direction / ||direction||_2``.

    One length for each index of ``axis``, which is the output features in (..., in, out); the norm
    is over all other axes.

    Shapes:
        direction: any; size: (n,) with n the size of ``axis``; w: as direction.

    Arguments:
        axis: the axis that keeps one length per index.

    Raises:
        ShapeError: no such axis, or a size that is not (n,).

    >>> weight_norm(jnp.array([[3.0], [4.0]]), jnp.array([10.0])).ravel().tolist()
    [6.0, 8.0]

    Source: Salimans & Kingma, "Weight normalization" (arXiv:1602.07868).
    """
    array = real(direction, "weight_norm")
    (axis,) = axes_of("weight_norm", array, axis)
    lengths = vector("weight_norm", "size", size, array.shape[axis])
    wide, others = widen(array), tuple(a for a in range(array.ndim) if a != axis)
    shape = tuple(n if a == axis else 1 for a, n in enumerate(array.shape))
    y = widen(lengths).reshape(shape) * wide / lp_norm(wide, 2.0, others, keepdims=True)
    return y.astype(result_dtype(array, lengths))


@answering
def spectral_norm(
    weight: ArrayLike, u: ArrayLike, v: ArrayLike, *, steps: int = 1, axis: int = -1, eps: float = 1e-12
) -> tuple[Array, Array, Array]:
    """Divide a weight by its largest singular value: ``w = weight / sigma``, ``sigma = u @ M @ v``.

    M is the weight as a matrix, one row for each index of ``axis``. Each step of the power
    iteration is ``u = unit(M @ v)``, ``v = unit(M.T @ u)``; no gradient flows through u and v.

    Shapes:
        weight: any of two axes or more; u: (n,), n the size of ``axis``; v: (m,), m the product of the other sizes;
        returns w: as weight, and the moved u and v.

    Arguments:
        steps: power iterations, 0 in inference.
        axis: the axis of the rows, the output features in (..., in, out).
        eps: the smallest length that a vector is divided by.

    Raises:
        RangeError: ``steps`` below 0. ShapeError: fewer than two axes, or vectors that do not fit.

    >>> w, u, v = spectral_norm(jnp.diag(jnp.array([4.0, 1.0])), jnp.ones(2), jnp.ones(2), steps=30)
    >>> jnp.round(w, 4).tolist()
    [[1.0, 0.0], [0.0, 0.25]]

    Source: Miyato et al., "Spectral normalization for generative adversarial networks" (arXiv:1802.05957).
    """
    array = real(weight, "spectral_norm")
    in_range("spectral_norm", "steps", steps, 0, math.inf)
    if array.ndim < 2:
        fix = "normalise weights, not biases or scales"
        raise ShapeError("a weight of two axes or more", got=describe(array), fix=fix, where="spectral_norm")
    (axis,) = axes_of("spectral_norm", array, axis)
    matrix = jnp.moveaxis(widen(array), axis, 0).reshape(array.shape[axis], -1)
    left = widen(vector("spectral_norm", "u", u, matrix.shape[0]))
    right = widen(vector("spectral_norm", "v", v, matrix.shape[1]))
    still = lax.stop_gradient(matrix)
    for _ in range(steps):
        left = normalize(still @ right, eps=eps)
        right = normalize(left @ still, eps=eps)
    left, right = jax.lax.stop_gradient((left, right))
    sigma = left @ matrix @ right
    return (widen(array) / sigma).astype(array.dtype), left, right
