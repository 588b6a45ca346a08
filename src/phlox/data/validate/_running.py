"""What is gathered over chunks, each in bounded memory: moments, a sample of rows, distinct values and their counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from phlox.data.validate._values import objects


class Moments:
    """Count, mean, variance, least and largest of numbers, taken in part by part.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    count: int
    mean: float
    low: float
    high: float

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, numbers: np.ndarray) -> None:
        """Take in (n,) finite numbers."""
        if not len(numbers):
            return
        mean = float(numbers.mean())
        whole = self.count + len(numbers)
        off = mean - self.mean
        self._squares += float(((numbers - mean) ** 2).sum()) + off**2 * self.count * len(numbers) / whole
        self.mean += off * len(numbers) / whole
        self.count = whole
        self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))

    @property
    def std(self) -> float:
        """The standard deviation over n − 1; NaN of fewer than two numbers."""
        return float(np.sqrt(self._squares / (self.count - 1))) if self.count > 1 else float("nan")


class RowSample:
    """A sample of rows, each as likely as any: those of the smallest numbers that were drawn for them.

    Arguments:
        most: rows that are kept.
        seed: of the numbers.
    """

    columns: dict[str, np.ndarray]

    def __init__(self, most: int, seed: int):
        self._most, self._rng = most, np.random.default_rng(seed)
        self._drawn, self.columns = np.empty(0), {}

    def __len__(self) -> int:
        return len(self._drawn)

    def add(self, rows: int, columns: Mapping[str, np.ndarray]) -> None:
        """Take in rows; columns that come late or are left out are missing there."""
        drawn = self._rng.random(rows)
        before, self._drawn = len(self), np.concatenate([self._drawn, drawn])
        kept = np.arange(len(self._drawn))
        if len(kept) > self._most:
            kept = np.sort(np.argpartition(self._drawn, self._most)[: self._most])
        self._drawn = self._drawn[kept]
        for name in {**self.columns, **columns}:
            old, new = self.columns.get(name), columns.get(name)
            old = objects([None] * before) if old is None else old
            new = objects([None] * rows) if new is None else new
            self.columns[name] = _joined(old, new)[kept]


def _joined(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    if not len(old):
        return new
    same = old.dtype.kind == new.dtype.kind or {old.dtype.kind, new.dtype.kind} <= set("iuf")
    return np.concatenate([old, new]) if same else objects([*old.tolist(), *new.tolist()])


class Distinct:
    """Distinct values and how often each came: all of them up to a limit, beyond it those of small hashes alone.

    Each time there are too many, half of the hashes are given up, by their first bit; what is left is a sample of the
    distinct values, of which each is as likely as any, however often it came.

    Arguments:
        most: values that are kept.

    Source: Gibbons, "Distinct sampling for highly-accurate answers to distinct values queries and event reports", 2001.
    """

    hashes: np.ndarray  # (kept,) uint64, sorted
    counts: np.ndarray  # (kept,)
    values: np.ndarray | None  # (kept,) one for each hash, where they are kept

    def __init__(self, most: int):
        self._most, self._level = most, 0
        self.hashes, self.counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        self.values = None

    @property
    def exact(self) -> bool:
        """Whether all distinct values are there."""
        return self._level == 0

    @property
    def count(self) -> int:
        """How many distinct values there are; an estimate where it is not exact."""
        return len(self.hashes) << self._level

    def add(self, hashes: np.ndarray, values: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        """Take in (n,) hashes; ``values`` gives those at some places of them, as objects."""
        mine = np.flatnonzero(self._are_kept(hashes))
        found, first, counts = np.unique(hashes[mine], return_index=True, return_counts=True)
        together, at, back = np.unique(np.concatenate([self.hashes, found]), return_index=True, return_inverse=True)
        summed = np.zeros(len(together), np.int64)
        np.add.at(summed, back, np.concatenate([self.counts, counts]))
        if values is not None:
            old = np.empty(0, object) if self.values is None else self.values
            self.values = np.concatenate([old, values(mine[first])])[at]
        self.hashes, self.counts = together, summed
        while len(self.hashes) > self._most:
            self._level += 1
            kept = self._are_kept(self.hashes)
            self.hashes, self.counts = self.hashes[kept], self.counts[kept]
            self.values = None if self.values is None else self.values[kept]

    def _are_kept(self, hashes: np.ndarray) -> np.ndarray:
        return hashes >> np.uint64(64 - self._level) == 0 if self._level else np.ones(len(hashes), bool)

    def common(self, most: int) -> list[tuple[Any, int]]:
        """The values that came most often, and how often; the smaller hash first where they came alike."""
        if self.values is None:
            return []
        order = np.argsort(-self.counts, kind="stable")[:most]
        return [(self.values[i], int(self.counts[i])) for i in order]
