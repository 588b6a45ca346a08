"""What can go wrong with a file, in four parts."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader

from phlox.core import PhloxError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


class FileError(PhloxError, OSError):
    """A file that cannot be read or written; ``errno`` holds the system's number where there is one."""


class MissingFileError(FileError, FileNotFoundError):
    """A file, a folder or a checkpoint that is not there."""


class CorruptFileError(FileError):
    """A file whose content is not what was written: cut short, damaged, or of another kind."""


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse devices, pipes and sockets, which must be neither replaced nor waited for.

    Raises:
        OSError: it is one of them, or a folder.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.ENODEV, "something else")


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """A file, open for reading; what is none is refused before it is opened, and never waited for.

    Raises:
        OSError: it cannot be opened, or is a folder, a device, a pipe or a socket.
    """
    check_regular(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, flags), "rb")  # noqa: SIM115 - the caller's
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # it took the place of a file just now
        file.close()
        raise OSError(errno.ENODEV, "something else")
    return file


def file_error(error: OSError, path: str | os.PathLike[str], where: str) -> FileError:
    """A system error about ``path`` with what was needed and a likely fix."""
    expected, fix = _needed(error.errno, os.fspath(path))
    made = (MissingFileError if error.errno == errno.ENOENT else FileError)(
        expected, got=error.strerror or str(error), fix=fix, where=where
    )
    made.errno, made.filename = error.errno, os.fspath(path)
    return made


def _needed(number: int | None, path: str) -> tuple[str, str]:
    """What the caller was expected to give, and the cure, by the system's error number."""
    folder = os.path.dirname(path) or "."
    if number in _NO_ROOM:
        return f"room for {path}", f"free some space, or choose another folder than {folder}"
    if number in _NOT_ALLOWED:
        return f"{path} to be open to you", f"change the permissions of {folder}, or choose another folder"
    if number == errno.EISDIR:
        return f"{path} to be a file", "add a file name to the folder"
    if number in (errno.ENOTDIR, errno.EEXIST):
        return f"{_in_the_way(path)} to be a folder", "choose another path, or move away the file that is in the way"
    if number == errno.ENODEV:
        return f"{path} to be a regular file", "choose another path: it is a device, a pipe or a socket"
    if number == errno.ENOENT and os.path.isdir(folder):
        return f"{path} to exist", "check the name"
    if number == errno.ENOENT:
        return f"{path} to be in a folder that exists", f"create it: os.makedirs({folder!r})"
    return f"{path} to be readable and writable", "look at the disk and the path"


def _in_the_way(path: str) -> str:
    """The file on the way along a path that is no folder; the path itself where there is none any more."""
    at = path
    while at and at != os.path.dirname(at):
        if os.path.lexists(at) and not os.path.isdir(at):
            return at
        at = os.path.dirname(at)
    return path
