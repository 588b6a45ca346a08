"""Sampling images and volumes at arbitrary places: grids, affine maps, rotation."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe
from phlox.nn.functional.space._resize import cubic_kernel
from phlox.nn.functional.space._window import Sizes, per_axis, spatial_sizes

__all__ = ["affine_grid", "grid_sample", "imrotate"]

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


@answering
def grid_sample(
    x: jax.Array,
    grid: jax.Array,
    *,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
) -> jax.Array:
    """Interpolate an image or volume at the places that a grid names, differentiably in both.

    Formula: ``y[n, p] = Σ_q weight(place(grid[n, p]) - q) · x[n, q]``, where -1 and 1 are the outer edges of the first
    and the last element (or their centres, when the corners are aligned).

    Shapes: ``x`` (batch, *space, channels), ``grid`` (batch, *out, rank) → (batch, *out, channels), with 1 to 3
    spatial axes. The grid's last axis is in the order (x, y[, z]), which is (width, height[, depth]).

    Arguments:
        mode: ``"bilinear"`` (between all neighbours, in any rank), ``"nearest"`` (ties to the even index), or
            ``"bicubic"`` (2 axes; Keys' kernel with a = -0.75).
        padding_mode: what lies outside: ``"zeros"``, ``"border"`` (the nearest element) or ``"reflection"`` at the
            edges that -1 and 1 name.
        align_corners: what -1 and 1 name.

    Raises:
        ShapeError: rank or batch do not fit together, or ``"bicubic"`` without 2 spatial axes.
        DtypeError: ``grid`` is not floating.
        RangeError: an unknown mode or padding mode.

    >>> x = jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1)
    >>> grid_sample(x, jnp.array([[[[0.0, 0.0], [-0.5, 0.0]]]])).ravel().tolist()
    [2.0, 1.0]

    Source: Jaderberg et al. 2015, Spatial transformer networks (arXiv:1506.02025).
    """
    where = "grid_sample"
    x, grid = jnp.asarray(x), jnp.asarray(grid)
    space = spatial_sizes(x, where)
    rank = len(space)
    if grid.ndim < 2 or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
        raise ShapeError(
            f"a grid ({x.shape[0]}, *out, {rank}) for x {describe(x)}",
            got=describe(grid),
            fix="give one place of as many coordinates as x has spatial axes for each output element",
            where=where,
        )
    if not jnp.issubdtype(grid.dtype, jnp.floating):
        raise DtypeError("a floating grid from -1 to 1", got=describe(grid), fix="cast or rescale it", where=where)
    _check_modes(mode, padding_mode, rank, where)
    place = grid.astype(jnp.promote_types(grid.dtype, jnp.float32))
    places = []
    for axis, n in enumerate(space):
        g = place[..., rank - 1 - axis]
        places.append((g + 1) / 2 * (n - 1) if align_corners else ((g + 1) * n - 1) / 2)
    return _sample(x, places, mode, padding_mode, align_corners)


@answering
def affine_grid(theta: jax.Array, size: Sizes, *, align_corners: bool = False) -> jax.Array:
    """Make the grid that lets :func:`grid_sample` apply an affine map to an image or volume.

    Formula: ``grid[n, p] = theta[n] @ (x, y[, z], 1)``, with the coordinates of output element p from -1 to 1.

    Shapes: ``theta`` (batch, rank, rank + 1) → (batch, *size, rank), the last axis in the order (x, y[, z]).

    Arguments:
        size: the output's spatial sizes (height, width) or (depth, height, width); one int for a square or cube.
        align_corners: whether -1 and 1 are the centres of the corner elements, or their outer edges; as given to
            :func:`grid_sample`.

    Raises:
        ShapeError: ``theta`` has another shape.
        DtypeError: ``theta`` is not floating.
        RangeError: a size below 1, or another number of them than the rank.

    >>> affine_grid(jnp.array([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]), (1, 2)).tolist()
    [[[[0.0, 0.0], [1.0, 0.0]]]]

    Source: Jaderberg et al. 2015, Spatial transformer networks (arXiv:1506.02025).
    """
    theta = jnp.asarray(theta)
    if theta.ndim != 3 or theta.shape[2] != theta.shape[1] + 1 or not 1 <= theta.shape[1] <= 3:
        raise ShapeError(
            "theta (batch, rank, rank + 1) with rank 1 to 3",
            got=describe(theta),
            fix="stack a matrix and a translation column: (batch, 2, 3) for images",
            where="affine_grid",
        )
    if not jnp.issubdtype(theta.dtype, jnp.floating):
        raise DtypeError("a floating theta", got=describe(theta), fix="cast it", where="affine_grid")
    rank = theta.shape[1]
    sizes = per_axis(size, rank, "size", "affine_grid", least=1)
    dtype = jnp.promote_types(theta.dtype, jnp.float32)
    axes = [np.linspace(-1, 1, n) * (1 if align_corners else (n - 1) / n) if n > 1 else np.zeros(1) for n in sizes]
    base = np.stack([*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(sizes)], -1)
    grid = jnp.einsum("...j,nij->n...i", jnp.asarray(base, dtype), theta.astype(dtype), precision=lax.Precision.HIGHEST)
    return grid.astype(theta.dtype)


@answering
def imrotate(
    x: jax.Array, angle: jax.Array | float, *, mode: str = "bilinear", center: tuple[float, float] | None = None
) -> jax.Array:
    """Rotate images counter-clockwise, with zeros coming in from outside.

    Formula: ``y[n, r, c] = x[n, center + R(angle) · ((r, c) - center)]``, interpolated; row 0 is at the top.

    Shapes: ``x`` (batch, height, width, channels), ``angle`` scalar or (batch,) → the shape of ``x``.

    Arguments:
        angle: radians; gradients flow to it.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        center: the fixed point as (row, column) in elements; by default the middle, ((height - 1)/2, (width - 1)/2).

    Raises:
        ShapeError: ``x`` is not a batch of images, or ``angle`` neither a number nor one per image.
        RangeError: an unknown mode.

    >>> imrotate(jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, ..., None], jnp.pi / 2)[0, ..., 0].round().tolist()
    [[2.0, 4.0], [1.0, 3.0]]

    Source: the rotation matrix; interpolation as in :func:`grid_sample`.
    """
    x, angle = jnp.asarray(x), jnp.asarray(angle)
    height, width = spatial_sizes(x, "imrotate", 2)
    if angle.shape not in ((), (x.shape[0],)):
        raise ShapeError(
            f"an angle of shape () or ({x.shape[0]},)", got=describe(angle), fix="give one per image", where="imrotate"
        )
    _check_modes(mode, "zeros", 2, "imrotate")
    dtype = jnp.promote_types(angle.dtype, jnp.float32)
    angle = jnp.broadcast_to(angle.astype(dtype), x.shape[:1])[:, None, None]
    mid = center or ((height - 1) / 2, (width - 1) / 2)
    down = jnp.arange(height, dtype=dtype)[:, None] - mid[0]
    right = jnp.arange(width, dtype=dtype) - mid[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _sample(x, [mid[0] + cos * down + sin * right, mid[1] + cos * right - sin * down], mode, "zeros", False)


def _check_modes(mode: str, padding_mode: str, rank: int, where: str) -> None:
    for name, value, choices in (("mode", mode, _MODES), ("padding_mode", padding_mode, _PADDINGS)):
        if value not in choices:
            raise RangeError(f"{name} as one of {choices}", got=repr(value), fix="use one of them", where=where)
    if mode == "bicubic" and rank != 2:
        raise ShapeError(
            'two spatial axes for mode "bicubic"', got=f"{rank}", fix='use mode "bilinear", for any rank', where=where
        )


@functools.partial(jax.jit, static_argnames=("mode", "padding", "align"), inline=True)
def _sample(x: jax.Array, places: list[jax.Array], mode: str, padding: str, align: bool) -> jax.Array:
    """Interpolate at ``places``, given per spatial axis in elements from the first one's centre."""
    space, out = x.shape[1:-1], x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else places[0].dtype
    if mode != "bicubic":
        places = [_settle(p, n, padding, align) for p, n in zip(places, space, strict=True)]
    taps = [_taps(p, mode) for p in places]
    values = lax.collapse(x, 1, x.ndim - 1).astype(jnp.promote_types(out, jnp.float32))
    total: Any = 0
    for corner in itertools.product(*taps):
        index, weight, inside = jnp.zeros((), jnp.int32), jnp.ones((), places[0].dtype), jnp.array(True)
        for (at, share), n in zip(corner, space, strict=True):
            at = lax.stop_gradient(_settle(at, n, padding, align) if mode == "bicubic" else at)
            inside = inside & (at >= 0) & (at <= n - 1)
            index = index * n + jnp.clip(at, 0, n - 1).astype(jnp.int32)
            weight = weight * share
        flat = jax.vmap(_rows)(values, index.reshape(x.shape[0], math.prod(index.shape[1:])))
        flat = flat.reshape(*index.shape, x.shape[-1])
        total = total + flat * jnp.where(inside, weight, 0)[..., None]
    return total.astype(out)


def _rows(values: jax.Array, index: jax.Array) -> jax.Array:
    return values.at[index].get(mode="promise_in_bounds")


def _taps(place: jax.Array, mode: str) -> list[tuple[jax.Array, Any]]:
    """The elements that a place along one axis is made of, with their weights."""
    if mode == "nearest":
        return [(jnp.round(place), 1.0)]
    low = lax.stop_gradient(jnp.floor(place))
    part = place - low
    if mode == "bilinear":
        return [(low, 1 - part), (low + 1, part)]
    return [(low + i, cubic_kernel(part - i)) for i in range(-1, 3)]


def _settle(place: jax.Array, size: int, padding: str, align: bool) -> jax.Array:
    """Bring a place along one axis inside, as the padding says; what is clipped, the ends included, has no gradient."""
    if padding == "zeros":
        return place
    if padding == "reflection":
        place = _reflect(place, 0.0, size - 1.0) if align else _reflect(place, -0.5, size - 0.5)
    inside = (place > 0) & (place < size - 1)
    return jnp.where(inside, place, jnp.clip(lax.stop_gradient(place), 0, size - 1))


def _reflect(place: jax.Array, low: float, high: float) -> jax.Array:
    """Fold the line into [low, high] by reflection at both."""
    span = high - low
    if span == 0:
        return jnp.zeros_like(place)
    away = jnp.where(place < low, low - place, place - low)
    extra, flips = jnp.fmod(away, span), jnp.floor(lax.stop_gradient(away) / span)
    return jnp.where(flips % 2 == 0, extra, span - extra) + low
