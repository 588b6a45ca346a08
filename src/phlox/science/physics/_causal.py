"""What is early counts first: a network that is wrong now cannot be right later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, check_size
from phlox.science._checks import check_positive


@dataclass(frozen=True)
class Causal:
    r"""Weights that fall where earlier residuals are still large: of M stretches of time, the i-th counts
    $w_i = \exp(-\epsilon \sum_{k<i} L_k)$, with $L_k$ the mean square of the k-th.

    Once all of them are near 1, which the smallest, ``NAME_causal`` in the history, tells, the equation holds at all
    times.

    Arguments:
        coordinate: the name of time.
        start, end: between which times.
        stretches: M, of equal length.
        tolerance: ε; the larger, the smaller earlier residuals must be.

    Raises:
        RangeError: numbers out of range.

    Source: Wang, Sankaran and Perdikaris, "Respecting causality for training physics-informed neural networks", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> causal = px.science.Causal("t", 0.0, 1.0, stretches=2)
    >>> [round(float(w), 3) for w in causal.factors(jnp.array([0.1, 0.4, 0.9]), jnp.array([1.0, 3.0, 5.0]))]
    [1.0, 1.0, 0.135]
    """

    coordinate: str
    start: float
    end: float
    stretches: int = 16
    tolerance: float = 1.0

    def __post_init__(self) -> None:
        if not self.start < self.end:
            got = f"{self.start!r} and {self.end!r}"
            raise RangeError("a start before the end", got=got, fix="give the first time first", where="Causal")
        check_size("Causal", "stretches", self.stretches)
        check_positive("Causal", "tolerance", self.tolerance)

    def factors(self, time: Any, square: Any) -> jax.Array:
        """How much each point counts, (batch,), by its time and the squares of its residuals; no gradient passes."""
        return self._of_stretches(time, square)[self._stretch(time)]

    def least(self, time: Any, square: Any) -> jax.Array:
        """How much the last stretch counts, ()."""
        return self._of_stretches(time, square)[-1]

    def _stretch(self, time: Any) -> jax.Array:
        share = (time - self.start) / (self.end - self.start)
        return jnp.clip(jnp.floor(share * self.stretches), 0, self.stretches - 1).astype(jnp.int32)

    def _of_stretches(self, time: Any, square: Any) -> jax.Array:
        stretch = self._stretch(time)
        total = jnp.zeros(self.stretches, square.dtype).at[stretch].add(square)
        count = jnp.zeros(self.stretches, square.dtype).at[stretch].add(1)
        mean = total / jnp.maximum(count, 1)
        return jax.lax.stop_gradient(jnp.exp(-self.tolerance * (jnp.cumsum(mean) - mean)))
