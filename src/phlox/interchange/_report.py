"""What px.export found, and how it prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phlox.core import bytes_text, plain_text

_WIDTH = 110


@dataclass(frozen=True)
class Beside:
    """A file of a smaller model beside that of the one that it was made of."""

    size: int
    """Bytes of the same file of the original."""
    error: float
    """The largest difference from the original over all examples, as a share of the largest number, or of 1."""
    alike: float | None
    """The share of rows of the first output whose largest number is at the place at which the original has it; None
    where outputs have no rows of several numbers."""


@dataclass(frozen=True)
class ExportRow:
    """One file of a bundle beside the model."""

    target: str
    signature: str
    file: str
    size: int
    """Bytes, weights in files beside it left out."""
    error: float
    """The largest difference over all examples, as a share of the largest number of each output, or of 1."""
    tolerance: float
    seconds: float
    """Of the fastest call of the format's runtime, with the first example."""
    model_seconds: float
    """The same of the model under ``px.jit``."""
    original: Beside | None = None
    """The same file of the model that this one was made of, where that was given."""


@dataclass(frozen=True)
class ExportReport:
    """What ``px.export`` wrote, and how each file does beside the model; printing it gives a table."""

    folder: Path
    rows: tuple[ExportRow, ...]
    files: dict[str, int]
    """Bytes of every file of the bundle."""
    tried: tuple[str, ...]
    """The sizes that were tried, in words."""
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """The largest difference of all files."""
        return max(row.error for row in self.rows)

    def __rich__(self) -> Any:
        """The table, for rich."""
        from rich.console import Group
        from rich.text import Text

        shared = [
            f"{name} {bytes_text(n)}" for name, n in self.files.items() if name not in {r.file for r in self.rows}
        ]
        lines = [f"tried with {'; '.join(self.tried)}", f"beside them {', '.join(shared)}", *self.notes]
        return Group(Text(f"wrote {self.folder}"), self._table(), *map(Text, lines))

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(show_edge=False, pad_edge=False)
        beside = any(r.original for r in self.rows)
        names = ("file", "size", "largest error", "of", "runtime", "time", "Phlox")
        for i, name in enumerate((*names, *(_ORIGINAL if beside else ()))):
            table.add_column(name, justify="left" if i in (0, 4) else "right", overflow="fold")
        for r in self.rows:
            table.add_row(
                self._called(r), bytes_text(r.size), f"{r.error:.1e}", f"{r.tolerance:.0e}", r.target,
                _time(r.seconds), _time(r.model_seconds), *(_told(r.original) if beside else ()),
            )  # fmt: skip
        return table

    def _called(self, row: ExportRow) -> str:
        """The file of a row; with the signature, where one file has several."""
        several = sum(row.file == r.file for r in self.rows) > 1
        return f"{row.file} ({row.signature})" if several else row.file

    def __str__(self) -> str:
        return plain_text(self, _WIDTH)

    __repr__ = __str__


_ORIGINAL = ("original", "apart", "alike")


def _told(beside: Beside | None) -> tuple[str, ...]:
    """The size of the original's file, how far results are from its, and how often they mean the same."""
    if beside is None:
        return ("", "", "")
    return bytes_text(beside.size), f"{beside.error:.1e}", "" if beside.alike is None else f"{beside.alike:.1%}"


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"
