"""The losses of an epoch: on the device as long as nobody asks, on the host when somebody does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from phlox.loop.steps._chunk import Part

_WAITING = 256  # parts left on the device before the older ones are fetched


class Ledger:
    """The loss, weight and further scalars of every step of an epoch."""

    fetched: int
    left_out: int
    waits: Callable[[], AbstractContextManager[Any]]  # a block around what waits for the device

    def __init__(self) -> None:
        self.waits = nullcontext
        self.waiting: deque[Part] = deque()
        self.columns: dict[str, list[np.ndarray[Any, Any]]] = {}
        self.fetched = 0  # steps whose records are on the host
        self.bad: int | None = None  # the first of these with a loss that counts and is not finite
        self.left_out = 0  # how many of these do not count

    def add(self, parts: Sequence[Part]) -> None:
        """Take in the records of calls that may not have run yet."""
        self.waiting.extend(parts)
        if len(self.waiting) > _WAITING:
            self.fetch(_WAITING // 2)

    def fetch(self, leave: int = 0) -> None:
        """Bring records to the host, but the last few."""
        while len(self.waiting) > leave:
            with self.waits():
                record = self.waiting.popleft().numbers()
            columns = {"loss": record.loss, "weight": record.weight, **record.scalars}
            for name, values in columns.items():
                wide = values.dtype == np.float64  # the loss of a training in float64
                self.columns.setdefault(name, []).append(values if wide else values.astype(np.float32))
            bad = np.flatnonzero(~np.isfinite(record.loss) & (record.weight != 0))
            self.left_out += int(np.count_nonzero(record.weight == 0))
            if bad.size and self.bad is None:
                self.bad = self.fetched + int(bad[0])
            self.fetched += len(record.loss)

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """(steps,) the values of one name."""
        self.fetch()
        return np.concatenate(self.columns.get(name, [np.zeros(0, np.float32)]))

    def means(self) -> dict[str, float]:
        """The weighted mean of each name over the epoch so far."""
        self.fetch()
        weight = self.column("weight").astype(np.float64)
        total = weight.sum()
        names = [name for name in self.columns if name != "weight"]
        if not total:
            return dict.fromkeys(names, float("nan"))
        counted = weight != 0  # a step that was left out may have any loss
        columns = {name: self.column(name).astype(np.float64)[counted] for name in names}
        return {name: float((values * weight[counted]).sum() / total) for name, values in columns.items()}

    def clear(self) -> None:
        """Be ready for the next epoch."""
        self.waiting.clear()
        self.columns.clear()
        self.fetched, self.bad, self.left_out = 0, None, 0

    def state(self) -> dict[str, Any]:
        """The columns, as arrays."""
        self.fetch()
        return {name: self.column(name) for name in self.columns}

    def restore(self, columns: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.clear()
        self.columns = {name: [np.asarray(values)] for name, values in columns.items()}
        self.fetched = len(self.column("loss"))
