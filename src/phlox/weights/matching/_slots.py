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
    """Where its part of a fused array begins, along the first axis there."""
    fused: bool = False

    @property
    def shape_there(self) -> tuple[int, ...]:
        """Of one, or of one's part."""
        ordered = self.shape if self.axes is None else tuple(self.shape[a] for a in self.axes)
        return (1,) * self.lead + ordered + (1,) * self.trail

    def fits(self, shape: Sequence[int]) -> bool:
        """True where an array of this shape there is, or holds, the one of here."""
        expected, found = self.shape_there, tuple(shape)
        if not self.fused:
            return found == expected
        return len(found) == len(expected) and found[1:] == expected[1:] and self.start + expected[0] <= found[0]

    def read(self, array: np.ndarray) -> np.ndarray:
        """A view on one of their arrays as ours looks."""
        if self.fused:
            array = array[self.start : self.start + self.shape_there[0]]
        array = array.reshape(array.shape[self.lead : array.ndim - self.trail])
        if self.axes is not None:
            array = array.transpose(np.argsort(self.axes))
        return np.flip(array, tuple(range(self.flip))) if self.flip else array

    def write(self, array: Any) -> dict[str, np.ndarray]:
        """Their arrays, or parts, by name."""
        ours = np.asarray(array)
        many = ours if len(self.theirs) > 1 or ours.ndim > len(self.shape) else ours[None]
        return {name: self._write(one) for name, one in zip(self.theirs, many, strict=True)}

    def _write(self, array: np.ndarray) -> np.ndarray:
        array = np.flip(array, tuple(range(self.flip))) if self.flip else array
        array = array if self.axes is None else array.transpose(self.axes)
        return array.reshape((1,) * self.lead + array.shape + (1,) * self.trail)
