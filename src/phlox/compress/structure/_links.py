"""Indices that go together, and those that must stay.

Each index of each axis of each array has a number. Two that an operation brings together, as a sum brings channel 3 of
both sides, are linked: they are removed together, or not at all. What an operation cannot spare is held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Label = np.ndarray | None
"""The numbers of an axis's indices; None where nothing can be removed from it."""


@dataclass(frozen=True)
class Value:
    """What is known of an array in a program.

    Arguments:
        axes: for each axis, the numbers of its indices.
        zero: for each axis, whether the array is zero at an index wherever all weights of that index are.
        blank: whether it is zero everywhere.
    """

    axes: tuple[Label, ...]
    zero: tuple[bool, ...]
    blank: bool = False

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.axes)

    def vanishes(self, axis: int) -> bool:
        """Whether it is zero at an index of this axis wherever all weights of that index are."""
        return self.blank or self.zero[axis]


def unknown(rank: int) -> Value:
    """An array from which nothing can be removed."""
    return Value((None,) * rank, (False,) * rank)


class Links:
    """Which indices were linked, which are held, and why."""

    def __init__(self) -> None:
        self.count = 0
        self.reasons: list[str] = []
        self._edges: list[tuple[np.ndarray, np.ndarray]] = []
        self._held: list[tuple[np.ndarray, int]] = []

    def fresh(self, size: int) -> np.ndarray:
        """Numbers for the indices of an axis that was not there before."""
        self.count += size
        return np.arange(self.count - size, self.count)

    def hold(self, label: Label, reason: str) -> None:
        """Keep these indices, for a reason in words."""
        if label is not None:
            self._held.append((label, len(self.reasons)))
            self.reasons.append(reason)

    def join(self, a: Label, b: Label, reason: str) -> Label:
        """Link the indices of two axes, one by one; where one of them has to stay, so does the other."""
        if a is b:
            return a
        if a is None or b is None:
            self.hold(a if b is None else b, reason)
            return None
        assert a.shape == b.shape, reason
        self._edges.append((a, b))
        return a if a.min() <= b.min() else b  # arrays of the model are numbered first

    def components(self) -> tuple[np.ndarray, dict[int, str]]:
        """For each number the lowest of those it is linked with; and of those that are held, by the lowest, why."""
        parent = np.arange(self.count)
        pairs = [np.concatenate(side) for side in zip(*self._edges, strict=True)] if self._edges else None
        while pairs is not None:
            a, b = (parent[side] for side in pairs)
            low, high = np.minimum(a, b), np.maximum(a, b)
            if (low == high).all():
                break
            np.minimum.at(parent, high, low)
            while (parent[parent] != parent).any():
                parent = parent[parent]
        held: dict[int, str] = {}
        for label, reason in self._held:
            for one in np.unique(parent[label]).tolist():
                held.setdefault(one, self.reasons[reason])
        return parent, held
