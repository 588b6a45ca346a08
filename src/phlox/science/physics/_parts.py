"""A region in parts, a network for each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, State, check_function, check_size, describe, param_dtype
from phlox.science.physics._box import Box


class DomainDecomposition(Module):
    r"""Networks side by side, each for a part of a region, which together are one: $u(x) = \sum_i w_i(x)\,N_i(\hat x)$.

    Parts overlap, and their windows w, smooth and zero outside of a part, add up to 1 everywhere, so nothing has to be
    joined at the seams. Each network sees its part as $\hat x \in [-1, 1]$: what is fine in the region is coarse for
    it. All networks are computed at all points.

    Shapes:
        points: (batch, coordinates) in the box; u: (batch, outputs).

    Arguments:
        networks: one for each part, those along the last coordinate next to each other.
        box: the region.
        parts: how many along each coordinate, by name; 1 where nothing is said.
        overlap: by how much neighbours overlap, as a share of the distance of their middles.

    Raises:
        RangeError: another number of networks than of parts, a fixed coordinate cut, or an overlap out of range.
        ShapeError: points of other columns.

    Source: Moseley, Markham and Nissen-Meyer, "Finite basis physics-informed neural networks", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> box = px.science.Box(x=(0, 4), t=(0, 1))
    >>> networks = [px.Chain(px.Dense(2, 8, px.tanh), px.Dense(8, 1)) for _ in range(4)]
    >>> px.science.DomainDecomposition(networks, box, {"x": 4})(box.sobol(16)).shape
    (16, 1)
    """

    networks: list[Callable[..., Any]]
    middles: State  # (parts, coordinates)
    reach: State  # (coordinates,) from the middle of a part to its end, both overlaps within
    cut: tuple[bool, ...]

    def __init__(
        self,
        networks: Sequence[Callable[..., Any]],
        box: Box,
        parts: Mapping[str, int],
        *,
        overlap: float = 1.0,
    ):
        where = "DomainDecomposition"
        for name in parts:
            if name not in box.names or box.lowest[box.names.index(name)] == box.highest[box.names.index(name)]:
                fix = "name coordinates that go from one number to another"
                raise RangeError(f"parts along {', '.join(box.names)}", got=repr(name), fix=fix, where=where)
        counts = [check_size(where, name, parts.get(name, 1)) for name in box.names]
        if not 0 < overlap <= 1:
            raise RangeError("overlap above 0 and at most 1", got=repr(overlap), fix="give 0.5", where=where)
        if len(networks) != math.prod(counts):
            fix = "make one for each"
            raise RangeError(f"{math.prod(counts)} networks", got=str(len(networks)), fix=fix, where=where)
        self.networks = [check_function(where, "networks", n, "as network(points)") for n in networks]
        sides = list(zip(box.lowest, box.highest, counts, strict=True))
        along = [[low + (high - low) * (n + 0.5) / count for n in range(count)] for low, high, count in sides]
        self.middles = jnp.array(list(product(*along)), param_dtype())
        half = [(high - low) / count / 2 if high > low else 1.0 for low, high, count in sides]
        spread = [1 + overlap if count > 1 else 1.0 for count in counts]
        self.reach = jnp.array([h * s for h, s in zip(half, spread, strict=True)], param_dtype())
        self.cut = tuple(count > 1 for count in counts)

    def __call__(self, points: Any) -> jax.Array:
        points = jnp.asarray(points)
        if points.ndim != 2 or points.shape[1] != len(self.cut):
            raise ShapeError(f"(batch, {len(self.cut)})", got=describe(points), fix="give a column for each coordinate")
        places = (points[:, None] - self.middles) / self.reach  # (batch, parts, coordinates)
        shares = self._windows(places)
        found = [jnp.asarray(network(places[:, n])) for n, network in enumerate(self.networks)]
        rows = [v if v.ndim == 2 else v[:, None] for v in found]
        return sum((shares[:, n, None] * v for n, v in enumerate(rows[1:], 1)), shares[:, :1] * rows[0])

    def _windows(self, places: jax.Array) -> jax.Array:
        r"""Windows, (batch, parts): $(1 + \cos \pi \hat x)^2$ along each coordinate that is cut, by their sum."""
        inside = jnp.abs(places) < 1
        bumps = jnp.where(inside, (1 + jnp.cos(math.pi * jnp.where(inside, places, 0))) ** 2, 0)
        windows = jnp.ones(places.shape[:2], places.dtype)
        for n in (n for n, cut in enumerate(self.cut) if cut):
            windows = windows * bumps[..., n]
        return windows / windows.sum(-1, keepdims=True)

    def _brief(self) -> str:
        return f"DomainDecomposition({len(self.networks)} networks, cut along {sum(self.cut)} coordinates)"
