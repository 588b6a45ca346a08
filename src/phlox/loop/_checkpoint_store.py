"""A folder of checkpoints: written in the background, kept by age and by score, read from the newest that is whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from phlox.loop._checkpoint_files import (
    ARRAYS,
    STATE,
    Saved,
    Snapshot,
    State,
    check_files,
    flush_folder,
    manifest_of,
    orbax,
    read_state,
    sealed,
)
from phlox.weights import CorruptFileError, FileError, file_error

_NAME = re.compile(r"(\d{4,})-step-\d+")
_UNFINISHED = ".unfinished-"
_SYSTEM = {errno.ENOSPC: "No space left", errno.EFBIG: "File too large", errno.EDQUOT: "quota", errno.EACCES: "denied"}


class CheckpointStore:
    """The checkpoints in a folder.

    Each is a folder of its own, ``0007-step-350``: numbered in the order of saving, it is there whole or not at all. To
    read one, every file is compared with its checksum. What is damaged is named and left as it is.

    Arguments:
        folder: where the checkpoints are, or will be.

    >>> import tempfile, jax.numpy as jnp, phlox as px
    >>> model = px.Dense(1, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = px.fit(model, [(jnp.ones((4, 1)), jnp.ones((4, 1)))], loss=px.losses.mse, epochs=3,
    ...                      optimizer=px.optim.Adam(0.1), checkpoint_dir=folder, progress=False)
    ...     store = px.CheckpointStore(folder)
    ...     [saved.step for saved in store.checkpoints()], store.newest().epoch
    ([2, 3], 2)
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.where = f"checkpoints in {os.fspath(folder)!r}"
        self._damaged: set[str] = set()  # found so, and therefore neither counted nor deleted
        self._writer: Any = None  # of Orbax
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._lock: int | None = None
        self.failed = False  # to write

    # --- reading ---------------------------------------------------------------------------------

    def checkpoints(self) -> list[Saved]:
        """Every checkpoint with a whole manifest, oldest first; their other files are not looked at."""
        found = []
        for path in self._folders():
            with suppress(CorruptFileError):
                found.append(Saved(path, manifest_of(path)))
        return found

    def newest(self) -> Saved | None:
        """The newest checkpoint that is whole, None where none was saved; a warning for each newer one that is damaged.

        Raises:
            CorruptFileError: there are checkpoints, and not one is whole.
        """
        return self._first_whole(self._folders()[::-1])

    def best(self) -> Saved | None:
        """The checkpoint with the best score among those that are whole; None where none has a score."""
        return self._first_whole([saved.path for saved in _ranked(self.checkpoints())])

    def read(self, saved: Saved | str | os.PathLike[str], parts: tuple[str, ...] | None = None) -> State:
        """What a checkpoint holds, as ``Run.restore`` takes it, arrays as NumPy's.

        Arguments:
            saved: one of ``checkpoints()``, or its folder.
            parts: only these, such as ``("model",)``; all by default.

        Raises:
            CorruptFileError: a file is missing or not as it was written; the error names it.
        """
        return read_state(saved.path if isinstance(saved, Saved) else Path(saved), parts)

    def _first_whole(self, paths: list[Path]) -> Saved | None:
        errors = []
        for path in paths:
            try:
                manifest = check_files(path)
            except CorruptFileError as error:
                errors.append(error)
                self._damaged.add(path.name)
                continue
            for error in errors:
                warnings.warn(f"checkpoint {error.where} is damaged: {error.got}. {path} is used.", stacklevel=4)
            return Saved(path, manifest)
        if errors:
            raise errors[0]
        return None

    def _folders(self) -> list[Path]:
        """The folders of all checkpoints, damaged ones too, oldest first."""
        try:
            entries = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise file_error(error, self.folder, self.where) from error
        return sorted(entries, key=lambda path: _number(path.name))

    # --- writing ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the folder ready to be written by this process, and remove what a killed one left unfinished.

        Raises:
            MissingExtraError: Orbax is not installed.
            FileError: the folder cannot be written, or another process writes checkpoints there.
        """
        orbax()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.folder / ".lock")
            for left in self.folder.glob(_UNFINISHED + "*"):
                shutil.rmtree(left)
        except BlockingIOError as error:
            raise FileError(
                "a folder that no other training writes to",
                got="one that is in use by another",
                fix="give each training a checkpoint_dir of its own, or end the other one",
                where=self.where,
            ) from error
        except OSError as error:
            self.close()
            raise file_error(error, self.folder, self.where) from error

    def save(self, state: State, about: dict[str, Any], *, keep: int, keep_best: int) -> Path:
        """Begin to write a checkpoint; returns where it will be. Waits for the one before.

        Arguments:
            state: what ``Run.state`` gave.
            about: for the manifest: step, epoch, score, monitor, mode, reason.
            keep: so many of the newest are kept.
            keep_best: and so many of those with the best scores.

        Raises:
            FileError: this one or the one before cannot be written; what was saved earlier is untouched.
        """
        self.wait()
        snapshot = Snapshot.of(state)
        taken = [_number(path.name.removeprefix(_UNFINISHED)) for path in self.folder.iterdir()]
        name = f"{max(taken, default=0) + 1:04d}-step-{about['step']}"
        temporary, final = self.folder / f"{_UNFINISHED}{name}", self.folder / name
        try:
            temporary.mkdir()
            (temporary / STATE).write_text(snapshot.text, encoding="utf-8")
            if snapshot.arrays:
                self._hand_over(temporary / ARRAYS, snapshot.arrays)
        except Exception as error:
            raise self._failure(error, temporary) from error
        finish = threading.Thread(target=self._finish, args=(temporary, final, about, keep, keep_best))
        self._thread = finish
        finish.start()
        return final

    def wait(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            FileError: it cannot be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise where a checkpoint that was begun could not be written; does not wait."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Wait, and let another process have the folder; nothing is raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hand_over(self, path: Path, arrays: dict[str, Any]) -> None:
        ocp = orbax()
        if self._writer is None:
            self._writer = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
        self._writer.save(path.absolute(), args=ocp.args.PyTreeSave(arrays))

    def _finish(self, temporary: Path, final: Path, about: dict[str, Any], keep: int, keep_best: int) -> None:
        """In a thread: wait for the arrays, write the manifest, let the checkpoint appear, thin out."""
        try:
            if self._writer is not None:
                self._writer.wait_until_finished()
            sealed(temporary, about)
            os.rename(temporary, final)
            flush_folder(self.folder)
            self._thin_out(keep, keep_best)
        except BaseException as error:  # the training thread raises it
            self._error = self._failure(error, temporary)

    def _failure(self, error: BaseException, temporary: Path) -> BaseException:
        """The error to raise for a checkpoint that could not be written; what was written of it goes."""
        self.failed = True
        shutil.rmtree(temporary, ignore_errors=True)
        if not isinstance(error, Exception) or isinstance(error, FileError):
            return error
        cause = error if isinstance(error, OSError) and error.errno else _system_error(error)
        if cause is not None:
            failure: Exception = file_error(cause, self.folder, self.where)
        else:
            failure = FileError(
                "to be written", got=str(error)[:300], fix="look at the disk and the path", where=self.where
            )
        failure.__cause__ = error
        return failure

    def _thin_out(self, keep: int, keep_best: int) -> None:
        """Delete checkpoints that are neither among the newest nor among the best."""
        known = [saved for saved in self.checkpoints() if saved.path.name not in self._damaged]
        kept = {saved.path for saved in (*known[-keep:], *_ranked(known)[:keep_best])}
        for saved in known:
            if saved.path not in kept:
                going = self.folder / f"{_UNFINISHED}{saved.path.name}"
                os.rename(saved.path, going)  # whole or not there, also while its files go
                shutil.rmtree(going)


def _number(name: str) -> int:
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else 0


def _ranked(checkpoints: list[Saved]) -> list[Saved]:
    """Those with a score of the newest monitor, best first, of equal ones the older first."""
    scored = [saved for saved in checkpoints if saved.score is not None]
    if not scored:
        return []
    latest = scored[-1].manifest
    scored = [saved for saved in scored if saved.manifest["monitor"] == latest["monitor"]]
    return sorted(scored, key=lambda saved: (saved.score or 0) * (1 if latest["mode"] == "min" else -1))


def _locked(path: Path) -> int:
    """The file at a path, open and locked for this process; the lock goes with the process, however that ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def _system_error(error: BaseException) -> OSError | None:
    """The system's error, which Orbax passes on as text."""
    for number, words in _SYSTEM.items():
        if words in str(error):
            return OSError(number, os.strerror(number))
    return None
