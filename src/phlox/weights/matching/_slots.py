"""Where one array of a model comes from: a whole array, a part of a fused one, a stack of several; and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.weights.matching._layouts import Axes


@dataclass(frozen=True)
class Slot:
    """The place of one array of the model in another library's file."""

    ours: str
    theirs: tuple[str, ...]
    """One name; or those of equal layers, whose arrays are stacked along a new first axis here."""
    shape: tuple[int, ...]
    """Of one, here."""
    axes: Axes | None = None
    """Which of our axes stands at each place there."""
    flip: int = 0
    """How many axes from the first, here, are turned around."""
    lead: int = 0
    """How many axes of size one stand in front there."""
    trail: int = 0
    """How many stand behind there."""
    start: int = 0
    """Where its part of a fused array begins."""
    whole: int = 0
    """How long the fused array is there; 0 where it is no part."""
    along: int = 0
    """The axis there along which arrays are fused."""
    stacked: tuple[int, ...] = ()
    """The axes in front here, along which equal layers stand."""
    apart: bool = False
    """Whether the layers that are stacked here stand apart there, each with its name."""

    @property
    def shape_there(self) -> tuple[int, ...]:
        """Of one, or of one's part."""
        ordered = self.shape if self.axes is None else tuple(self.shape[a] for a in self.axes)
        return (1,) * self.lead + ordered + (1,) * self.trail

    @property
    def expected(self) -> tuple[int, ...]:
        """Of an array there: one, all that it is fused with, or the whole stack."""
        one, along = self.shape_there, self.along
        one = (*one[:along], self.whole, *one[along + 1 :]) if self.whole else one
        return one if self.apart else (*self.stacked, *one)

    def fits(self, shape: Sequence[int]) -> bool:
        """True where an array of this shape there is what is expected."""
        return tuple(shape) == self.expected

    def read(self, array: np.ndarray) -> np.ndarray:
        """A view on one of their arrays as ours looks."""
        if self.stacked and not self.apart:
            return self._turned(array, len(self.stacked))
        if self.whole:
            part = slice(self.start, self.start + self.shape_there[self.along])
            array = array[(slice(None),) * self.along + (part,)]
        return self._turned(array.reshape(array.shape[self.lead : array.ndim - self.trail]), 0)

    def _turned(self, array: np.ndarray, front: int) -> np.ndarray:
        if self.axes is not None:
            array = array.transpose((*range(front), *(front + np.argsort(self.axes))))
        return np.flip(array, tuple(range(front, front + self.flip))) if self.flip else array

    def write(self, array: Any) -> dict[str, np.ndarray]:
        """Their arrays, or parts, by name."""
        ours = np.asarray(array)
        if self.apart:
            return {name: self._write(one) for name, one in zip(self.theirs, ours, strict=True)}
        return {self.theirs[0]: self._write(ours)}

    def _write(self, array: np.ndarray) -> np.ndarray:
        front = array.ndim - len(self.shape)
        array = np.flip(array, tuple(range(front, front + self.flip))) if self.flip else array
        array = array if self.axes is None else array.transpose((*range(front), *(front + a for a in self.axes)))
        return array.reshape((1,) * self.lead + array.shape + (1,) * self.trail)
