"""Plain and gzipped files."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from phlox.data.readers._files import corrupt

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 25


def begins(path: Path, count: int, where: str) -> bytes:
    """The first bytes of a file as it lies there."""
    with opened(path, False, where) as file:
        return file.read(count)


def is_gzip(path: Path, where: str) -> bool:
    """Whether a file begins as gzip files do."""
    return begins(path, 2, where) == _GZIP


@contextmanager
def opened(path: Path, packed: bool, where: str) -> Iterator[IO[bytes]]:
    """A file, open for reading; ``packed`` unpacks it on the way.

    Raises:
        CorruptFileError: a gzip file that is cut off or damaged. FileError: it cannot be read.
    """
    from phlox.weights import file_error, open_regular

    try:
        with open_regular(path) as file:
            if not packed:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as content:
                yield content  # type: ignore[misc]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise corrupt("a whole gzip file", str(error), path, where) from None
    except OSError as error:
        if error.errno is None:  # no failure of the system's: it speaks for itself
            raise
        raise file_error(error, path, where) from error


def up_to(file: IO[bytes], count: int) -> bytes:
    """The next bytes, fewer where the file ends; piece by piece, so that a wrong count takes no memory."""
    found = []
    while count > 0 and (piece := file.read(min(count, _PIECE))):
        found.append(piece)
        count -= len(piece)
    return b"".join(found)


def size_of(file: IO[bytes]) -> int:
    """How many bytes a plain file has."""
    return os.fstat(file.fileno()).st_size
