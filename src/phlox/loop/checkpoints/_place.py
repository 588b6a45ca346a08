"""Where checkpoints are: a folder on a disk, or names in an object store.

A store of objects has neither folders nor new names for old ones. There a checkpoint is the objects that begin with its
name; it is there once its manifest is, which is written last, whole, and goes first. It is written on a disk before it
is sent, and brought to one to be read, so that all else is as with a folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from phlox.core import MissingExtraError, OptionError
from phlox.loop.checkpoints._manifest import MANIFEST, flush_folder, manifest_of
from phlox.weights import FileError

T = TypeVar("T")

_TRIES = 4  # of what a network may break
_PAUSE = 0.5  # seconds before the second, and twice as many before each other
_DAMAGED, _WRITER = "damaged", ".writer"
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


def place_of(folder: str | os.PathLike[str]) -> Disk | Objects:
    """Where a path or a URL leads.

    Raises:
        OptionError: a URL of a kind that there is not.
        MissingExtraError: one whose package is not installed.
    """
    address = address_of(folder)
    return Objects(address) if "://" in address else Disk(Path(address))


def address_of(folder: str | os.PathLike[str]) -> str:
    """A path or a URL as it is told, without what makes no difference."""
    text = os.fspath(folder).removeprefix("file://")
    return text.rstrip("/") if "://" in text else os.fspath(Path(text))


class Disk:
    """A folder on a disk.

    Attributes:
        folder: where its files are.
        address: as a user writes it.
        on_disk: whether the folder is the place itself, in which several processes see the same files.
    """

    on_disk = True

    def __init__(self, folder: Path):
        self.folder, self.address = folder, os.fspath(folder)

    def look(self) -> None:
        """See which checkpoints there are now."""

    def find(self, which: str | os.PathLike[str]) -> Path | None:
        """The folder of a checkpoint that is told by its name, or by where it is; None where there is none."""
        return next((path for path in (Path(which), self.folder / which) if path.is_dir()), None)

    def bring(self, name: str) -> None:
        """Have the files of a checkpoint in the folder."""

    def names(self) -> list[str]:
        """All names in it, of what is no checkpoint any more too."""
        return os.listdir(self.folder)

    def hand_over(self, temporary: Path, final: Path) -> None:
        """Have what this process wrote of a checkpoint seen by process 0, which is to give it its name."""

    def seen(self, temporary: Path, final: Path) -> dict[str, int]:
        """The sizes of the files that all processes have written of a checkpoint."""
        del final
        files = [path for path in temporary.rglob("*") if path.is_file()]
        return {path.relative_to(temporary).as_posix(): path.stat().st_size for path in files}

    def let_appear(self, temporary: Path, final: Path) -> None:
        """Give a whole checkpoint its name."""
        os.rename(temporary, final)
        flush_folder(self.folder)

    def drop(self, path: Path, unfinished: str) -> None:
        """Delete a checkpoint, of a link the link alone; it is whole or not there, also while its files go."""
        if os.path.islink(path) or os.path.isfile(path):
            path.unlink()
            return
        going = path
        if not path.name.startswith(unfinished):
            going = self.folder / f"{unfinished}{path.name}"
            os.rename(path, going)
        shutil.rmtree(going)

    def set_aside(self, path: Path, mark: str) -> Path:
        """Give a damaged checkpoint another name, and tell it."""
        names = (f"{path.name}{mark}{f'-{n}' if n else ''}" for n in range(1_000_000))
        aside = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
        os.rename(path, aside)
        return aside

    def take(self) -> None:
        """Begin to write here; the lock on the folder keeps others out."""

    def still_mine(self) -> None:
        """Refuse where another training has begun to write here."""

    def told(self, error: FileError) -> FileError:
        """An error in terms of what the user wrote."""
        return error


class Objects:
    """Names in an object store, by fsspec; on a disk of this process are copies, which go with it.

    Attributes:
        folder: the copies: of all checkpoints the manifests, and the files of those that were read.
        address: the URL.
        pause: waits so many seconds, before what failed is tried again.
    """

    on_disk = False

    def __init__(self, address: str):
        self.address = address
        self.files, self.root = _file_system(self.address)
        self.folder = Path(tempfile.mkdtemp(prefix="phlox-checkpoints-"))
        self.pause: Callable[[float], None] = time.sleep
        self._mark = ""  # of this training
        weakref.finalize(self, _forget, self.folder, os.getpid())

    # --- reading ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Bring the manifests of new checkpoints, and drop the copies of those that are gone."""
        there = self._listed()
        whole = {name for name, parts in there.items() if MANIFEST in parts and _DAMAGED not in parts}
        for path in self.folder.iterdir():
            if path.name not in whole and path.is_dir() and not path.name.startswith("."):
                shutil.rmtree(path)
        for name in sorted(whole):
            copy = self.folder / name / MANIFEST
            if not copy.exists():
                with suppress(FileNotFoundError):  # it was deleted just now
                    self._get(f"{name}/{MANIFEST}", copy)

    def find(self, which: str | os.PathLike[str]) -> Path | None:
        """The copies of a checkpoint that is told by its name, or by its URL; None where there is none."""
        self.look()
        path = self.folder / os.fspath(which).rstrip("/").rpartition("/")[2]
        return path if path.is_dir() and path != self.folder else None

    def bring(self, name: str) -> None:
        """Bring the files that its manifest lists; what is not there any more is missed by who compares them.

        Raises:
            FileError: the store cannot be read.
            CorruptFileError: the manifest is damaged.
        """
        copies = self.folder / name
        shutil.rmtree(copies, ignore_errors=True)  # another training may have written this name anew
        try:
            self._get(f"{name}/{MANIFEST}", copies / MANIFEST)
            for part in manifest_of(copies)["files"]:
                self._get(f"{name}/{part}", copies / part)
        except FileNotFoundError:
            if MANIFEST not in self._listed().get(name, ()):  # not damaged, but deleted
                shutil.rmtree(copies, ignore_errors=True)

    def names(self) -> list[str]:
        """All names in it, of what is no checkpoint any more too."""
        return list(self._listed())

    def _listed(self) -> dict[str, set[str]]:
        """The objects below each name."""
        self.files.invalidate_cache()
        found: dict[str, set[str]] = {}
        try:
            paths = self._tried(lambda: self.files.find(self.root), "to be listed")
        except FileNotFoundError:
            return found
        for path in paths:
            name, _, part = str(path).removeprefix(self.root).strip("/").partition("/")
            if part:
                found.setdefault(name, set()).add(part)
        return found

    # --- writing ---------------------------------------------------------------------------------

    def take(self) -> None:
        """Begin to write here: leave a mark, by which another training is told, and remove what is not whole.

        Raises:
            FileError: the store cannot be written.
        """
        self._mark = os.urandom(8).hex()
        self._put(_WRITER, self._mark.encode())
        for name, parts in self._listed().items():
            if MANIFEST not in parts:
                self._remove(name, parts)

    def still_mine(self) -> None:
        """Refuse where another training has begun to write here.

        Raises:
            FileError: one has.
        """
        with suppress(FileNotFoundError):
            mark = self._tried(lambda: self.files.cat_file(f"{self.root}/{_WRITER}"), "to be read").decode()
            if mark != self._mark:
                raise FileError(
                    "a place that no other training writes to",
                    got="one where another has begun since",
                    fix="give each training a checkpoint_dir of its own, or end the other one",
                    where=f"checkpoints in {self.address!r}",
                )

    def hand_over(self, temporary: Path, final: Path) -> None:
        """Send what this process wrote of a checkpoint, but for the manifest; what is on the disk goes.

        Raises:
            FileError: the store cannot be written.
        """
        for path in sorted(temporary.rglob("*")):
            if path.is_file() and path != temporary / MANIFEST:
                self._put(f"{final.name}/{path.relative_to(temporary).as_posix()}", path)
                path.unlink()

    def seen(self, temporary: Path, final: Path) -> dict[str, int]:
        """The sizes of the objects that other processes have sent of a checkpoint.

        Raises:
            FileError: the store cannot be read.
        """
        del temporary
        self.files.invalidate_cache()
        start = f"{self.root}/{final.name}"
        with suppress(FileNotFoundError):
            there = self._tried(lambda: self.files.find(start, detail=True), "to be listed")
            return {str(path).removeprefix(start).strip("/"): told["size"] for path, told in there.items()}
        return {}

    def let_appear(self, temporary: Path, final: Path) -> None:
        """Send a whole checkpoint, its manifest last; what is on the disk goes.

        Raises:
            FileError: the store cannot be written, or another training writes there.
        """
        self.still_mine()
        self.hand_over(temporary, final)
        self._put(f"{final.name}/{MANIFEST}", temporary / MANIFEST)
        shutil.rmtree(temporary)

    def drop(self, path: Path, unfinished: str) -> None:
        """Delete a checkpoint, its manifest first: it is whole or not there, also while its objects go."""
        del unfinished
        self._remove(path.name, self._listed().get(path.name, set()))
        shutil.rmtree(path, ignore_errors=True)

    def set_aside(self, path: Path, mark: str) -> Path:
        """Mark a damaged checkpoint, which has no other name, so that it is neither counted nor deleted."""
        del mark
        self._put(f"{path.name}/{_DAMAGED}", b"")
        return path

    def told(self, error: FileError) -> FileError:
        """An error in terms of what the user wrote."""
        said = {name: getattr(error, name) for name in ("expected", "got", "fix", "where")}
        here = {name: str(text).replace(os.fspath(self.folder), self.address) for name, text in said.items()}
        made = type(error)(here["expected"], got=here["got"], fix=here["fix"], where=here["where"])
        made.__cause__ = error
        return made

    def _remove(self, name: str, parts: set[str]) -> None:
        for part in sorted(parts, key=lambda part: part != MANIFEST):
            with suppress(FileNotFoundError):
                self._tried(lambda part=part: self.files.rm_file(f"{self.root}/{name}/{part}"), "to let go of objects")

    def _put(self, name: str, content: bytes | Path) -> None:
        at = f"{self.root}/{name}"
        put = self.files.pipe_file if isinstance(content, bytes) else self.files.put_file
        given = (at, content) if isinstance(content, bytes) else (os.fspath(content), at)
        try:
            self._tried(lambda: put(*given), "to take objects")
        except FileNotFoundError as error:
            raise FileError(
                "a bucket that is there",
                got=str(error)[:200],
                fix="create it, or check the address",
                where=f"checkpoints in {self.address!r}",
            ) from error

    def _get(self, name: str, copy: Path) -> None:
        """Bring an object, whole or not at all."""
        copy.parent.mkdir(parents=True, exist_ok=True)
        coming = copy.with_name(f".coming-{copy.name}")
        self._tried(lambda: self.files.get_file(f"{self.root}/{name}", os.fspath(coming)), "to give objects")
        os.replace(coming, copy)

    def _tried(self, do: Callable[[], T], what: str) -> T:
        """What the network may break, a few times; what is not there, or not allowed, at once.

        Raises:
            FileNotFoundError: there is no such object.
            FileError: it does not work.
        """
        for n in range(_TRIES):
            try:
                return do()
            except FileNotFoundError:
                raise
            except Exception as error:  # each file system has its own
                if _is_refusal(error) or n == _TRIES - 1:
                    raise self._failure(error, what) from error
                self.pause(_PAUSE * 2**n)
        raise AssertionError("not reached")

    def _failure(self, error: Exception, what: str) -> FileError:
        fix = "look at the network and at the address"
        if _is_refusal(error):
            fix = "give this process credentials for it, as fsspec's file system for it wants them (for s3: "
            fix += "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile), and the right to read, write and delete"
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return FileError(what, got=text, fix=fix, where=f"checkpoints in {self.address!r}")


def _forget(folder: Path, process: int) -> None:
    """Remove the copies, at the end of the process that made them and of no child."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _is_refusal(error: Exception) -> bool:
    """Whether a store does not know or not allow this process, which no second try changes."""
    return isinstance(error, PermissionError) or "Credentials" in type(error).__name__


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError:
        where = f"checkpoints in {address!r}"
        raise MissingExtraError("fsspec", got="none", fix="pip install fsspec", where=where) from None
    kind = address.partition("://")[0]
    try:
        files, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = _PACKAGES.get(kind, "its package")
        raise MissingExtraError(
            package, got="none", fix=f"pip install {package}", where=f"checkpoints in {address!r}"
        ) from error
    except ValueError as error:
        known = ", ".join(f"{name}://" for name in ("s3", "gs", "az"))
        raise OptionError(
            f"a folder, or a URL such as {known}", got=repr(address), fix="check what stands before ://",
            where="checkpoint_dir",
        ) from error  # fmt: skip
    return files, root.rstrip("/")
