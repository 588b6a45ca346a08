"""Archives of plain files, unpacked into a folder whole or not at all."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from phlox.core import PhloxError

_MOST = 1 << 32  # bytes
_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, where: str, *, most: int = _MOST, anew: bool = False) -> None:
    """Unpack a tar archive, gzipped or not, as a new folder.

    Only files and folders are unpacked, with nothing of their owners and permissions, and nowhere else.

    Arguments:
        folder: what is made; nothing happens where it is there already.
        most: how many bytes the files may have together.
        anew: take the place of a folder that is there, once the archive is unpacked whole.

    Raises:
        CorruptFileError: no whole archive; a name that leads out of the folder; a link or a device; too many bytes.
        FileError: the folder cannot be written.
    """
    from phlox.weights import file_error

    if folder.is_dir() and not anew:
        return
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            inside = temporary / folder.name  # made by mkdir, with the permissions that the user's folders have
            inside.mkdir()
            _files(archive, inside, where, most)
            if folder.is_dir():
                os.replace(folder, temporary / "old")
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
            _end(tar, archive, where, most)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise _refused("a whole tar file", str(error), archive, where) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _refused("a whole tar file", str(error), archive, where) from None  # what gzip and bz2 raise


def _end(tar: tarfile.TarFile, archive: Path, where: str, most: int) -> None:
    """Read to the end: tarfile takes a damaged header for it, and a packed file has its checksum there."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        raise _refused("a whole tar file", f"no member and no end at byte {tar.offset}", archive, where)
    while block := file.read(_BLOCK):
        most -= len(block)
        if most < 0:
            raise _refused("files of fewer bytes", "more behind the last of them", archive, where)


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path, where: str) -> None:
    name = PurePosixPath(member.name)
    if "\0" in member.name or name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
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
