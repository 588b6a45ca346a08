"""The processes that keep one folder of checkpoints together: what process 0 decides, and what each has to tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from phlox.parallel import Ending, Group
from phlox.weights import CorruptFileError, FileError, MissingFileError

_LOOK = 0.5  # seconds for which one is waited for at a time; between them comes a look at who was lost
_PATIENCE = 5.0  # seconds for what a process that ends by an error still has to tell


class Circle:
    """One process, which has nobody to agree with.

    Attributes:
        process, processes: which this is, of how many.
    """

    process: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that decides, and gives checkpoints their names."""
        return self.process == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.processes > 1

    def decided(self, decide: Callable[[], Any]) -> Any:
        """What process 0 decides, JSON-able; all come here."""
        return decide()

    def gathered(self, text: str) -> list[str]:
        """The texts of all processes, in their order; all come here."""
        return [text]

    def collected(self, name: str, text: str) -> list[str]:
        """In process 0 the texts of all under this name, in their order; elsewhere nothing. Nobody else waits."""
        del name
        return [text]

    def announced(self, name: str, text: str = "") -> str:
        """What process 0 says under this name."""
        del name
        return text

    def forget(self, name: str) -> None:
        """Drop what was told under a name, once everybody has heard it."""


class Together(Circle):
    """This process among several.

    Who waits here waits for as long as the others live: a large part takes its time.

    Arguments:
        group: the processes.
        name: of what they do together.
        where: who speaks in errors.
        ending: of a training: where one of its processes ends by an error, the others do not wait for it.
    """

    group: Group

    def __init__(self, group: Group, name: str, where: str, ending: Ending | None = None):
        self.group, self.name, self.where, self.ending = group, f"{name}/files", where, ending
        self.process, self.processes = group.process, group.processes
        self._meetings = 0

    def decided(self, decide: Callable[[], Any]) -> Any:
        return json.loads(self.announced(self._next(), json.dumps(decide()) if self.first else ""))

    def gathered(self, text: str) -> list[str]:
        name = self._next()
        self.group.tell(f"{self.name}/{name}/{self.process}", text)
        return [self._heard(f"{name}/{n}") for n in range(self.processes)]

    def collected(self, name: str, text: str) -> list[str]:
        self.group.tell(f"{self.name}/{name}/{self.process}", text)
        return [self._heard(f"{name}/{n}") for n in range(self.processes)] if self.first else []

    def announced(self, name: str, text: str = "") -> str:
        if self.first:
            self.group.tell(f"{self.name}/{name}/said", text)
            return text
        return self._heard(f"{name}/said")

    def forget(self, name: str) -> None:
        self.group.forget(f"{self.name}/{name}")

    def _next(self) -> str:
        self._meetings += 1
        return str(self._meetings)

    def _heard(self, name: str) -> str:
        """What is told under a name, however long that takes.

        Raises:
            ProcessError: a process was lost, or has ended by an error.
        """
        broken = None
        while (text := self.group.heard(f"{self.name}/{name}", _LOOK)) is None:
            if self.group.lost or self.group.broken:
                raise self.group.error_of_loss(self.where)
            if self.ending is not None and self.ending.broken is not None:
                broken = broken or time.monotonic()
                if time.monotonic() - broken > _PATIENCE:
                    raise self.ending.error()
        return text


ALONE = Circle()


# --- errors as texts ----------------------------------------------------------------------------------

_KINDS = {kind.__name__: kind for kind in (FileError, CorruptFileError, MissingFileError)}
_FAILED = "failed"


def as_text(error: FileError | None) -> str:
    """An error as what can be told; nothing where there is none.

    >>> print(as_error(as_text(FileError("room", got="none", fix="make some", where="checkpoints")), 1))
    checkpoints expects room, got none, in process 1
      fix: make some
    """
    if error is None:
        return ""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _KINDS)
    return json.dumps({_FAILED: [kind, error.expected, error.got, error.fix, error.where]})


def as_error(text: str, process: int | None = None) -> FileError | None:
    """The error that was told, and by which process; None where none was."""
    told = json.loads(text).get(_FAILED) if text else None
    if told is None:
        return None
    kind, expected, got, fix, where = told
    return _KINDS[kind](expected, got=got if process is None else f"{got}, in process {process}", fix=fix, where=where)
