"""A folder of checkpoints: written in the background, kept by age and by score, read from the newest that is whole."""

from __future__ import annotations

import os
import re
import secrets
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from phlox.loop.checkpoints._arrays import orbax
from phlox.loop.checkpoints._circle import ALONE, Circle, as_error, as_text
from phlox.loop.checkpoints._files import Lies, read_state
from phlox.loop.checkpoints._lock import FolderLock, holder
from phlox.loop.checkpoints._manifest import ARRAYS, MANIFEST, STATE, Saved, check_files, is_damage, manifest_of
from phlox.loop.checkpoints._place import place_of
from phlox.loop.checkpoints._saving import Saving, SavingTogether
from phlox.loop.checkpoints._snapshot import State
from phlox.weights import CorruptFileError, FileError, MissingFileError, file_error

_NAME = re.compile(r"(\d{4,})-step-\d+")
_UNFINISHED, _DAMAGED = ".unfinished-", ".damaged"
_LOOKS = 20  # at a folder whose checkpoints are deleted while they are read


class CheckpointStore:
    """The checkpoints in a folder.

    Each is a folder of its own, ``0007-step-350``: numbered in the order of saving, it is there whole or not at all. To
    read one, every file is compared with its checksum. What is damaged is named and never deleted. A checkpoint may be
    a link to a folder elsewhere. Reading beside the training that writes gives a whole checkpoint, or an error. Of
    several processes that train together each writes a part; what one of them finds damaged is so for all.

    Arguments:
        folder: where the checkpoints are, or will be: a folder, or a URL of an object store, ``"s3://bucket/run"``.

    Raises:
        MissingExtraError: a URL whose package is not installed.

    Attributes:
        folder: the folder; of an object store the copies on this disk of what was looked at.
        address: as it was given.

    >>> import tempfile, jax.numpy as jnp, phlox as px
    >>> model = px.Dense(1, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = px.fit(model, [(jnp.ones((4, 1)), jnp.ones((4, 1)))], loss=px.losses.mse, epochs=3,
    ...                      optimizer=px.optim.Adam(0.1), checkpoint_dir=folder, progress=False)
    ...     store = px.CheckpointStore(folder)
    ...     [saved.step for saved in store.checkpoints()], store.newest().epoch
    ([2, 3], 2)
    """

    folder: Path
    address: str
    where: str

    def __init__(self, folder: str | os.PathLike[str]):
        self._place = place_of(folder)
        self.folder, self.address = self._place.folder, self._place.address
        self.where = f"checkpoints in {os.fspath(folder)!r}"
        self._damaged: set[str] = set()  # found so, and therefore neither counted nor deleted
        self._stuck: set[str] = set()  # could not be deleted
        self._complaints: list[str] = []  # of the thread that writes
        self._told: set[str] = set()
        self._lock: FolderLock | None = None
        self._circle = ALONE  # the processes that read and write together
        self._last, self._mark = 0, ""  # of several: the number of the last checkpoint, and a word for this training
        self._limits = 1, 0  # how many of the newest and of the best to keep
        self._saving = Saving(self._place, self.where, self._thin_out)

    @property
    def failed(self) -> bool:
        """Whether a checkpoint could not be written."""
        return self._saving.failed

    @property
    def on_disk(self) -> bool:
        """Whether they are in a folder, and not in an object store."""
        return self._place.on_disk

    # --- reading ---------------------------------------------------------------------------------

    def checkpoints(self) -> list[Saved]:
        """Every checkpoint with a whole manifest, oldest first; their other files are not looked at."""
        found = []
        for path in self._folders():
            with suppress(CorruptFileError, MissingFileError):
                found.append(Saved(path, manifest_of(path)))
        return found

    def newest(self) -> Saved | None:
        """The newest checkpoint that is whole, None where none was saved; a warning for each newer one that is damaged.

        Raises:
            CorruptFileError: there are checkpoints, and not one is whole.
        """
        for path in self._odd():
            self._complain(f"{path} is no checkpoint, though it has the name of one: it is left as it is.")
        self._tell()
        return self._first_whole(lambda: self._folders()[::-1])

    def best(self) -> Saved | None:
        """The checkpoint with the best score among those that are whole; None where none has a score."""
        return self._first_whole(lambda: [saved.path for saved in _ranked(self.checkpoints())])

    def read(self, saved: Saved | str | os.PathLike[str], parts: tuple[str, ...] | None = None) -> State:
        """What a checkpoint holds, as ``Run.restore`` takes it, arrays as NumPy's.

        Arguments:
            saved: one of ``checkpoints()``, or its folder.
            parts: only these, such as ``("model",)``; all by default.

        Raises:
            CorruptFileError: a file is missing or not as it was written; the error names it.
            MissingFileError: there is no such checkpoint, or it was deleted meanwhile.
        """
        path = saved.path if isinstance(saved, Saved) else Path(saved)
        self._place.bring(path.name)
        return read_state(path, parts)

    def taken(self, saved: Saved, parts: tuple[str, ...] | None, lies: Lies | None) -> State:
        """What a checkpoint holds that ``newest``, ``best`` or ``named`` has just compared, where it is to lie.

        Raises:
            CorruptFileError, MissingFileError: as ``read``.
        """
        return read_state(saved.path, parts, lies, checked=True)

    def named(self, path: Path) -> Saved:
        """The checkpoint in a folder, every file of which is as it was written.

        Raises:
            CorruptFileError, MissingFileError: as ``read``.
        """
        return Saved(path, self._checked(path))

    def find(self, which: str | os.PathLike[str]) -> Path | None:
        """The folder of a checkpoint that is told by its name, or by where it is; None where there is none."""
        return self._place.find(which)

    def among(self, circle: Circle) -> None:
        """Read and write together with other processes, which all call the same methods from here on; or alone."""
        self._circle = circle
        self._saving.close()
        if circle.several:
            self._saving = SavingTogether(self._place, self.where, self._thin_out, circle)
        else:
            self._saving = Saving(self._place, self.where, self._thin_out)

    def _first_whole(self, listed: Callable[[], list[Path]]) -> Saved | None:
        """The first checkpoint of a list that is whole; the list is asked for anew where one of it goes meanwhile."""
        for look in range(_LOOKS):
            try:
                names = self._circle.decided(lambda: [path.name for path in listed()])
                return self._first_whole_of([self.folder / name for name in names])
            except MissingFileError:
                if look == _LOOKS - 1:
                    raise
        return None

    def _first_whole_of(self, paths: list[Path]) -> Saved | None:
        errors: dict[Path, CorruptFileError] = {}
        for path in paths:
            try:
                manifest = self._checked(path)
            except CorruptFileError as error:
                errors[path] = error
                continue
            for other, error in errors.items():
                kept = self._set_aside(other) if is_damage(error) else other
                where = "it is left as it is" if kept == other else f"it is kept as {kept}"
                text = f"{error.where} is damaged: {error.got}; {where}. {path} is used."
                if self._circle.first:
                    warnings.warn(text, stacklevel=5)
            return Saved(path, manifest)
        if errors:
            raise next(iter(errors.values()))
        return None

    def _checked(self, path: Path) -> dict[str, Any]:
        """The manifest of a checkpoint that is whole, to which each process looks at a share of the files they all see.

        Raises:
            CorruptFileError, MissingFileError: what one of them has found, in all.
        """
        manifest, found = {}, None
        try:
            self._place.bring(path.name)
            share = (self._circle.process, self._circle.processes) if self._place.on_disk else (0, 1)
            manifest = check_files(path, *share)
        except FileError as error:
            found = self._place.told(error)
        said = [as_error(text) for text in self._circle.gathered(as_text(found))]
        first = found or next((error for error in said if error is not None), None)
        if first is not None:
            raise first
        return manifest

    def _set_aside(self, path: Path) -> Path:
        """Give a damaged checkpoint another name where this process writes: a later one is neither to count it nor to
        delete it.
        """
        self._damaged.add(path.name)
        if self._lock is None or not self._lock.held or not os.path.isdir(path):
            return path
        try:
            return self._place.set_aside(path, _DAMAGED)
        except OSError:  # it stays, and is known to this process
            return path

    def _folders(self) -> list[Path]:
        """The folders of all checkpoints, damaged ones too, oldest first."""
        return [path for path in self._named() if not _is_odd(path)]

    def _odd(self) -> list[Path]:
        """What is named like a checkpoint, and nobody wrote as one."""
        return [path for path in self._named() if _is_odd(path)]

    def _named(self) -> list[Path]:
        self._place.look()
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
            FileError: the folder cannot be written, or another process writes checkpoints there; this process trains by
                itself beside others, and is not process 0, in which alone Orbax then writes.
        """
        orbax()
        if jax.process_index() and not self._circle.several:
            raise FileError(
                "to be written by process 0, or by all that train together",
                got=f"process {jax.process_index()}, which trains by itself",
                fix="pass parallel= to train together, or save in process 0 alone",
                where=self.where,
            )
        if self._circle.first:
            self._open()
        if self._circle.several:
            fresh = self._circle.decided(lambda: [self._next_number() - 1, secrets.token_hex(4)])
            self._last, self._mark = fresh[0], f"-{fresh[1]}"

    def _open(self) -> None:
        """Take the folder for this process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder / ".lock")
            self._place.take()
            for left in self.folder.glob(_UNFINISHED + "*"):
                self._delete(left)
        except BlockingIOError as error:
            raise FileError(
                "a folder that no other training writes to",
                got=f"one that is in use by another: {holder(self.folder / '.lock')}",
                fix="give each training a checkpoint_dir of its own, or end the other one",
                where=self.where,
            ) from error
        except OSError as error:
            self.close()
            raise error if isinstance(error, FileError) else file_error(error, self.folder, self.where) from error
        for name in list(self._damaged):  # found before there was a lock
            self._set_aside(self.folder / name)
        self._tell()

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
        if self._is_of_a_parent():
            raise FileError(
                "to be written by the process that opened them", got="a child that was forked from it",
                fix="train in the child with a checkpoint_dir of its own", where=self.where,
            )  # fmt: skip
        self.wait()
        self._last = self._last + 1 if self._circle.several else self._next_number()
        name = f"{self._last:04d}-step-{about['step']}"
        final = self.folder / name
        self._limits = keep, keep_best
        self._saving.begin(state, about, self.folder / f"{_UNFINISHED}{name}{self._mark}", final)
        return final

    def _next_number(self) -> int:
        """One that no checkpoint has, and none had that is damaged or half deleted."""
        try:
            names = self._place.names()
        except OSError as error:
            raise file_error(error, self.folder, self.where) from error
        found = [_NAME.match(name.removeprefix(_UNFINISHED)) for name in names]
        return max((int(match[1]) for match in found if match), default=0) + 1

    def wait(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            FileError: it cannot be written.
        """
        if not self._is_of_a_parent():
            self._saving.wait()
            self._tell()

    def check(self) -> None:
        """Raise where a checkpoint that was begun could not be written; does not wait.

        Several processes raise it together, where they wait for it.
        """
        self._saving.check()
        self._tell()

    def close(self) -> None:
        """Wait, and let another process have the folder; nothing is raised."""
        if self._is_of_a_parent():  # whose threads are not here to be waited for
            self._saving.forget()
            return
        self._saving.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _is_of_a_parent(self) -> bool:
        """Whether this is the store of another process, of which this one is a forked child."""
        return self._lock is not None and self._lock.process != os.getpid()

    def _thin_out(self) -> None:
        """Delete checkpoints that are neither among the newest nor among the best."""
        keep, keep_best = self._limits
        passed = self._damaged | self._stuck
        known = [saved for saved in self.checkpoints() if saved.path.name not in passed]
        kept = {saved.path for saved in (*known[-keep:], *_ranked(known)[:keep_best])}
        for saved in known:
            if saved.path not in kept:
                self._delete(saved.path)

    def _delete(self, path: Path) -> None:
        """Delete what is no longer wanted; training goes on where that cannot be done."""
        try:
            self._place.drop(path, _UNFINISHED)
        except FileNotFoundError:  # somebody else was first
            return
        except OSError as error:
            self._stuck.add(path.name)
            why = error.strerror or str(error)
            self._complain(f"{path} is no longer wanted, and cannot be deleted: {why}. Training goes on.")

    def _complain(self, text: str) -> None:
        """Note what the thread that trains is to warn of, once."""
        if text not in self._told:
            self._told.add(text)
            self._complaints.append(text)

    def _tell(self) -> None:
        while self._complaints:
            warnings.warn(f"{self.where}: {self._complaints.pop(0)}", stacklevel=4)


def _is_odd(path: Path) -> bool:
    """Whether nobody wrote this as a checkpoint: a file, or a folder with nothing in it that a checkpoint has.

    A link that leads nowhere, and a folder that cannot be read, may be checkpoints.
    """
    if not os.path.isdir(path):
        return os.path.exists(path)
    with suppress(OSError):
        return not {MANIFEST, STATE, ARRAYS} & set(os.listdir(path))
    return False


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
