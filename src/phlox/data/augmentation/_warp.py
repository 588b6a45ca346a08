"""An image moved by an affine map: where each pixel of the result comes from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

ORDERS = {"nearest": 0, "bilinear": 1}


def linear_map(rotation: Any = 0.0, scale: Any = 1.0, shear: Any = 0.0) -> jax.Array:
    """A = rotation · shear · scale on (row, column), for angles in radians; positive rotation is counterclockwise."""
    cos, sin = jnp.cos(rotation), jnp.sin(rotation)
    turn = jnp.array([[cos, -sin], [sin, cos]])  # rows count downward
    slant = jnp.array([[1.0, 0.0], [jnp.tan(shear), 1.0]])
    return scale * (turn @ slant)


def warp(image: jax.Array, matrix: jax.Array, shift: jax.Array, *, order: int, fill: float) -> jax.Array:
    """``result[A (p - c) + c + shift] = image[p]`` with the centre c; what lies outside the image is ``fill``.

    Shapes:
        image, result: (height, width, channels); matrix A: (2, 2); shift: (2,) pixels down and to the right.
    """
    height, width, _ = image.shape
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2])
    (a, b), (c, d) = matrix
    inverse = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"))
    there = (grid - (centre + shift)[:, None, None]).reshape(2, -1)
    source = (inverse @ there).reshape(grid.shape) + centre[:, None, None]

    def moved(plane: jax.Array) -> jax.Array:
        return map_coordinates(plane, list(source), order=order, mode="constant", cval=fill)

    return jax.vmap(moved, in_axes=-1, out_axes=-1)(image)
