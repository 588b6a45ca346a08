"""Where the members of a tar file lie.

Python's tarfile takes a damaged header for the end of the file, and would leave out what follows without a word; so its
headers are read one by one here, and the file must end as tar files do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from phlox.data.readers._files import corrupt
from phlox.data.readers.shards._opening import up_to

if TYPE_CHECKING:
    import tarfile

_BLOCK = 512
_LONG_NAME, _FURTHER, _FURTHER_FOR_ALL, _HOLES = b"L", b"x", b"g", b"S"
_MOST = 1 << 20  # bytes of a name or of further headers
_LARGEST = 1 << 50  # bytes of a member
_DIGITS = 20  # of a number in further headers
_SPARSE = b"GNU.sparse."


class Member(NamedTuple):
    """A file in a tar file: where its header begins, where its content does, and how long that is."""

    start: int
    name: str
    at: int
    size: int


def members(file: IO[bytes], offset: int, path: Path, where: str) -> Iterator[Member]:
    """The files in a tar file from a byte on; at each, ``file`` stands where its content begins, and may be read.

    Raises:
        CorruptFileError: a damaged header, a link, a device or a file with holes that are left out, or no end.
    """
    start, name, size = offset, "", -1  # of headers that speak of the next one
    while True:
        info = _header(file, offset, path, where)
        if info is None:
            return
        speaks = info.type in (_LONG_NAME, _FURTHER)  # of the next member
        at, length = offset + _BLOCK, info.size if size < 0 or speaks else size
        if info.isdir():
            length = 0  # whatever its header says
        offset = at + -(-length // _BLOCK) * _BLOCK
        if speaks:
            text = _whole(file, at, length, path, where)
            told = _long(text, size) if info.type == _LONG_NAME else _told(text, name, size, start, path, where)
            name, size = told
        elif info.type == _FURTHER_FOR_ALL:
            _told(_whole(file, at, length, path, where), "", -1, start, path, where)
        else:
            if info.isreg() and info.type != _HOLES:
                yield Member(start, name or info.name, at, length)
            elif not info.isdir():
                got = f"{name or info.name!r} of type {info.type.decode('latin1')!r}, such as a link"
                raise corrupt("files and folders only", got, path, where)
            start, name, size = offset, "", -1
        file.seek(offset)


def content(file: IO[bytes], member: Member, path: Path, where: str) -> bytes:
    """The content of a member; ``file`` stands where it begins."""
    found = up_to(file, member.size)
    if len(found) != member.size:
        raise _cut_off(member.start, path, where)
    return found


def _header(file: IO[bytes], offset: int, path: Path, where: str) -> tarfile.TarInfo | None:
    """The header at a byte, or None at the end of the tar file, a block of zeros."""
    import tarfile

    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise _cut_off(offset, path, where)
    if not any(block):
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise corrupt(f"a member of a tar file at byte {offset}", str(error), path, where) from None
    if not 0 <= info.size <= _LARGEST:
        raise corrupt(f"a size of the member at byte {offset}", str(info.size), path, where)
    return info


def _whole(file: IO[bytes], offset: int, length: int, path: Path, where: str) -> bytes:
    if length > _MOST:
        raise corrupt(f"a name of at most {_MOST} bytes at byte {offset}", str(length), path, where)
    return content(file, Member(offset, "", offset, length), path, where)


def _long(text: bytes, size: int) -> tuple[str, int]:
    """A long name in GNU's form, which says nothing of the size."""
    return text.rstrip(b"\0").decode("utf-8", "surrogateescape"), size


def _told(text: bytes, name: str, size: int, start: int, path: Path, where: str) -> tuple[str, int]:
    try:
        return _further(text, name, size)
    except ValueError as error:
        raise corrupt(f"further headers of the member at byte {start}", str(error), path, where) from None


def _further(text: bytes, name: str, size: int) -> tuple[str, int]:
    """What records such as ``27 path=a/very/long/name\\n`` say of the next member's name and size.

    Raises:
        ValueError: damaged ones, or a file with holes that are left out.
    """
    while text:
        digits, _, rest = text.partition(b" ")
        if not digits.isdigit() or len(digits) > _DIGITS or not len(digits) < int(digits) <= len(text):
            raise ValueError(f"a record that begins with {text[:_DIGITS]!r}")
        key, _, value = rest[: int(digits) - len(digits) - 2].partition(b"=")
        if key == b"path":
            name = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            size = _size(value)
        elif key.startswith(_SPARSE):
            raise ValueError("a file with holes that are left out; pack it without --sparse")
        text = text[int(digits) :]
    return name, size


def _size(value: bytes) -> int:
    if not value.isdigit() or len(value) > _DIGITS or int(value) > _LARGEST:
        raise ValueError(f"a size of {value[:_DIGITS]!r}")
    return int(value)


def _cut_off(offset: int, path: Path, where: str) -> Exception:
    return corrupt(f"a whole tar file, with the member at byte {offset}", "the end of the file", path, where)
