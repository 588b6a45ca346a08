"""How far a process has come, for ``phlox launch``, which starts it again: a number in a file, while steps run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOLDER = "PHLOX_STEPS"  # the variable that names where the files are; set by ``phlox launch --restarts``
_WIDTH = 20

_open: dict[str, int] = {}  # the file of this process, by the folder


def reached(step: int) -> None:
    """Keep the number of steps that were handed over, where somebody wants to know; it outlives a kill."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    with suppress(OSError):  # it is a help to who starts this again, and no more
        if folder not in _open:
            _open[folder] = os.open(Path(folder, str(os.getpid())), os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(_open[folder], f"{step:{_WIDTH}d}".encode(), 0)


def furthest(folder: str | os.PathLike[str]) -> int | None:
    """The furthest step of the processes that kept theirs in a folder; None where none did.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     furthest(folder)
    """
    steps: list[int] = []
    for path in Path(folder).iterdir():
        with suppress(OSError, ValueError):
            steps.append(int(path.read_text()))
    return max(steps, default=None)
