"""A bundle written whole or not at all: in a folder beside, which takes its place in one step."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phlox.core import PhloxError
from phlox.weights._errors import FileError, file_error
from phlox.weights._temporary import clear_away, given_up, temporary_beside
from phlox.weights.bundle._bundle import MANIFEST, Bundle
from phlox.weights.bundle._manifest import sealed


class Draft:
    """A bundle in the making: its folder, and what it will say of itself.

    Arguments:
        folder: where its files are written for now.
    """

    folder: Path
    bundle: Bundle | None

    def __init__(self, folder: Path):
        self.folder, self.bundle = folder, None


@contextmanager
def writing_bundle(
    folder: str | os.PathLike[str], *, overwrite: bool = False, where: str = "writing_bundle"
) -> Iterator[Draft]:
    """Give a draft to write a bundle's files into, and put it in its place when the block ends well.

    The block writes files into ``draft.folder`` and sets ``draft.bundle``. All are hashed and flushed to the disk
    before the folder appears. Where the block raises anything, Ctrl-C included, nothing of it stays, and an older
    bundle of that name is as it was.

    Arguments:
        folder: the bundle.
        overwrite: replace a bundle that is there, all of it. Anything else in the place is never replaced.
        where: the function that speaks in errors.

    Raises:
        FileError: the folder is taken, or cannot be written.
    """
    target = Path(os.path.abspath(folder))
    _check_place(target, overwrite, where)
    clear_away(target.parent)
    temporary = temporary_beside(target, "new")
    try:
        try:
            temporary.mkdir()
            draft = Draft(temporary)
            yield draft
            assert draft.bundle is not None, "a draft says what it is"
            sealed(temporary, draft.bundle.content())
            _flush_folders(temporary)
            _put(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        if isinstance(error, PhloxError) or error.errno is None:
            raise
        raise file_error(error, target, where) from error
    finally:
        given_up(temporary)


def _check_place(target: Path, overwrite: bool, where: str) -> None:
    """Refuse a place that is taken by something else, or by a bundle that is not to be replaced."""
    if not target.parent.is_dir():
        number = errno.ENOTDIR if target.parent.exists() else errno.ENOENT
        raise file_error(OSError(number, os.strerror(number)), target, where)
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / MANIFEST).is_file():
        got, fix = "one with something else in it", "choose another folder; what is there is left as it is"
        raise FileError(f"{target} to be new, empty, or a bundle", got=got, fix=fix, where=where)
    if not overwrite:
        fix = "choose another folder, or pass overwrite=True to replace it"
        raise FileError(f"{target} to be new or empty", got="a bundle", fix=fix, where=where)


def _put(temporary: Path, target: Path) -> None:
    """Put a folder in a place; a bundle that is there steps aside first, and comes back if that fails."""
    if not os.path.lexists(target):
        os.rename(temporary, target)
    elif not any(target.iterdir()):
        target.rmdir()
        os.rename(temporary, target)
    else:
        aside = temporary_beside(target, "old")
        os.rename(target, aside)
        try:
            os.rename(temporary, target)
        except BaseException:
            os.rename(aside, target)
            raise
        finally:
            given_up(aside)
        shutil.rmtree(aside, ignore_errors=True)
    _flush(target.parent)


def _flush_folders(folder: Path) -> None:
    for inner in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        _flush(inner)


def _flush(folder: Path) -> None:
    """Force the names in a folder to the disk, where the system lets folders be flushed."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
