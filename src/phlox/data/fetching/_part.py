"""What has come of a file so far, beside the place where it will be; one process writes it at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

_BLOCK = 1 << 20


class Origin(NamedTuple):
    """Where a part came from, and what its server called that version of the file."""

    address: str
    etag: str = ""
    modified: str = ""

    @property
    def version(self) -> str:
        """What a server can compare byte by byte; empty where it gave nothing of the kind."""
        return self.modified if self.etag.startswith("W/") or not self.etag else self.etag


class Part:
    """The beginning of a file, open for what is to follow; its checksum is kept up as it grows."""

    def __init__(self, target: Path, file: IO[bytes]):
        self._target, self._file = target, file
        self._note = _beside(target, "part.json")
        self._hash = hashlib.sha256(usedforsecurity=False)
        self.size = 0
        file.seek(0)
        while block := file.read(_BLOCK):
            self._count(block)

    @property
    def sha256(self) -> str:
        """The checksum of what is there."""
        return self._hash.hexdigest()

    @property
    def origin(self) -> Origin | None:
        """Where what is there came from; None where nothing is, or nobody wrote it down."""
        try:
            found = json.loads(self._note.read_text("utf-8"))
            return Origin(*(str(found[name]) for name in Origin._fields)) if self.size else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, origin: Origin) -> None:
        """Throw away what is there; what follows is of this origin."""
        self.clear()
        self._note.write_text(json.dumps(origin._asdict()), "utf-8")

    def append(self, block: bytes) -> None:
        self._file.write(block)
        self._count(block)

    def clear(self) -> None:
        """Throw away what is there."""
        self._file.truncate(0)
        self._hash, self.size = hashlib.sha256(usedforsecurity=False), 0
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Put what is there in its place, in one step and flushed to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(_beside(self._target, "part"), self._target)
        self._note.unlink(missing_ok=True)

    def _count(self, block: bytes) -> None:
        self._hash.update(block)
        self.size += len(block)


@contextmanager
def held(target: Path) -> Iterator[Part]:
    """The part of a file, for this process and thread alone; it waits while another one writes.

    What has come stays when the block ends, however it ends; where nothing has, nothing stays.
    """
    path = _beside(target, "part")
    file = _alone(path)
    try:
        part = Part(target, file)
        yield part
    finally:
        with suppress(OSError):
            file.flush()
        if not os.fstat(file.fileno()).st_size:
            path.unlink(missing_ok=True)
            _beside(target, "part.json").unlink(missing_ok=True)
        file.close()


def _alone(path: Path) -> IO[bytes]:
    """A file, open and locked; again where its last writer has meanwhile given it its name."""
    while True:
        file = open(path, "a+b")  # noqa: SIM115 - the caller's
        try:
            _lock(file)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[bytes]) -> None:
    """Wait for the file; where the system has no such locks, two writers spoil a part, which its checksum shows."""
    try:
        import fcntl
    except ImportError:
        return
    with suppress(OSError):  # some network disks have none either
        fcntl.flock(file, fcntl.LOCK_EX)


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}.{ending}")
