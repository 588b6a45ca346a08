"""Archives of plain files, unpacked into a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from phlox.core import PhloxError

_MOST = 1 << 32  # bytes


def unpack(archive: Path, folder: Path, where: str, *, most: int = _MOST) -> None:
    """Unpack a tar archive, gzipped or not, as a new folder.

    Only files and folders are unpacked, with nothing of their owners and permissions, and nowhere else.

    Arguments:
        folder: what is made; nothing happens where it is there already.
        most: how many bytes the files may have together.

    Raises:
        CorruptFileError: no whole archive; a name that leads out of the folder; a link or a device; too many bytes.
        FileError: the folder cannot be written.
    """
    from phlox.weights import file_error

    if folder.is_dir():
        return
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            inside = temporary / folder.name  # made by mkdir, with the permissions that the user's folders have
            inside.mkdir()
            _files(archive, inside, where, most)
            _given_its_name(inside, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise file_error(error, folder, where) from error


def _given_its_name(inside: Path, folder: Path) -> None:
    try:
        os.replace(inside, folder)
    except OSError:
        if not folder.is_dir():  # else another process was quicker
            raise


def _files(archive: Path, folder: Path, where: str, most: int) -> None:
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                most -= member.size
                if most < 0:
                    raise _refused("files of fewer bytes", member.name, archive, where)
                _file(tar, member, folder, archive, where)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _refused("a whole tar file", str(error), archive, where) from None


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path, where: str) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
        raise _refused("names that stay in the folder", member.name, archive, where)
    path = folder.joinpath(*name.parts)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise _refused("files and folders only", f"{member.name}, a link or a device", archive, where)
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, open(path, "xb") as file:
        shutil.copyfileobj(content, file)
        if file.tell() != member.size:
            raise _refused(f"{member.size} bytes of {member.name}", str(file.tell()), archive, where)


def _refused(expected: str, got: str, archive: Path, where: str) -> PhloxError:
    from phlox.weights import CorruptFileError

    fix = "fetch the archive again, or another one: nothing of it was unpacked"
    return CorruptFileError(f"{expected} in {os.fspath(archive)!r}", got=got, fix=fix, where=where)
