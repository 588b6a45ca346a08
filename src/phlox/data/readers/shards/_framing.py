"""Where the records of a TFRecord file lie.

A record is its length (8 bytes, little-endian), the masked CRC-32C of these, the data, and the masked CRC-32C of that.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

import numpy as np

from phlox.data.readers._files import corrupt
from phlox.data.readers.shards._crc32c import masked_crc32c
from phlox.data.readers.shards._opening import begins, is_gzip, opened, size_of, up_to

HEAD, _TAIL = 12, 4
_MOST = 1 << 31  # bytes of a record; more is damage, or no record


def is_packed(path: Path, where: str) -> bool:
    """Whether a file is gzipped: it begins like one, and not like a record, whose length may begin so too."""
    return is_gzip(path, where) and not _is_head(begins(path, HEAD, where))


def places(path: Path, where: str) -> np.ndarray:
    """(records, 2) int64: where each record of a plain file begins, and how long its data is."""
    found = []
    with opened(path, False, where) as file:
        whole = size_of(file)
        while (length := _length(file, at := file.tell(), path, where)) is not None:
            if at + HEAD + length + _TAIL > whole:
                raise _cut_off(at, path, where)
            found.append((at, length))
            file.seek(length + _TAIL, 1)
    return np.array(found, np.int64).reshape(-1, 2)


def next_record(file: IO[bytes], at: int, path: Path, where: str) -> bytes | None:
    """The record that begins at the byte where a file stands, or None at the end of the file."""
    length = _length(file, at, path, where)
    return None if length is None else checked_data(file, at, length, path, where)


def checked_data(file: IO[bytes], at: int, length: int, path: Path, where: str) -> bytes:
    """The data of the record at a byte; ``file`` stands where the data begins.

    Raises:
        CorruptFileError: it is cut off, or has another checksum.
    """
    found = up_to(file, length + _TAIL)
    if len(found) != length + _TAIL:
        raise _cut_off(at, path, where)
    data, stored = found[:length], int.from_bytes(found[length:], "little")
    crc = masked_crc32c(data)
    if crc != stored:
        raise corrupt(f"a record of masked CRC-32C {stored:08x} at byte {at}", f"{crc:08x}", path, where)
    return data


def _length(file: IO[bytes], at: int, path: Path, where: str) -> int | None:
    """The length of the next record, checked by its own checksum; None at the end."""
    head = file.read(HEAD)
    if not head:
        return None
    if len(head) < HEAD:
        raise _cut_off(at, path, where)
    if not _is_head(head):
        got = f"{head.hex(' ')}, which has another checksum"
        raise corrupt(f"the start of a record of TFRecord at byte {at}", got, path, where)
    length = int.from_bytes(head[:8], "little")
    if length > _MOST:
        raise corrupt(f"a record of at most {_MOST} bytes at byte {at}", str(length), path, where)
    return length


def _is_head(head: bytes) -> bool:
    return len(head) == HEAD and struct.unpack("<I", head[8:])[0] == masked_crc32c(head[:8])


def _cut_off(at: int, path: Path, where: str) -> Exception:
    return corrupt(f"the whole of the record at byte {at}", "the end of the file", path, where)
