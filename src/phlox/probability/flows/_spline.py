"""The rational-quadratic spline: a rising function of one number, and its inverse in closed form."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

_LEAST = 1e-3  # width and height of a bin, as a share of all, and slope at a knot


class Knots(NamedTuple):
    """Corners of the bins, (..., bins + 1), and slopes there."""

    x: jax.Array
    y: jax.Array
    slope: jax.Array


def knots(raw: jax.Array, bins: int, bound: float) -> Knots:
    """Knots of 3 bins - 1 free numbers, (..., 3 bins - 1): widths, heights, inner slopes; the identity of zeros."""
    widths, heights, slopes = raw[..., :bins], raw[..., bins : 2 * bins], raw[..., 2 * bins :]
    slopes = _LEAST + jax.nn.softplus(slopes + math.log(math.expm1(1 - _LEAST)))
    ends = jnp.ones_like(raw[..., :1])  # as outside
    return Knots(_corners(widths, bound), _corners(heights, bound), jnp.concatenate([ends, slopes, ends], -1))


def _corners(raw: jax.Array, bound: float) -> jax.Array:
    """From -bound to bound, rising."""
    shares = _LEAST + (1 - _LEAST * raw.shape[-1]) * jax.nn.softmax(raw, -1)
    inner = 2 * bound * jnp.cumsum(shares, -1)[..., :-1] - bound
    end = jnp.full_like(raw[..., :1], bound)
    return jnp.concatenate([-end, inner, end], -1)


class _Bin(NamedTuple):
    """The bin of one number: its lower corner, width, height, and slopes at both ends."""

    x: jax.Array
    y: jax.Array
    width: jax.Array
    height: jax.Array
    low: jax.Array
    high: jax.Array


def _bin(at: jax.Array, corners: jax.Array, k: Knots) -> _Bin:
    n = jnp.clip((at[..., None] >= corners).sum(-1) - 1, 0, corners.shape[-1] - 2)[..., None]

    def pick(v: jax.Array, i: jax.Array) -> jax.Array:
        return jnp.take_along_axis(v, i, -1)[..., 0]

    x, y = pick(k.x, n), pick(k.y, n)
    return _Bin(x, y, pick(k.x, n + 1) - x, pick(k.y, n + 1) - y, pick(k.slope, n), pick(k.slope, n + 1))


def forward(x: jax.Array, k: Knots, bound: float) -> tuple[jax.Array, jax.Array]:
    """The spline and the logarithm of its slope; the identity outside of ±bound."""
    inside = (x > -bound) & (x < bound)
    b = _bin(jnp.where(inside, x, 0), k.x, k)
    share = (jnp.where(inside, x, 0) - b.x) / b.width
    steep = b.height / b.width
    under = steep + (b.low + b.high - 2 * steep) * share * (1 - share)
    y = b.y + b.height * (steep * share**2 + b.low * share * (1 - share)) / under
    return jnp.where(inside, y, x), jnp.where(inside, _log_slope(b, steep, share, under), 0)


def inverse(y: jax.Array, k: Knots, bound: float) -> tuple[jax.Array, jax.Array]:
    """The number that the spline takes to y, a root of a quadratic, and the negative logarithm of the slope there."""
    inside = (y > -bound) & (y < bound)
    b = _bin(jnp.where(inside, y, 0), k.y, k)
    above = jnp.where(inside, y, 0) - b.y
    steep = b.height / b.width
    bend = above * (b.low + b.high - 2 * steep)
    first = b.height * (steep - b.low) + bend
    second = b.height * b.low - bend
    last = -steep * above
    root = jnp.sqrt(jnp.maximum(second**2 - 4 * first * last, 0))
    share = 2 * last / (-second - root)
    under = steep + (b.low + b.high - 2 * steep) * share * (1 - share)
    x = b.x + share * b.width
    return jnp.where(inside, x, y), jnp.where(inside, -_log_slope(b, steep, share, under), 0)


def _log_slope(b: _Bin, steep: jax.Array, share: jax.Array, under: jax.Array) -> jax.Array:
    over = b.high * share**2 + 2 * steep * share * (1 - share) + b.low * (1 - share) ** 2
    return 2 * jnp.log(steep) + jnp.log(over) - 2 * jnp.log(under)
