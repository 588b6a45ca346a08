"""What is ordered of all workers: lines in a file, which each carries out in their order."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Orders:
    """A list that several processes add to and read.

    Arguments:
        path: the file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "orders"
    >>> mine, theirs = Orders(path), Orders(path)
    >>> mine.add({"order": "load", "name": "digits"})
    1
    >>> theirs.new(), theirs.read
    ([{'order': 'load', 'name': 'digits'}], 1)
    """

    read: int
    """How many were read."""

    def __init__(self, path: Path):
        self.path, self.read, self._at = path, 0, 0
        path.touch()

    def add(self, order: Mapping[str, Any]) -> int:
        """Add an order; gives its number."""
        import fcntl  # which Windows has not, where one process serves

        with self.path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)  # what one has begun who was killed
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(order).encode() + b"\n")
        return text.count(b"\n") + 1

    def new(self) -> list[dict[str, Any]]:
        """Those that were added since the last look."""
        if self.path.stat().st_size == self._at:
            return []
        with self.path.open("rb") as file:
            file.seek(self._at)
            whole, _, _ = file.read().rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        self._at += len(whole) + bool(lines)
        self.read += len(lines)
        return [json.loads(line) for line in lines]
