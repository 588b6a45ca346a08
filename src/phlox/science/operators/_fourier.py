"""The Fourier neural operator: convolutions as wide as the domain, between maps of each point alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from phlox.core import Module, RangeError, check_function, check_size, harmonise, key_or_draw
from phlox.nn import Chain, Dense
from phlox.nn.functional import gelu
from phlox.science.operators._spectral import SpectralConv, check_field, check_modes

_GRIDS: dict[str, Callable[[int], Any]] = {
    "periodic": lambda n: jnp.arange(n) / n,
    "vertices": lambda n: jnp.arange(n) / max(n - 1, 1),
    "cells": lambda n: (jnp.arange(n) + 0.5) / n,
}


class FourierLayer(Module):
    r"""A convolution as wide as the domain beside a map of each point alone: $y = σ(K u + u W + b)$.

    Shapes:
        x, y: (batch, \*space, width).

    Arguments:
        modes: frequencies of K along each axis, see ``SpectralConv``.
        width: channels.
        act: σ, applied to the sum; None is none.
        key: where weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes below 1. ShapeError: an input of another shape.

    Source: Li et al., "Fourier neural operator for parametric partial differential equations", 2021.

    >>> import phlox as px
    >>> px.nn.output_shape(px.science.FourierLayer(4, 8), (2, 16, 8))
    (2, 16, 8)
    """

    spectral: SpectralConv
    local: Dense
    act: Callable[..., Any] | None

    def __init__(
        self, modes: int | Sequence[int], width: int, act: Callable[..., Any] | None = gelu, *, key: Any = None
    ):
        first, second = jax.random.split(key_or_draw(key))
        self.spectral, self.local = SpectralConv(modes, width, width, key=first), Dense(width, width, key=second)
        self.act = act if act is None else check_function("FourierLayer", "act", act, "as act(x)")

    def __call__(self, x: Any) -> jax.Array:
        y = self.spectral(x) + self.local(x)
        return y if self.act is None else self.act(y)

    def _brief(self) -> str:
        return f"FourierLayer({self.spectral.modes}, {self.spectral.in_channels})"


class FNO(Module):
    r"""A Fourier neural operator, a map from functions to functions: $y = Q(L_d(\dots L_1(P(u))))$.

    P and Q are small networks at each point, every L is a ``FourierLayer``, the last without activation. Its weights
    know frequencies and no points, so it is trained on one grid and asked on another, with even or odd sizes.

    Shapes:
        x: (batch, \*space, in), on 1 to 3 axes of equal steps; y: (batch, \*space, out).

    Arguments:
        modes: frequencies kept along each spatial axis, see ``SpectralConv``; its length is the number of axes.
        in_channels: channels of the input, without coordinates.
        out_channels: channels of the output.
        width: channels in between.
        act: the activation.
        depth: how many Fourier layers.
        hidden: channels between the two layers of Q.
        padding: zeros behind each axis as a share of its length, cut off again at the end, for functions that are not
            periodic; one number, or one for each axis. A share that is whole steps on every grid, as 1 / 8 often is,
            keeps what the operator means the same on each.
        grid: coordinates from 0 to 1 as further channels of the input: ``"periodic"`` for points i / n,
            ``"vertices"`` for i / (n − 1), with both ends, ``"cells"`` for the middles (i + ½) / n; None for none.
        key: where weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes below 1, a negative padding, or an unknown grid.
        ShapeError: an input of another rank, or of other channels.

    Source: Li et al., "Fourier neural operator for parametric partial differential equations", 2021.

    >>> import phlox as px
    >>> fno = px.science.FNO((4, 4), 1, 1, 8, depth=1)
    >>> px.nn.output_shape(fno, (2, 16, 16, 1)), px.nn.output_shape(fno, (2, 33, 20, 1))
    ((2, 16, 16, 1), (2, 33, 20, 1))
    """

    modes: tuple[int, ...]
    in_channels: int
    out_channels: int
    width: int
    padding: float | tuple[float, ...]
    grid: str | None
    lifting: Dense
    layers: list[FourierLayer]
    projection: Chain[Dense, Dense]

    def __init__(
        self,
        modes: int | Sequence[int],
        in_channels: int,
        out_channels: int,
        width: int = 32,
        act: Callable[..., Any] = gelu,
        *,
        depth: int = 4,
        hidden: int = 128,
        padding: float | Sequence[float] = 0.0,
        grid: str | None = "periodic",
        key: Any = None,
    ):
        self.modes = check_modes("FNO", modes)
        self.in_channels = check_size("FNO", "in_channels", in_channels)
        self.out_channels = check_size("FNO", "out_channels", out_channels)
        self.width, depth = check_size("FNO", "width", width), check_size("FNO", "depth", depth)
        self.padding = _check_padding(padding, len(self.modes))
        self.grid = _check_grid(grid)
        act = check_function("FNO", "act", act, "as act(x)")
        lift, first, second, *keys = jax.random.split(key_or_draw(key), depth + 3)
        self.lifting = Dense(in_channels + (len(self.modes) if grid else 0), width, key=lift)
        acts = [act] * (depth - 1) + [None]
        self.layers = [FourierLayer(self.modes, width, a, key=k) for a, k in zip(acts, keys, strict=True)]
        hidden = check_size("FNO", "hidden", hidden)
        self.projection = Chain(Dense(width, hidden, act, key=first), Dense(hidden, out_channels, key=second))

    def __call__(self, x: Any) -> jax.Array:
        x, _ = harmonise(self, x, self.lifting.weight)
        check_field(x, len(self.modes), self.in_channels)
        space = x.shape[1:-1]
        x = self.lifting(x if self.grid is None else _beside_grid(x, _GRIDS[self.grid]))
        shares = self.padding if isinstance(self.padding, tuple) else (self.padding,) * len(space)
        more = [(0, _behind(share, n, self.grid), 0) for share, n in zip(shares, space, strict=True)]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *more, (0, 0, 0)])
        for layer in self.layers:
            x = layer(x)
        return self.projection(x[(slice(None), *map(slice, space))])

    def _brief(self) -> str:
        return f"FNO({self.modes}, {self.in_channels} → {self.out_channels}, width={self.width})"


def _beside_grid(x: jax.Array, points: Callable[[int], Any]) -> jax.Array:
    """The input with the coordinates of each point as further channels."""
    axes = jnp.meshgrid(*(points(n).astype(x.dtype) for n in x.shape[1:-1]), indexing="ij")
    grid = jnp.broadcast_to(jnp.stack(axes, -1), (*x.shape[:-1], x.ndim - 2))
    return jnp.concatenate([x, grid], -1)


def _behind(share: float, n: int, grid: str | None) -> int:
    """How many points lie behind n, so that all have the length 1 + share; n points with both ends have n − 1 steps."""
    if grid == "vertices":
        return max(round((1 + share) * (n - 1)) - n, 0) if share else 0
    return round(share * n)


def _check_padding(padding: Any, rank: int) -> float | tuple[float, ...]:
    shares = tuple(padding) if isinstance(padding, Sequence) else (padding,) * rank
    real = all(isinstance(p, (int, float)) and not isinstance(p, bool) and 0 <= p < float("inf") for p in shares)
    if len(shares) != rank or not real:
        fix = "give a share of the size, such as padding=0.25"
        raise RangeError(f"padding of at least 0, or {rank} such", got=repr(padding), fix=fix, where="FNO")
    return tuple(map(float, shares)) if isinstance(padding, Sequence) else float(padding)


def _check_grid(grid: Any) -> str | None:
    if grid is not None and (not isinstance(grid, str) or grid not in _GRIDS):
        fix = "name where the points lie, or leave coordinates out by grid=None"
        raise RangeError("grid as 'periodic', 'vertices', 'cells' or None", got=repr(grid), fix=fix, where="FNO")
    return grid
