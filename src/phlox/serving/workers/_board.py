"""Numbers that processes share: a row for each, in a file that lies in memory."""

from __future__ import annotations

import mmap
from enum import IntEnum
from pathlib import Path

_BYTES = 8  # of one number: a store of it is whole or not there


class Stage(IntEnum):
    """How far a worker is."""

    STARTING = 0
    SERVING = 1
    LEAVING = 2
    GONE = 3


class _Column(IntEnum):
    STAGE = 0
    READY = 1
    CONNECTIONS = 2
    ORDERS = 3
    STARTS = 4


class Board:
    """A row of numbers for each worker, which that worker writes and all others read.

    Arguments:
        path: the file; it is made where there is none.
        count: how many workers.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "board"
    >>> mine, theirs = Board(path, 2), Board(path, 2)
    >>> mine.enter(1, Stage.SERVING, ready=True, connections=3)
    >>> theirs.stage(1).name, theirs.connections(1), theirs.ready(0)
    ('SERVING', 3, False)
    """

    def __init__(self, path: Path, count: int):
        self.count = count
        size = count * len(_Column) * _BYTES
        with path.open("a+b") as file:
            if file.seek(0, 2) < size:
                file.truncate(size)
            self._numbers = memoryview(mmap.mmap(file.fileno(), size)).cast("q")

    def enter(self, slot: int, stage: Stage, *, ready: bool = False, connections: int = 0) -> None:
        """Write where a worker stands."""
        self.has(slot, connections)
        self._set(slot, _Column.READY, int(ready))
        self._set(slot, _Column.STAGE, stage)

    def has(self, slot: int, connections: int) -> None:
        """Write how many connections a worker has."""
        self._set(slot, _Column.CONNECTIONS, connections)

    def done(self, slot: int, orders: int) -> None:
        """Write how many orders a worker has carried out."""
        self._set(slot, _Column.ORDERS, orders)

    def started(self, slot: int) -> None:
        """Count a start of a worker."""
        self._set(slot, _Column.STARTS, self._get(slot, _Column.STARTS) + 1)

    def starts(self) -> int:
        """How often workers were started."""
        return sum(self._get(slot, _Column.STARTS) for slot in range(self.count))

    def stage(self, slot: int) -> Stage:
        """How far a worker is."""
        return Stage(self._get(slot, _Column.STAGE))

    def ready(self, slot: int) -> bool:
        """Whether every model of a worker can be asked."""
        return bool(self._get(slot, _Column.READY))

    def connections(self, slot: int) -> int:
        """How many connections a worker has."""
        return self._get(slot, _Column.CONNECTIONS)

    def orders(self, slot: int) -> int:
        """How many orders a worker has carried out."""
        return self._get(slot, _Column.ORDERS)

    def serving(self) -> list[int]:
        """The workers that serve."""
        return [slot for slot in range(self.count) if self.stage(slot) is Stage.SERVING]

    def _get(self, slot: int, column: _Column) -> int:
        return self._numbers[slot * len(_Column) + column]

    def _set(self, slot: int, column: _Column, number: int) -> None:
        self._numbers[slot * len(_Column) + column] = number
