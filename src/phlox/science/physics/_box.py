"""Regions of space and time, and points in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, check_size, describe, key_or_draw, param_dtype


class Box:
    """A region of space and time: each coordinate from one number to another, or fixed to one.

    The sides of a box are boxes: ``box.at(x=0.0)``. Points come in the dtype that new layers have.

    Arguments:
        sides: ``(lowest, highest)``, or a number, by the name of each coordinate, in the order of the columns.

    ``uniform(n)`` draws points, ``sobol(n)`` spreads them evenly, ``grid(x=…, t=…)`` puts them at equal distances with
    both ends, ``adaptive(n, residual)`` draws more where a residual is large. All give (n, coordinates).

    Raises:
        RangeError: no coordinate, or one whose highest value is not above its lowest.

    >>> import phlox as px
    >>> box = px.science.Box(x=(-1, 1), t=(0, 1))
    >>> box.at(t=0), box.sobol(256).shape
    (Box(x=(-1.0, 1.0), t=0.0), (256, 2))
    >>> box.at(t=0).grid(x=3).tolist()
    [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """

    names: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]

    def __init__(self, **sides: float | tuple[float, float]):
        ends = {name: _ends(name, side) for name, side in sides.items()}
        if not ends:
            fix = "name them: Box(x=(0, 1), t=(0, 1))"
            raise RangeError("a coordinate or more", got="none", fix=fix, where="Box")
        self.names = tuple(ends)
        self.lowest = tuple(low for low, _ in ends.values())
        self.highest = tuple(high for _, high in ends.values())

    def __repr__(self) -> str:
        sides = zip(self.names, self.lowest, self.highest, strict=True)
        return f"Box({', '.join(f'{n}={low!r}' if low == high else f'{n}={(low, high)!r}' for n, low, high in sides)})"

    def at(self, **fixed: float) -> Box:
        """The part of the box where coordinates have these values."""
        self._check_names(fixed)
        ends = zip(self.names, self.lowest, self.highest, strict=True)
        return Box(**{name: fixed.get(name, (low, high) if low < high else low) for name, low, high in ends})

    def uniform(self, n: int, *, key: Any = None) -> jax.Array:
        """Points drawn independently; ``key`` by default from the stream of ``px.seed``."""
        shape = (check_size("Box", "n", n), len(self.names))
        return self._placed(jax.random.uniform(key_or_draw(key), shape, param_dtype()))

    def sobol(self, n: int, *, seed: int = 0) -> jax.Array:
        """The first points of a scrambled Sobol sequence: even in each coordinate and in all together.

        Source: Owen, "Scrambling Sobol' and Niederreiter–Xing points", 1998, by SciPy.
        """
        from scipy.stats import qmc  # slow to import, and seldom used

        n = check_size("Box", "n", n)
        free = [low < high for low, high in zip(self.lowest, self.highest, strict=True)]
        unit = np.zeros((n, len(free)))
        if any(free):
            sequence = qmc.Sobol(sum(free), scramble=True, rng=np.random.default_rng(seed))
            unit[:, free] = sequence.random_base2(math.ceil(math.log2(n)))[:n]
        return self._placed(unit)

    def grid(self, **counts: int) -> jax.Array:
        """Points at equal distances, so many along each coordinate that is not fixed; the last changes fastest."""
        self._check_names(counts)
        ends = list(zip(self.names, self.lowest, self.highest, strict=True))
        missing = [name for name, low, high in ends if low < high and name not in counts]
        if missing:
            fix = f"add {missing[0]}=10"
            raise RangeError("a count for each coordinate", got=f"none for {missing[0]}", fix=fix, where="Box.grid")
        along = [
            np.linspace(low, high, check_size("Box.grid", name, counts[name], least=2)) if low < high else [low]
            for name, low, high in ends
        ]
        columns = [axis.reshape(-1) for axis in np.meshgrid(*along, indexing="ij")]
        return jnp.asarray(np.stack(columns, -1), param_dtype())

    def adaptive(
        self,
        n: int,
        residual: Callable[[Any], Any],
        *,
        power: float = 1.0,
        floor: float = 1.0,
        pool: int | None = None,
        key: Any = None,
    ) -> jax.Array:
        r"""Points drawn where a residual is large, by the density $p \propto |r|^k / \overline{|r|^k} + c$.

        Arguments:
            n: how many.
            residual: r, a function of points (pool, coordinates) that gives (pool,), such as
                ``lambda points: pinn.residual("equation", points)``; of several numbers a point their sum counts.
            power: k; the larger, the more points crowd together.
            floor: c, the share of points that fall anywhere.
            pool: how many candidates, drawn uniformly; ten times n where nothing is said.
            key: by default from the stream of ``px.seed``.

        Raises:
            RangeError: numbers out of range, or a residual that is not finite.
            ShapeError: a residual without a number for each point.

        Source: Wu et al., "A comprehensive study of non-adaptive and residual-based adaptive sampling for
        physics-informed neural networks", 2023.
        """
        n = check_size("Box.adaptive", "n", n)
        pool = check_size("Box.adaptive", "pool", 10 * n if pool is None else pool, least=n)
        for name, value in (("power", power), ("floor", floor)):
            if not 0 <= value < math.inf:
                fix = f"give {name}=1.0"
                raise RangeError(f"{name} of 0 or more", got=repr(value), fix=fix, where="Box.adaptive")
        first, second = jax.random.split(key_or_draw(key))
        candidates = self.uniform(pool, key=first)
        found = jnp.asarray(residual(candidates))
        if found.shape[:1] != (pool,):
            fix = "return the residual of each point"
            raise ShapeError(f"a residual of ({pool},)", got=describe(found), fix=fix, where="Box.adaptive")
        size = jnp.abs(found).reshape(pool, -1).sum(1) ** power
        if not bool(jnp.isfinite(size).all()):
            fix = "look for what divides by zero, or train with a smaller step"
            raise RangeError("residuals that are finite", got="NaN or Inf", fix=fix, where="Box.adaptive")
        mean = size.mean()
        density = jnp.where(mean > 0, size / jnp.where(mean > 0, mean, 1), 1) + floor
        chosen = jax.random.choice(second, pool, (n,), replace=False, p=density / density.sum())
        return candidates[chosen]

    def _placed(self, unit: Any) -> jax.Array:
        """Points of the unit cube as points of the box."""
        dtype = param_dtype()
        low, high = (np.asarray(side) for side in (self.lowest, self.highest))
        return jnp.asarray(unit, dtype) * jnp.asarray(high - low, dtype) + jnp.asarray(low, dtype)

    def _check_names(self, given: Any) -> None:
        for name in given:
            if name not in self.names:
                fix = "name one of them"
                raise RangeError(f"coordinates {', '.join(self.names)}", got=repr(name), fix=fix, where="Box")


def _ends(name: str, side: Any) -> tuple[float, float]:
    """The lowest and the highest value of a coordinate."""
    numbers = (side, side) if isinstance(side, (int, float)) else side
    good = isinstance(numbers, (tuple, list)) and len(numbers) == 2
    good = good and all(isinstance(v, (int, float)) and math.isfinite(v) for v in numbers)
    if not good or (numbers is side and not numbers[0] < numbers[1]):
        fix = f"write {name}=(0.0, 1.0), or a number where it is fixed"
        raise RangeError(f"{name} as (lowest, highest) or a number", got=repr(side), fix=fix, where="Box")
    return float(numbers[0]), float(numbers[1])
