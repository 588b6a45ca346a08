"""The lock that keeps two trainings out of one folder of checkpoints."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

from phlox.weights import open_regular

_HELD: weakref.WeakSet[FolderLock] = weakref.WeakSet()


class FolderLock:
    """A lock on a file, for this process alone: it goes with the process, however that ends, whatever children it has.

    Arguments:
        path: the file, made where it is missing; the number of the process that holds it is in it.

    Raises:
        BlockingIOError: another process, or another lock of this one, holds it.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path):
        self.process = os.getpid()
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o644)
        _HELD.add(self)
        if os.name != "posix":
            return
        import fcntl

        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise
        with suppress(OSError):  # only for the error of another one
            os.truncate(self._descriptor, 0)
            os.write(self._descriptor, str(self.process).encode())

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._descriptor is not None and self.process == os.getpid()

    def release(self) -> None:
        """Let another process have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(path: Path) -> str:
    """The process that holds the lock, in words."""
    with suppress(OSError, ValueError), open_regular(path) as file:
        return f"process {int(file.read(20))}"
    return "another process"


def _let_go() -> None:
    """In a forked child: the system keeps a lock for as long as any process has the file open."""
    for lock in list(_HELD):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
