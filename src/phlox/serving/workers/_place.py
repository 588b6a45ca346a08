"""What a worker knows of the others."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from phlox.serving.workers._board import Board, Stage
from phlox.serving.workers._files import tally_path
from phlox.serving.workers._orders import Orders

_STEP, _MOST = 0.002, 5  # seconds that others have for each connection less; for how many at most


class Place:
    """The place of one worker among all.

    Arguments:
        slot, count: which of how many it is.
        folder: what they share.
        listener: the socket that all take connections from.
    """

    slot: int
    count: int
    folder: Path
    listener: socket.socket
    board: Board
    orders: Orders
    stage: Stage
    BEAT = 0.1
    """Seconds between two times that it tells how it stands."""

    def __init__(self, slot: int, count: int, folder: Path, listener: socket.socket):
        self.slot, self.count, self.folder, self.listener = slot, count, folder, listener
        self.board, self.orders = Board(folder / "board", count), Orders(folder / "orders")
        self.stage, self._parent, self._told = Stage.STARTING, os.getppid(), False

    @property
    def is_orphan(self) -> bool:
        """Whether who started it has gone."""
        return os.getppid() != self._parent

    @property
    def serves(self) -> bool:
        """Whether it takes connections."""
        return self.stage is Stage.SERVING

    def serve(self) -> None:
        """Take connections from now on."""
        self._go(Stage.SERVING)

    def leave(self) -> None:
        """Take no more of them."""
        self._go(Stage.LEAVING)

    def _go(self, stage: Stage) -> None:
        self.stage = stage
        self.enter(ready=stage is Stage.SERVING, connections=self.board.connections(self.slot))

    def enter(self, *, ready: bool, connections: int) -> None:
        """Tell the others how this one stands."""
        self.board.enter(self.slot, self.stage, ready=ready, connections=connections)

    def has(self, connections: int) -> None:
        """Tell the others how many connections this one has."""
        self.board.has(self.slot, connections)

    @property
    def ready(self) -> bool:
        """Whether all serve, and every model of each can be asked."""
        board = self.board
        return all(board.stage(n) is Stage.SERVING and board.ready(n) for n in range(self.count))

    def tell(self, tallies: Mapping[str, Any]) -> None:
        """Tell the others what was counted of versions here."""
        if not tallies and not self._told:
            return
        fresh = self.folder / f".tally-{self.slot}"
        fresh.write_text(json.dumps(tallies))
        fresh.replace(tally_path(self.folder, self.slot))
        self._told = bool(tallies)

    def tallies(self) -> list[Any]:
        """What the others have counted."""
        found = []
        for slot in range(self.count):
            if slot != self.slot:
                with suppress(FileNotFoundError):  # it has counted nothing, or is gone
                    found.append(json.loads(tally_path(self.folder, slot).read_text()))
        return found

    def turn(self, connections: int) -> float | None:
        """In how many seconds this one may take a connection, which it does if no other has by then.

        Who has not loaded its models takes none while another serves; who has more connections than another waits a
        moment for that one, which may be busy, or hang.
        """
        others = [self.board.connections(n) for n in self.board.serving() if n != self.slot]
        if self.stage is Stage.STARTING and others:
            return None
        return _STEP * min(_MOST, max(0, connections - min(others, default=connections)))
