"""The score that enough of the calibration examples stay below, for all or for each group."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, OptionError, ShapeError, State, check_size, describe
from phlox.probability._arguments import classes_of, fitted, known, share


def thresholds(scores: np.ndarray, group: np.ndarray, groups: int, coverage: float) -> np.ndarray:
    """For each group the ⌈(n + 1) · coverage⌉-th smallest of its n scores; ∞ where there are not so many."""
    wanted = Fraction(repr(coverage))  # as it was written: 0.07 · 100 is 7, and a little more as a float
    found = np.full(groups, np.inf)
    for g in range(groups):
        own = np.sort(scores[group == g])
        rank = math.ceil((len(own) + 1) * wanted)
        if rank <= len(own):
            found[g] = own[rank - 1]
    return found


class Conformal(Module):
    """What all have in common: a coverage, groups, and a threshold for each, which calibration finds.

    Arguments:
        coverage: the share of examples to come that are to be held.
        groups: how many groups of examples are calibrated each by itself; 0 where there are none.
    """

    threshold: State | None  # (groups,), of one group where there are none
    coverage: float
    groups: int

    def __init__(self, coverage: float, groups: int):
        layer = type(self).__name__
        self.coverage = share(layer, "coverage", coverage)
        self.groups = check_size(layer, "groups", groups, least=0)
        self.threshold = None

    def _find(self, scores: jax.Array, group: Any) -> None:
        """Take the threshold of each group from scores of held-out examples, whatever their shape."""
        where = f"{type(self).__name__}.calibrate"
        group = self._group(group, scores, where)
        s, g = known(where, "a threshold", scores.reshape(-1), group.reshape(-1))
        found = thresholds(s.astype(np.float64), g, max(self.groups, 1), self.coverage)
        self.threshold = jnp.asarray(found, s.dtype)

    def _reach(self, like: jax.Array, group: Any) -> jax.Array:
        """The threshold of each example, like ``like``."""
        threshold = fitted(self, self.threshold, "a threshold", "calibrate")
        return threshold.astype(like.dtype)[self._group(group, like, type(self).__name__)]

    def _group(self, group: Any, like: jax.Array, where: str) -> jax.Array:
        if (group is None) != (self.groups == 0):
            got = "no group" if group is None else f"group {describe(group)} for groups=0"
            fix = (
                "give group=, the number of each example's group" if group is None else "write groups= where it is made"
            )
            raise OptionError("a group for each example where there are groups", got=got, fix=fix, where=where)
        if group is None:
            return jnp.zeros(like.shape, jnp.int32)
        group = classes_of(where, group, self.groups, "groups")
        if group.shape != like.shape:
            fix = "give the number of each example's group"
            raise ShapeError(f"group {like.shape}", got=describe(group), fix=fix, where=where)
        return group

    def _brief(self) -> str:
        groups = f", groups={self.groups}" if self.groups else ""
        return f"{type(self).__name__}({self.coverage}{groups})"
