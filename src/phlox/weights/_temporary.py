"""Temporary files and folders that tell whose they are, so that what a killed process left can go."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"\.phlox-(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{16}\.(tmp|new)")
_WEEK = 7 * 24 * 3600
_OURS: set[str] = set()  # those that this process is writing


def temporary_beside(target: Path, kind: str = "tmp") -> Path:
    """A name in the folder of ``target`` that is taken by nobody, and tells machine and process.

    Arguments:
        target: what is to be written.
        kind: how the name ends: ``tmp`` for a file, ``new`` for a folder; others are never cleared away.
    """
    path = target.with_name(f".phlox-{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.{kind}")
    _OURS.add(path.name)
    return path


def given_up(path: Path) -> None:
    """The file has its own name by now, or is to go."""
    _OURS.discard(path.name)


def clear_away(folder: Path) -> None:
    """Remove the temporary files and folders of processes that are gone; nothing is raised where that cannot be.

    Of another machine, which shares the disk, nobody knows: what has lain there for a week goes.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found and entry.name not in _OURS and _is_left(found[1], found[2], entry, found[3] == "new"):
                with suppress(OSError):
                    shutil.rmtree(entry.path) if found[3] == "new" else os.unlink(entry.path)


def _is_left(machine: str | None, process: str | None, entry: os.DirEntry[str], folder: bool) -> bool:
    """Whether nobody writes to a temporary file, or into a temporary folder, any more."""
    if not (entry.is_dir if folder else entry.is_file)(follow_symlinks=False):
        return False
    if process is not None and machine == _machine() and not _lives(int(process)):
        return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _WEEK


def _lives(process: int) -> bool:
    """Whether there is a process of this number besides this one, whose files are known."""
    if process == os.getpid():
        return False  # one of this number was here before us
    if os.name != "posix":
        return True  # there a signal of 0 would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _machine() -> str:
    """Eight digits of the machine, and of the name space of processes that containers have."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]
