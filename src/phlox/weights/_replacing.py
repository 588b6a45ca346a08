"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phlox.weights._errors import check_regular, file_error
from phlox.weights._temporary import clear_away, given_up, temporary_beside


@contextmanager
def replacing(path: str | os.PathLike[str], *, where: str = "replacing") -> Iterator[Path]:
    """Give the path of an empty temporary file, and put it in the place of ``path`` when the block ends well.

    The temporary file is in the same folder, is flushed to the disk, and takes the place of ``path`` in one step:
    whoever opens ``path`` finds the old content or the new, never a part. Where the block raises anything, Ctrl-C
    included, it is removed and the old file stays. A symbolic link is followed; the old file's permissions are kept.
    What a process that was killed meanwhile has left in the folder goes at the next call.

    Arguments:
        path: the file to write.
        where: the function that speaks in errors.

    Raises:
        FileError: the file cannot be written, for one of the reasons that the system gives.

    >>> import os, tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with px.weights.replacing(folder + "/notes.txt") as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     os.listdir(folder)
    ['notes.txt']
    """
    target = Path(os.path.realpath(path))
    clear_away(target.parent)
    temporary = temporary_beside(target)
    try:
        try:
            mode = _create(temporary, target)
            yield temporary
            _flush(temporary, mode)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _flush_folder(target.parent)
    except OSError as error:
        if error.errno is None:  # no failure of the system's: it speaks for itself
            raise
        raise file_error(error, path, where) from error
    finally:
        given_up(temporary)


def _create(temporary: Path, target: Path) -> int:
    """Make the temporary file; return the permissions that the target has or would get."""
    check_regular(target)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        fresh = os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
    return (target.stat().st_mode if target.exists() else fresh) & 0o7777


def _flush(temporary: Path, mode: int) -> None:
    """Force the content to the disk, so that a crash after the replacement finds it whole."""
    os.chmod(temporary, mode)  # a writer may have made the file anew
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Force the new name to the disk, where the system lets folders be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
