"""Resizing the spatial axes of ``(batch, *space, channels)`` by interpolation."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import copied
from phlox.nn.functional.space._adaptive import adaptive_mean_pool, weigh_axes
from phlox.nn.functional.space._window import Sizes, is_int, per_axis, spatial_sizes

__all__ = ["interpolate"]

# How many spatial axes a mode is for, where its name says so.
_RANKS = {"bilinear": 2, "bicubic": 2, "trilinear": 3}
_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")

Scales = float | Sequence[float]


@answering
def interpolate(
    x: jax.Array,
    size: Sizes | None = None,
    *,
    scale: Scales | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
) -> jax.Array:
    """Resize the spatial axes, up or down.

    Formula: ``y[p] = Σ_q weight(source(p) - q) · x[q]`` along each axis, with ``source(p) = (p + 1/2)/scale - 1/2``, or
    ``p·(space - 1)/(space' - 1)`` when the corners are aligned; the weights sum to 1.

    Shapes: ``x`` (batch, *space, channels) → (batch, *space', channels), with ``space' = size`` or
    ``floor(space · scale)``.

    Arguments:
        size: the output's elements; one int, or one per spatial axis. Give this or ``scale``.
        scale: output over input size; one number, or one per spatial axis.
        mode: ``"nearest"`` repeats ``x[floor(p / scale)]``; ``"nearest-exact"`` repeats the element whose centre is
            nearest; ``"linear"`` (with 2 axes also ``"bilinear"``, with 3 ``"trilinear"``) weighs the two neighbours;
            ``"bicubic"`` (2 axes) weighs four by Keys' kernel with a = -0.75; ``"area"`` averages as
            :func:`adaptive_mean_pool` does.
        align_corners: map the centres of the corner elements to one another, rather than the elements' outer edges;
            for the linear and cubic modes.
        antialias: when shrinking, widen the kernel to the output's elements, so that no input element is passed over;
            for ``"linear"``, ``"bilinear"``, ``"trilinear"`` and ``"bicubic"`` (a = -0.5 then), without
            ``align_corners``.

    Raises:
        ShapeError: ``x`` has not 1 to 3 spatial axes, or not the mode's number of them.
        RangeError: both or neither of ``size`` and ``scale``, one that is not positive, an unknown mode, or
            ``align_corners`` or ``antialias`` with a mode that has no use for it.

    >>> interpolate(jnp.array([1.0, 3.0]).reshape(1, 2, 1), scale=2).ravel().tolist()
    [1.0, 1.0, 3.0, 3.0]
    >>> interpolate(jnp.array([1.0, 3.0]).reshape(1, 2, 1), 3, mode="linear", align_corners=True).ravel().tolist()
    [1.0, 2.0, 3.0]

    Source: Keys 1981, Cubic convolution interpolation; coordinates as in ``torch.nn.functional.interpolate``.
    """
    x = jnp.asarray(x)
    space = spatial_sizes(x, "interpolate")
    _check_mode(x, mode, align_corners)
    _check_antialias(mode, align_corners, antialias)
    sizes, ratios = _target(space, size, scale)
    if mode == "area":
        return adaptive_mean_pool(x, sizes)
    if mode.startswith("nearest"):
        return _nearest(x, sizes, ratios, mode == "nearest-exact")
    if antialias:
        smooth = zip(space, sizes, ratios, strict=True)
        return weigh_axes(x, [None if n == m else _smooth_matrix(n, m, r, mode == "bicubic") for n, m, r in smooth])
    matrix = _cubic_matrix if mode == "bicubic" else _linear_matrix
    return weigh_axes(
        x,
        [
            # As in PyTorch, a linear axis whose size stays is left alone, though its scale be 1.1.
            None if n == m and (mode != "bicubic" or r == 1 or align_corners) else matrix(n, m, r, align_corners)
            for n, m, r in zip(space, sizes, ratios, strict=True)
        ],
    )


def _check_mode(x: jax.Array, mode: str, align_corners: bool) -> None:
    if mode not in _MODES:
        raise RangeError(f"mode as one of {_MODES}", got=repr(mode), fix="use one of them", where="interpolate")
    if x.ndim != _RANKS.get(mode, x.ndim - 2) + 2:
        raise ShapeError(
            f"{_RANKS[mode]} spatial axes for mode {mode!r}",
            got=describe(x),
            fix="give (batch, height, width, channels)" if mode == "bicubic" else 'use mode "linear", for any number',
            where="interpolate",
        )
    if align_corners and (mode.startswith("nearest") or mode == "area"):
        raise RangeError(
            f"align_corners=False with mode {mode!r}, which has no corners to align",
            got="align_corners=True",
            fix="leave it out, or use a linear or cubic mode",
            where="interpolate",
        )


def _check_antialias(mode: str, align_corners: bool, antialias: bool) -> None:
    if antialias and (align_corners or mode.startswith("nearest") or mode == "area"):
        raise RangeError(
            "antialias=False with a mode that weighs no neighbours, and with align_corners",
            got=f"antialias=True, mode={mode!r}, align_corners={align_corners}",
            fix='use mode "linear" or "bicubic" without align_corners',
            where="interpolate",
        )


def _target(
    space: tuple[int, ...], size: Sizes | None, scale: Scales | None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The output sizes, and for each axis the input elements per output element."""
    if (size is None) == (scale is None):
        raise RangeError(
            "one of size and scale",
            got="both" if size is not None else "neither",
            fix="give size=(…) in elements or scale=2",
            where="interpolate",
        )
    if size is not None:
        sizes = per_axis(size, len(space), "size", "interpolate", least=1)
        return sizes, tuple(n / m for n, m in zip(space, sizes, strict=True))
    scales = _scales(scale, len(space))
    sizes = tuple(math.floor(n * s) for n, s in zip(space, scales, strict=True))
    if min(sizes) < 1:
        raise RangeError(
            f"a scale that leaves at least one element of {space}", got=repr(scale), fix="raise it", where="interpolate"
        )
    return sizes, tuple(1 / s for s in scales)


def _scales(scale: Any, rank: int) -> tuple[float, ...]:
    one = is_int(scale) or isinstance(scale, (float, np.floating))
    values = (scale,) * rank if one else tuple(scale) if isinstance(scale, (Sequence, np.ndarray)) else ()
    if isinstance(scale, str) or len(values) != rank or not all(v > 0 and math.isfinite(v) for v in values):
        raise RangeError(
            f"scale as one positive number or {rank} (one per spatial axis)",
            got=repr(scale),
            fix=f"give scale as a number or a tuple of {rank}",
            where="interpolate",
        )
    return tuple(float(v) for v in values)


def _nearest(x: jax.Array, sizes: tuple[int, ...], ratios: tuple[float, ...], exact: bool) -> jax.Array:
    for axis, (size, ratio) in enumerate(zip(sizes, ratios, strict=True), start=1):
        n = x.shape[axis]
        index = _nearest_index(n, size, ratio, exact)
        if np.array_equal(index, np.arange(n)):
            continue
        if size % n == 0 and np.array_equal(index, np.arange(size) // (size // n)):
            # Repetition, whose gradient is a sum where a gather's is a scatter.
            x = copied(functools.partial(jnp.repeat, repeats=size // n, axis=axis), x)
        elif n % size == 0 and np.array_equal(index, np.arange(size) * (n // size) + index[0]):
            x = jax.lax.slice_in_dim(x, int(index[0]), n, n // size, axis)
        else:
            x = copied(functools.partial(jnp.take, indices=index, axis=axis), x)
    return x


def _nearest_index(size: int, output: int, ratio: float, exact: bool) -> np.ndarray:
    """The source of each output element, found in float32 so that ties fall as they do in PyTorch.

    (Not where a scale such as 1.1 or 2.1 leaves or doubles the size: there its kernels contradict one another.)
    """
    step = np.float32(ratio)
    place = (np.arange(output) + 0.5) * float(step) if exact else np.arange(output, dtype=np.float32) * step
    return np.minimum(np.floor(place.astype(np.float32)).astype(int), size - 1)


def _source(size: int, output: int, ratio: float, align_corners: bool) -> np.ndarray:
    """Where each output element lies on the input, in elements from the first one's centre."""
    place = np.arange(output)
    if align_corners:
        return place * ((size - 1) / (output - 1)) if output > 1 else np.zeros(1)
    return (place + 0.5) * ratio - 0.5


@functools.lru_cache(maxsize=256)
def _linear_matrix(size: int, output: int, ratio: float, align_corners: bool) -> np.ndarray:
    """The (output, size) weights of linear interpolation."""
    source = np.maximum(_source(size, output, ratio, align_corners), 0)
    low = np.minimum(np.floor(source).astype(int), size - 1)
    return _spread(size, low[:, None] + np.arange(2), np.stack([1 - (source - low), source - low], 1))


@functools.lru_cache(maxsize=256)
def _cubic_matrix(size: int, output: int, ratio: float, align_corners: bool) -> np.ndarray:
    """The (output, size) weights of cubic convolution."""
    source = _source(size, output, ratio, align_corners)
    low = np.floor(source).astype(int)
    members = low[:, None] + np.arange(-1, 3)
    return _spread(size, members, cubic_kernel(source[:, None] - members))


@functools.lru_cache(maxsize=256)
def _smooth_matrix(size: int, output: int, ratio: float, cubic: bool) -> np.ndarray:
    """The (output, size) weights of a kernel as wide as an element of the coarser grid, cut off at the edges."""
    centre = (np.arange(output) + 0.5) * ratio - 0.5
    distance = abs(np.arange(size) - centre[:, None]) / max(ratio, 1.0)
    weights = cubic_kernel(distance, -0.5) * (distance < 2) if cubic else np.maximum(1 - distance, 0)
    return weights / weights.sum(1, keepdims=True)


def cubic_kernel(t: Any, a: float = -0.75) -> Any:
    """Keys' piecewise cubic, for NumPy and JAX arrays of distances up to 2."""
    t = abs(t)
    inner = ((a + 2) * t - (a + 3)) * t * t + 1
    outer = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return inner * (t <= 1) + outer * (t > 1)


def _spread(size: int, members: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rows of weights as a matrix over the input, whose ends stand for what lies beyond them."""
    matrix = np.zeros((len(members), size))
    np.add.at(matrix, (np.arange(len(members))[:, None], np.clip(members, 0, size - 1)), weights)
    return matrix
