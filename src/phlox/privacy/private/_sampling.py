"""Poisson sampling: each example is in each batch by a coin of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from phlox.core import StructureError, check_size, describe
from phlox.data import Stream, source_of
from phlox.privacy._checks import check_number

_WHERE = "PoissonLoader"


@partial(jax.tree_util.register_dataclass, data_fields=["batch", "real"], meta_fields=["batch_size", "examples"])
@dataclass(frozen=True)
class Sampled:
    """A batch that was drawn by coins, filled up to a size that seldom changes.

    Arguments:
        batch: a tree of arrays (rows, ...).
        real: (rows,) true for what was drawn, false for what fills up.
        batch_size: the mean of how many are drawn.
        examples: how many they are drawn from.
    """

    batch: Any
    real: Any
    batch_size: float
    examples: int


class PoissonLoader:
    r"""Batches in each of which each example is with probability $q = b / n$, whatever else is in it.

    This is what the accounting of ``PrivateOptimizer`` assumes. Batches of a shuffled ``px.DataLoader`` are not drawn
    so, and ε for them is another, and larger. A batch is a ``px.privacy.Sampled``, filled up to a size that it exceeds
    once in 10⁹ times; if it does, the next multiple is taken. It may be empty, and the step is taken all the same.

    The coins are to be secret, as the noise is. ``state()`` and ``restore`` are those of ``px.DataLoader``; without a
    seed a run that goes on draws anew, which is as private.

    Arguments:
        data: arrays, or a tuple or dict of them, or anything with a length and an index that ``px.DataLoader`` takes.
        batch_size: b, the mean number of examples in a batch; at most n.
        seed: of the coins; None, as it should be outside of tests, for the system's entropy.

    Raises:
        RangeError: a batch size that is not in (0, n]. StructureError: a stream, which has no length.

    Source: Zhu and Wang, "Poisson subsampled Rényi differential privacy", 2019.

    >>> import numpy as np, phlox as px
    >>> loader = px.privacy.PoissonLoader((np.arange(1000.0), np.arange(1000)), 50, seed=0)
    >>> [int(drawn.real.sum()) for drawn in loader][:4], len(loader), loader.sample_rate
    ([45, 35, 43, 49], 20, 0.05)
    """

    batch_size: float
    examples: int
    seed: int | None
    rows: int

    def __init__(self, data: Any, batch_size: float, *, seed: int | None = None):
        source = source_of(data, None)
        if isinstance(source, Stream):
            fix = "give data with a length and an index, such as arrays"
            raise StructureError("data whose examples are counted", got=describe(data), fix=fix, where=_WHERE)
        self._source = source
        self.examples = len(source)
        self.batch_size = check_number(_WHERE, "batch_size", batch_size, 0, self.examples)
        self.seed = None if seed is None else check_size(_WHERE, "seed", seed, least=0)
        self._words = [secrets.randbits(128) if self.seed is None else self.seed]
        self.rows = self._room()
        self._epoch, self._batch, self._begun = 0, 0, False

    @property
    def sample_rate(self) -> float:
        """q, the probability of each example to be in a batch."""
        return self.batch_size / self.examples

    def _room(self) -> int:
        """Rows that a batch exceeds once in 10⁹ times: six standard deviations above the mean."""
        q = self.sample_rate
        most = np.ceil(self.batch_size + 6 * np.sqrt(self.batch_size * (1 - q)))
        return int(min(8 * np.ceil(most / 8), self.examples))

    def __len__(self) -> int:
        """Batches that are called an epoch: as many as see each example once, on average."""
        return max(1, round(self.examples / self.batch_size))

    def __iter__(self) -> Iterator[Sampled]:
        if self._begun:
            self._epoch, self._batch = self._epoch + 1, 0
        self._begun = True
        epoch, first = self._epoch, self._batch
        for number in range(first, len(self)):
            self._epoch, self._batch = epoch, number + 1
            yield self._drawn(epoch, number)

    def _drawn(self, epoch: int, number: int) -> Sampled:
        coins = np.random.default_rng([*self._words, epoch, number]).random(self.examples)
        chosen = np.flatnonzero(coins < self.sample_rate)
        rows = self.rows * max(1, -(-len(chosen) // self.rows))
        index = np.resize(chosen, rows) if len(chosen) else np.zeros(rows, np.int64)
        return Sampled(self._source.read(index), np.arange(rows) < len(chosen), self.batch_size, self.examples)

    def state(self) -> dict[str, Any]:
        """The position behind the last batch that was taken, and the settings it depends on; JSON-able."""
        return {"epoch": self._epoch, "batch": self._batch, "settings": self._settings()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a position; the next ``for`` gives the rest of its epoch.

        Raises:
            StructureError: the state of a loader of other settings.
        """
        if not isinstance(state, dict) or state.get("settings") != self._settings():
            got = repr(state.get("settings")) if isinstance(state, dict) else describe(state)
            fix = "make the loader as it was when the state was taken"
            what = f"the state of a loader of {self._settings()}"
            raise StructureError(what, got=got, fix=fix, where=f"{_WHERE}.restore")
        self._epoch, self._batch, self._begun = int(state["epoch"]), int(state["batch"]), False

    def _settings(self) -> dict[str, Any]:
        return {"examples": self.examples, "batch_size": self.batch_size, "seed": self.seed}

    def __repr__(self) -> str:
        return f"PoissonLoader({self.examples} observations, batch_size={self.batch_size:g})"
