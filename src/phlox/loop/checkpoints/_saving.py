"""Writing in the background: by one process, or by several that write their parts of one checkpoint."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phlox.loop.checkpoints._arrays import PartWriter, Writer
from phlox.loop.checkpoints._circle import Circle, as_error, as_text
from phlox.loop.checkpoints._manifest import ARRAYS, STATE, sealed
from phlox.loop.checkpoints._part import made_one, written
from phlox.loop.checkpoints._place import Disk, Objects
from phlox.loop.checkpoints._snapshot import Snapshot, State
from phlox.weights import FileError, file_error

_PAUSES = (0, 0.01, 0.1, 1)  # seconds
_SYSTEM = {errno.ENOSPC: "No space left", errno.EFBIG: "File too large", errno.EDQUOT: "quota", errno.EACCES: "denied"}


class Saving:
    """Writes one checkpoint after the other into a folder, each under another name until it is whole.

    Arguments:
        place: where the checkpoints are.
        where: who speaks in errors.
        appeared: is called, in the thread that writes, when one has its name.

    Attributes:
        failed: one could not be written.
    """

    failed: bool

    def __init__(self, place: Disk | Objects, where: str, appeared: Callable[[], None]):
        self.place, self.where, self.appeared = place, where, appeared
        self.folder = place.folder
        self.failed = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._writer: Writer | None = None

    def begin(self, state: State, about: dict[str, Any], temporary: Path, final: Path) -> None:
        """Begin to write what ``Run.state`` gave; whatever the run does next, this is how it was.

        Raises:
            StructureError: a callback keeps something that no file has.
            FileError: there is no room, or no folder.
        """
        snapshot = Snapshot.of(state)
        try:
            temporary.mkdir()
            (temporary / STATE).write_text(snapshot.text, encoding="utf-8")
            if snapshot.arrays:
                self._writer = self._writer or Writer()
                self._writer.begin(temporary / ARRAYS, snapshot.arrays)
        except Exception as error:
            raise self._failure(error, temporary) from error
        self._start(self._finish, about, temporary, final)

    def _start(self, finish: Callable[..., None], *given: Any) -> None:
        self._thread = threading.Thread(target=finish, args=given)
        self._thread.start()

    def _finish(self, about: dict[str, Any], temporary: Path, final: Path) -> None:
        """In a thread: wait for the arrays, write the manifest, let the checkpoint appear."""
        try:
            if self._writer is not None:
                self._writer.wait()
            sealed(temporary, about)
            self._let_appear(temporary, final)
        except BaseException as error:  # the training thread raises it
            self._error = self._failure(error, temporary)

    def _let_appear(self, temporary: Path, final: Path) -> None:
        self.place.let_appear(temporary, final)
        self.appeared()

    def wait(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            FileError: it cannot be written.
        """
        self.join()
        self.check(waited=True)

    def join(self) -> None:
        """Wait; nothing is raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def check(self, *, waited: bool = False) -> None:
        """Raise where a checkpoint that was begun could not be written."""
        del waited
        error, self._error = self._error, None
        if error is not None:
            raise error

    def forget(self) -> None:
        """In a forked child: the thread that writes is not here."""
        self._thread = self._writer = None

    def close(self) -> None:
        """Wait, and let go of threads; nothing is raised."""
        self.join()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _failure(self, error: BaseException, temporary: Path) -> BaseException:
        """The error to raise for a checkpoint that could not be written; what was written of it goes."""
        self.failed = True
        _remove(temporary)
        return self._as_file_error(error) if isinstance(error, Exception) else error

    def _as_file_error(self, error: Exception) -> FileError:
        """What the system says within what Orbax says."""
        if isinstance(error, FileError):
            return error
        cause = error if isinstance(error, OSError) and error.errno else _system_error(error)
        if cause is not None:
            failure = file_error(cause, self.folder, self.where)
        else:
            failure = FileError(
                "to be written", got=str(error)[:300], fix="look at the disk and the path", where=self.where
            )
        failure.__cause__ = error
        return failure


class SavingTogether(Saving):
    """The same by several processes, which all begin at the same step.

    Until all have written their parts nobody waits for another but in a thread. What goes wrong in one of them, they
    all raise where they wait for it: at the same step too, the next time that they save, or at the end.
    """

    def __init__(self, place: Disk | Objects, where: str, appeared: Callable[[], None], circle: Circle):
        super().__init__(place, where, appeared)
        self.circle = circle
        self._parts: PartWriter | None = None
        self._count = 0

    def begin(self, state: State, about: dict[str, Any], temporary: Path, final: Path) -> None:
        snapshot, copied = Snapshot.of(state, self.circle), threading.Event()
        self._count += 1
        self._start(self._share, snapshot, about, temporary, final, copied)
        if snapshot.waits:
            copied.wait()

    def _share(
        self, snapshot: Snapshot, about: dict[str, Any], temporary: Path, final: Path, copied: threading.Event
    ) -> None:
        """In a thread of each process: write its part; in process 0 make one of all, and say how it went."""
        circle, name = self.circle, f"save {self._count}"
        try:
            self._parts = self._parts or PartWriter()
            parts = circle.collected(name, self._written(snapshot, temporary, final, copied))
            if circle.first:
                circle.forget(f"save {self._count - 1}")  # who has told of this one has heard the end of that one
            said = self._made_one(parts, about, temporary, final) if circle.first else ""
            told: Any = as_error(circle.announced(f"{name}/end", said))
            if told is None:
                return
            told.everywhere, self._error = True, told
        except BaseException as lost:  # a process does not tell any more
            self._error = lost
        self.failed = True
        if circle.first or not self.place.on_disk:
            _remove(temporary)

    def _written(self, snapshot: Snapshot, temporary: Path, final: Path, copied: threading.Event) -> str:
        """Write this process's part; what to tell of it, or of what went wrong."""
        assert self._parts is not None
        try:
            told = written(temporary, snapshot, self._parts, self.circle, copied)
            if not self.circle.first:  # process 0 does so where all is there
                self.place.hand_over(temporary, final)
            return told
        except Exception as error:
            return as_text(self._as_file_error(error))
        finally:
            copied.set()

    def _made_one(self, parts: list[str], about: dict[str, Any], temporary: Path, final: Path) -> str:
        """In process 0: let the checkpoint appear; what to say to all."""
        assert self._parts is not None
        try:
            made_one(self.place, temporary, final, about, parts, self._parts)
            self._let_appear(temporary, final)
        except Exception as error:
            return as_text(self._as_file_error(error))
        return ""

    def check(self, *, waited: bool = False) -> None:
        if waited:
            super().check()

    def forget(self) -> None:
        super().forget()
        self._parts = None

    def close(self) -> None:
        super().close()
        if self._parts is not None:
            self._parts.close()
            self._parts = None


def _remove(folder: Path) -> None:
    """Delete what a save that failed has left; where one write fails, Orbax does not wait for the others."""
    for pause in _PAUSES:
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _system_error(error: BaseException) -> OSError | None:
    """The system's error, which Orbax passes on as text."""
    for number, words in _SYSTEM.items():
        if words in str(error):
            return OSError(number, os.strerror(number))
    return None
