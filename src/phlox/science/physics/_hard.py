"""Conditions that hold exactly, whatever a network says, and the layers that a network begins with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    State,
    check_function,
    check_size,
    describe,
    harmonise,
    key_or_draw,
    param_dtype,
)
from phlox.science._checks import check_positive
from phlox.science.equations._fields import named


class HardConstraint(Module):
    r"""A network that keeps values on a boundary, by how it is built: $u(x) = g(x) + d(x)\,N(x)$.

    Where d is zero, u is g; where d and its slope are, so is the slope of u.

    Shapes:
        points: (batch, coordinates); u: (batch, outputs). The functions take the columns, (batch,) each, and give
        (batch,), or a tuple of them, one for each output.

    Arguments:
        network: N, a Module or function of points.
        distance: d, zero on the boundary alone, as ``lambda x, t: t * x * (1 - x)``.
        value: g, which has the values that are wanted there; zero where there is none.

    Raises:
        RangeError: what cannot be called.
        ShapeError: points or results of other shapes.

    Source: Lagaris, Likas and Fotiadis, "Artificial neural networks for solving ordinary and partial differential
    equations", 1998.

    >>> import jax.numpy as jnp, phlox as px
    >>> network = px.science.HardConstraint(px.Dense(2, 1), lambda x, t: t, lambda x, t: jnp.sin(x))
    >>> network(jnp.array([[0.5, 0.0]])).item() == jnp.sin(0.5).item()
    True
    """

    network: Callable[..., Any]
    distance: Callable[..., Any]
    value: Callable[..., Any] | None

    def __init__(
        self, network: Callable[..., Any], distance: Callable[..., Any], value: Callable[..., Any] | None = None
    ):
        self.network = check_function("HardConstraint", "network", network, "as network(points)")
        self.distance = check_function("HardConstraint", "distance", distance, "as distance(x, t)")
        called = "as value(x, t)"
        self.value = value if value is None else check_function("HardConstraint", "value", value, called)

    def __call__(self, points: Any) -> jax.Array:
        points = jnp.asarray(points)
        found = jnp.asarray(self.network(points))
        rows = found if found.ndim == 2 else found[:, None]
        columns = [points[:, n] for n in range(points.shape[1])]
        kept = self._outputs("distance", self.distance(*columns), rows) * rows
        if self.value is not None:
            kept = self._outputs("value", self.value(*columns), rows) + kept
        return kept.reshape(found.shape)

    def _outputs(self, name: str, given: Any, rows: jax.Array) -> jax.Array:
        """What a function gave as (batch, outputs), or (batch, 1) for all of them."""
        parts = given if isinstance(given, (tuple, list)) else [given]
        batch, outputs = rows.shape
        arrays = [
            jnp.broadcast_to(jnp.asarray(v, rows.dtype), (batch,)) for v in parts if jnp.shape(v) in ((), (batch,))
        ]
        if len(arrays) != len(parts) or len(parts) not in (1, outputs):
            fix = f"return ({batch},), or a tuple of {outputs} of them"
            raise ShapeError(f"{name} as ({batch},) for each output", got=describe(given), fix=fix)
        return jnp.stack(arrays, -1)

    def _brief(self) -> str:
        return f"HardConstraint({named(self.network)}, {named(self.distance)})"


class FourierFeatures(Module):
    r"""Waves of random directions and lengths: $y = [\cos 2\pi B x, \sin 2\pi B x]$, $B_{ij} \sim N(0, \sigma^2)$.

    Before a network they let it learn what changes quickly, which networks alone learn late.

    Shapes:
        x: (..., in); B: (features, in), which does not train; y: (..., 2 * features).

    Arguments:
        in_size: numbers of the input.
        features: how many waves.
        scale: σ, waves in a unit of the input.
        key: where B is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes below 1, or a scale that is not above 0.
        ShapeError: an input of another size.

    Source: Tancik et al., "Fourier features let networks learn high frequency functions in low dimensional domains",
    2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.science.FourierFeatures(2, 8)(jnp.ones((5, 2))).shape
    (5, 16)
    """

    waves: State  # (features, in)

    def __init__(self, in_size: int, features: int, *, scale: float = 1.0, key: Any = None):
        shape = check_size("FourierFeatures", "features", features), check_size("FourierFeatures", "in_size", in_size)
        scale = check_positive("FourierFeatures", "scale", scale)
        self.waves = scale * jax.random.normal(key_or_draw(key), shape, param_dtype())

    def __call__(self, x: Any) -> jax.Array:
        x, waves = harmonise(self, x, self.waves)
        if x.ndim < 1 or x.shape[-1] != waves.shape[1]:
            raise ShapeError(
                f"(..., {waves.shape[1]})", got=describe(x), fix="give it as many numbers as it was made for"
            )
        turns = 2 * math.pi * (x @ waves.T)
        return jnp.concatenate([jnp.cos(turns), jnp.sin(turns)], -1)

    def _brief(self) -> str:
        return f"FourierFeatures({self.waves.shape[1]}, {self.waves.shape[0]})"


class PeriodicFeatures(Module):
    r"""Coordinates of which some come round: x of period P becomes $\cos(2\pi k x / P), \sin(2\pi k x / P)$ for k from
    1 to the harmonics, so that whatever follows is periodic exactly, with all its derivatives.

    Shapes:
        x: (..., coordinates); y: (..., ``out_size``), each coordinate's numbers in its place.

    Arguments:
        periods: P of each coordinate, in its units; None of one that does not come round.
        harmonics: how many waves stand for a coordinate.

    Raises:
        RangeError: a period that is not above 0, or no harmonics.
        ShapeError: an input of another number of coordinates.

    Source: Dong and Ni, "A method for representing periodic functions and enforcing exactly periodic boundary
    conditions with deep neural networks", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.science.PeriodicFeatures((2.0, None))
    >>> layer(jnp.array([[0.0, 7.0]])).tolist(), layer.out_size
    ([[1.0, 0.0, 7.0]], 3)
    """

    periods: tuple[float | None, ...]
    harmonics: int

    def __init__(self, periods: Sequence[float | None], *, harmonics: int = 1):
        if not periods or isinstance(periods, str):
            fix = "give one for each coordinate, as (2.0, None)"
            raise RangeError(
                "a period or None for each coordinate", got=repr(periods), fix=fix, where="PeriodicFeatures"
            )
        self.periods = tuple(p if p is None else check_positive("PeriodicFeatures", "periods", p) for p in periods)
        self.harmonics = check_size("PeriodicFeatures", "harmonics", harmonics)

    @property
    def out_size(self) -> int:
        """How many numbers it gives for a point."""
        return sum(1 if period is None else 2 * self.harmonics for period in self.periods)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if x.ndim < 1 or x.shape[-1] != len(self.periods):
            raise ShapeError(f"(..., {len(self.periods)})", got=describe(x), fix="give it a period or None for each")
        parts = []
        for n, period in enumerate(self.periods):
            column = x[..., n : n + 1]
            if period is None:
                parts.append(column)
                continue
            turns = 2 * math.pi / period * column * jnp.arange(1, self.harmonics + 1, dtype=x.dtype)
            parts += [jnp.cos(turns), jnp.sin(turns)]
        return jnp.concatenate(parts, -1)

    def _brief(self) -> str:
        return f"PeriodicFeatures({self.periods})"
