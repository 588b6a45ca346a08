"""Data checked by what is expected of its columns, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from phlox.data.validate._chunks import Chunk, chunks_of
from phlox.data.validate._column import iso
from phlox.data.validate._report import Problem, Report
from phlox.data.validate._rules import Column
from phlox.data.validate._running import Distinct
from phlox.data.validate._statistics import hashes_of
from phlox.data.validate._values import DATE, MISSING, Values, as_text

_CHANCE = 0.001
_MOST_HASHES = 1 << 20


def checked(columns: Sequence[Column], repeated: float, more: bool, data: Any) -> Report:
    """What in data is against what is expected of columns, of repeated rows, and of more columns."""
    watched = {column.name: Watched(column) for column in columns}
    places = {column.place: column.name for column in columns if column.place is not None}
    unknown: dict[str, int] = {}
    rows, different = 0, Distinct(_MOST_HASHES)
    for chunk in chunks_of(data, places, "Schema.check"):
        values = {name: Values.of(raw) for name, raw in chunk.columns.items()}
        for name in values:
            if name in watched:
                watched[name].look(values[name], rows)
            elif not more:
                unknown.setdefault(name, rows)
        if repeated < 1:
            different.add(hashes_of(chunk, values))
        rows += chunk.rows
    found = [problem for one in watched.values() for problem in one.problems(rows)]
    found += [Problem(name, None, "unknown", "no such column", "one", rows) for name in unknown]
    if repeated < 1:
        found += _repeated(repeated, rows - different.count, rows)
    return Report(rows, tuple(found))


def faulty_rows(columns: Iterable[Column], chunk: Chunk) -> list[Problem]:
    """What is wrong with single rows; nothing is said of shares, nor of values that come twice."""
    found: list[Problem] = []
    for column in columns:
        if column.name in chunk.columns:
            one = Watched(column)
            one.look(Values.of(chunk.columns[column.name]), 0)
            found += one.broken
    return found


class Watched:
    """A column and what was against its rules so far."""

    def __init__(self, column: Column):
        self.column = column
        self._broken: dict[str, Problem] = {}
        self._rows = self._missing = 0
        self._distinct = Distinct(_MOST_HASHES)

    @property
    def broken(self) -> list[Problem]:
        """Rules that single rows break."""
        return list(self._broken.values())

    def look(self, values: Values, before: int) -> None:
        """Look at some values; ``before`` rows came before them."""
        for rule, expected, rows in self.column.faults(values):
            first, count = int(rows.argmax()), int(rows.sum())
            old = self._broken.get(rule)
            if old is None:
                got = _told(values, first)
                self._broken[rule] = Problem(self.column.name, before + first, rule, expected, got, count)
            else:
                self._broken[rule] = Problem(old.column, old.row, rule, old.expected, old.got, old.count + count)
        self._rows += len(values.codes)
        self._missing += int((values.codes == MISSING).sum())
        if self.column.unique:
            self._distinct.add(values.hashes[values.codes != MISSING])

    def problems(self, rows: int) -> list[Problem]:
        """All that was against its rules in so many rows."""
        name, column = self.column.name, self.column
        if not self._rows:
            absent = Problem(name, None, "column", "the column", "none", rows)
            return [absent] if column.required else []
        found, missing = self.broken, self._missing + rows - self._rows
        if _too_many(missing, rows, column.missing) and "missing" not in self._broken:
            expected = f"up to {column.missing:.1%} missing" if column.missing else "a value"
            found.append(Problem(name, None, "missing", expected, f"{missing / rows:.1%}", missing))
        again = self._rows - self._missing - self._distinct.count
        if column.unique and again > 0:
            found.append(Problem(name, None, "unique", "values that differ", f"{again} again", again))
        return found


def _repeated(share: float, repeated: int, rows: int) -> list[Problem]:
    if not _too_many(repeated, rows, share):
        return []
    expected = f"up to {share:.1%} repeated rows" if share else "no repeated rows"
    return [Problem("", None, "repeated", expected, f"{repeated / rows:.1%}", repeated)]


def _too_many(count: int, rows: int, share: float) -> bool:
    """Whether so many rows would come by chance less than once in a thousand times, at this share."""
    from scipy.special import bdtrc

    if count <= 0 or share >= 1:
        return False
    return share == 0 or bool(bdtrc(count - 1, rows, share) < _CHANCE)


def _told(values: Values, row: int) -> str:
    raw = values.raw[row]
    if values.codes[row] == MISSING:
        return "none"
    if values.codes[row] == DATE:
        return iso(float(values.numbers[row]))
    plain = raw.item() if isinstance(raw, np.generic) else raw
    text = repr(as_text(plain)) if isinstance(plain, (str, bytes)) else str(plain)
    return text if len(text) <= 60 else f"{text[:59]}…"
