"""Gated units: one half of the features passes as much as the other half lets it; and maxout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.nn.functional._activations import gelu
from phlox.nn.functional._bounds import largest, rectified
from phlox.nn.functional._numeric import axes_of, in_range, real, widen

__all__ = ["geglu", "glu", "maxout", "reglu", "swiglu"]


@answering
def glu(x: ArrayLike, axis: int = -1) -> Array:
    """Gated linear unit: ``y = a * sigmoid(b)``, with a and b the first and second half of x along ``axis``.

    Shapes:
        x: (..., 2 * features), real; y: (..., features).

    Arguments:
        axis: the axis to halve.

    Raises:
        ShapeError: no such axis, or its size is odd.

    >>> glu(jnp.array([3.0, 0.0])).tolist()
    [1.5]

    Source: Dauphin et al., "Language modeling with gated convolutional networks" (arXiv:1612.08083).
    """
    a, b, dtype = _halves("glu", x, axis)
    return (a * jax.nn.sigmoid(b)).astype(dtype)


@answering
def reglu(x: ArrayLike, axis: int = -1) -> Array:
    """Gated unit with a rectifier: ``y = a * relu(b)``, halves as in ``glu``.

    Shapes, arguments and errors: as ``glu``.

    >>> reglu(jnp.array([3.0, 2.0])).tolist()
    [6.0]

    Source: Shazeer, "GLU variants improve transformer" (arXiv:2002.05202); the gate is the second half.
    """
    a, b, dtype = _halves("reglu", x, axis)
    return (a * rectified(b)).astype(dtype)


@answering
def geglu(x: ArrayLike, axis: int = -1, approximate: str = "none") -> Array:
    """Gated unit with a GELU: ``y = a * gelu(b)``, halves as in ``glu``.

    Shapes, arguments and errors: as ``glu``; ``approximate`` as in ``gelu``.

    >>> round(geglu(jnp.array([2.0, 1.0])).item(), 4)
    1.6827

    Source: Shazeer, "GLU variants improve transformer" (arXiv:2002.05202); the gate is the second half.
    """
    a, b, dtype = _halves("geglu", x, axis)
    return (a * gelu(b, approximate)).astype(dtype)


@answering
def swiglu(x: ArrayLike, axis: int = -1) -> Array:
    """Gated unit with a SiLU: ``y = a * b * sigmoid(b)``, halves as in ``glu``.

    Shapes, arguments and errors: as ``glu``.

    >>> round(swiglu(jnp.array([2.0, 1.0])).item(), 4)
    1.4621

    Source: Shazeer, "GLU variants improve transformer" (arXiv:2002.05202); the gate is the second half.
    """
    a, b, dtype = _halves("swiglu", x, axis)
    return (a * b * jax.nn.sigmoid(b)).astype(dtype)


@answering
def maxout(x: ArrayLike, pieces: int, axis: int = -1) -> Array:
    """Keep the largest of each group: ``y_i = max(x_{i*pieces}, ..., x_{i*pieces + pieces - 1})`` along ``axis``.

    Shapes:
        x: (..., features * pieces), real; y: (..., features).

    Arguments:
        pieces: neighbours that compete, at least 1.
        axis: the axis to reduce.

    Raises:
        RangeError: ``pieces`` below 1. ShapeError: ``pieces`` does not divide the axis.

    >>> maxout(jnp.array([1.0, 5.0, 4.0, 2.0]), 2).tolist()
    [5.0, 4.0]

    Source: Goodfellow et al., "Maxout networks" (arXiv:1302.4389).
    """
    in_range("maxout", "pieces", pieces, 1, float("inf"))
    array = real(x, "maxout")
    (axis,) = axes_of("maxout", array, axis)
    size = array.shape[axis]
    if size % pieces:
        expected = f"axis {axis} divisible into groups of {pieces}"
        raise ShapeError(expected, got=describe(array), fix=f"choose pieces that divide {size}", where="maxout")
    shape = (*array.shape[:axis], size // pieces, pieces, *array.shape[axis + 1 :])
    return largest(array.reshape(shape), axis + 1)


def _halves(name: str, x: ArrayLike, axis: int) -> tuple[Array, Array, jnp.dtype]:
    array = real(x, name)
    (axis,) = axes_of(name, array, axis)
    if array.shape[axis] % 2:
        fix = "double the features of the layer before it: one half is the gate"
        raise ShapeError(f"an even number of features along axis {axis}", got=describe(array), fix=fix, where=name)
    a, b = jnp.split(widen(array), 2, axis)
    return a, b, array.dtype
