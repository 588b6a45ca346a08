"""What a format is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from phlox.core import RangeError
from phlox.interchange._program import Program

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Outputs by name for inputs by name."""

_KNOWN: dict[str, Target] = {}


@runtime_checkable
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


@runtime_checkable
class Settled(Target, Protocol):
    """A format with settings, which a bundle keeps among the details of its files."""

    def again(self, details: Mapping[str, Any]) -> Target:
        """The same settings from the details of a file."""
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
    """The formats of these names; one with settings of its own stands for itself.

    Raises:
        RangeError: none, one that there is not, or two with different settings.
        MissingExtraError: a package that one needs is missing.
    """
    asked = [to] if isinstance(to, (str, Target)) else list(to)
    for one in asked or [None]:
        if not isinstance(one, Target) and one not in _KNOWN:
            fix = "choose one or several of these"
            raise RangeError(f"formats among {', '.join(targets())}", got=repr(one), fix=fix, where=where)
    found = list(dict.fromkeys(one if isinstance(one, Target) else _KNOWN[one] for one in asked))
    if len({target.name for target in found}) < len(found):
        fix = "leave one of the two out"
        raise RangeError("each format once", got=", ".join(t.name for t in found), fix=fix, where=where)
    for target in found:
        target.require(where)
    return found


def as_written(name: str, details: Mapping[str, Any]) -> str | Target:
    """A format as it was asked for when a bundle's file was written: its name, or one with the same settings."""
    known = _KNOWN.get(name)
    return known.again(details) if isinstance(known, Settled) else name


def file_of(stem: str, signature: str, ending: str) -> str:
    """The name of a signature's file; the default one's is the plain one."""
    return f"{stem}.{ending}" if signature == DEFAULT else f"{stem}.{signature}.{ending}"


DEFAULT = "default"
"""The signature of a model that is called."""
