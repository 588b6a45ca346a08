"""What a format is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from phlox.core import RangeError
from phlox.interchange._program import Program

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Outputs by name for inputs by name."""

_KNOWN: dict[str, Target] = {}


class Target(Protocol):
    """A format: how programs are written into a folder, and run from there by what others run them with."""

    name: str
    runtime: str
    """What runs its files, for the report."""

    def file(self, signature: str) -> str:
        """The file of a signature."""
        ...

    def require(self, where: str) -> None:
        """Refuse where a package is missing.

        Raises:
            MissingExtraError: one is.
        """
        ...

    def write(self, programs: Sequence[Program], folder: Path) -> dict[str, dict[str, Any]]:
        """Write programs, what they share once; gives what a reader must know of each, by signature, as JSON.

        Raises:
            ExportError: a program that the format cannot hold.
        """
        ...

    def opened(self, program: Program, folder: Path) -> Run:
        """A program as the format's own runtime runs it from the folder."""
        ...


def add_target(target: Target) -> None:
    """Make a format known by its name."""
    _KNOWN[target.name] = target


def targets() -> tuple[str, ...]:
    """The formats that there are.

    >>> "stablehlo" in targets()
    True
    """
    return tuple(sorted(_KNOWN))


def chosen(to: Any, where: str) -> list[Target]:
    """The formats of these names.

    Raises:
        RangeError: none, or one that there is not.
        MissingExtraError: a package that one needs is missing.
    """
    names = [to] if isinstance(to, str) else list(to)
    for name in names or [None]:
        if name not in _KNOWN:
            fix = "choose one or several of these"
            raise RangeError(f"formats among {', '.join(targets())}", got=repr(name), fix=fix, where=where)
    found = [_KNOWN[name] for name in dict.fromkeys(names)]
    for target in found:
        target.require(where)
    return found


def file_of(stem: str, signature: str, ending: str) -> str:
    """The name of a signature's file; the default one's is the plain one."""
    return f"{stem}.{ending}" if signature == DEFAULT else f"{stem}.{signature}.{ending}"


DEFAULT = "default"
"""The signature of a model that is called."""
