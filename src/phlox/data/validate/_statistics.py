"""px.data.validate.statistics: what is in the data, column by column, in one pass of bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from phlox.data.validate._chunks import Chunk, Place, chunks_of, names_of
from phlox.data.validate._column import ColumnStatistics, Gathered
from phlox.data.validate._html import Cell, Row, about, numbers, table
from phlox.data.validate._listed import listed
from phlox.data.validate._running import Distinct, RowSample
from phlox.data.validate._values import Values, mixed

SAMPLE = 1 << 14  # rows of which quantiles and pictures are made
_DISTINCT_ROWS = 1 << 20
_ALL_HASHES = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Statistics:
    """What is in data.

    Attributes:
        rows: how many.
        columns: by name.
        repeated: rows that are there before; an estimate where ``exact`` is false.
        exact: whether all rows could be told apart: of up to a million different ones.
        alike: columns of the same content, in groups.
        places: where each column lies in the data.
    """

    heading: ClassVar[str] = "What is in it"
    rows: int
    columns: Mapping[str, ColumnStatistics]
    repeated: int
    exact: bool = True
    alike: tuple[tuple[str, ...], ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> ColumnStatistics:
        return self.columns[name]

    def __str__(self) -> str:
        head = ("column", "kind", "missing", "distinct", "mean", "std", "low", "median", "high", "notes")
        return f"{self._first_line()}\n{listed(head, [column.cells() for column in self.columns.values()])}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = ("column", "kind", "missing", "distinct", "", "mean", "std", "low", "median", "high", "notes")
        rows = []
        for column in self.columns.values():
            name, kind, missing, distinct, *told, notes = column.cells()
            cells = [Cell(name), Cell(kind), *numbers((missing, distinct)), column.picture(), *numbers(told)]
            rows.append(Row([*cells, Cell(notes)]))
        return about(self._first_line()) + table(head, rows)

    def _first_line(self) -> str:
        roughly = "" if self.exact else "about "
        return f"{self.rows:,} rows, {roughly}{self.repeated:,} of them repeated"


def statistics(data: Any, *, names: Sequence[str] | None = None, seed: int = 0) -> Statistics:
    """What is in data: kinds, missing values, ranges, distinct values, repeated rows.

    One pass; what is kept does not grow with the number of rows. Quantiles are exact up to 16,384 rows and of a sample
    beyond: then a median is off by a rank of 0.4 % (one standard deviation). Distinct values are counted exactly up to
    10,000 in a column, different rows up to 1,048,576; beyond, the numbers are estimates, off by 1.4 % and by less.

    Images and other arrays of two axes and more in each row are columns of their shapes, means, standard deviations,
    least and largest numbers. Text has its length.

    Arguments:
        data: a frame of pandas, polars or pyarrow; the path of a CSV or Parquet file; arrays, lists, lists of dicts,
            datasets, tuples and dicts of them; a ``px.DataLoader``; an iterable of such, chunk after chunk.
        names: of the features of an array, as ``x`` alone or in ``(x, y)``; else they are ``x[0]``, ``x[1]``, …
        seed: of the sample.

    Raises:
        ShapeError: data without rows, parts of different numbers. StructureError: no data. CorruptFileError: no table.

    >>> import pandas, phlox as px
    >>> px.data.validate.statistics(pandas.DataFrame({"age": [20, 30, None, 40], "city": ["Rome", "Oslo", "Rome", ""]}))
    4 rows, 0 of them repeated
    column  kind    missing  distinct  mean  std  low  median  high  notes
    age     number      25%         3    30   10   20      30    40
    city    text         0%         3     3    2    0       4     4  lengths; empty text 25%
    """
    where = "statistics"
    found: dict[str, Gathered] = {}
    places: dict[str, Place] = {}
    rows, different, sample = 0, Distinct(_DISTINCT_ROWS), RowSample(SAMPLE, seed)
    for chunk in chunks_of(data, names_of(names, where), where):
        different.add(_gather(chunk, found, rows))
        sample.add(chunk.rows, chunk.columns)
        places |= chunk.places
        rows += chunk.rows
    columns = {name: one.result(name, rows, sample.columns[name]) for name, one in found.items()}
    alike = _alike(found)
    for group in alike:
        for name in group[1:]:
            columns[name] = replace(columns[name], notes=(*columns[name].notes, f"the same as {group[0]}"))
    return Statistics(rows, columns, max(0, rows - different.count), different.exact, alike, places)


def hashes_of(chunk: Chunk, values: Mapping[str, Values] | None = None) -> np.ndarray:
    """(rows,) uint64, one for each content of a row, by the names of its columns."""
    columns = values or {name: Values.of(raw) for name, raw in chunk.columns.items()}
    shown = {name: column for name, column in columns.items() if not _is_summary(chunk.places[name])}
    found = np.full(chunk.rows, _ALL_HASHES)
    for hashes in itertools.chain((shown[name].hashes for name in sorted(shown)), chunk.contents):
        found = mixed(found * np.uint64(31) + hashes)
    return found


def _is_summary(place: Place) -> bool:
    return isinstance(place[1], str)


def _gather(chunk: Chunk, found: dict[str, Gathered], before: int) -> np.ndarray:
    """Take in a chunk; the hashes of its rows."""
    values = {name: Values.of(raw) for name, raw in chunk.columns.items()}
    for name, column in values.items():
        found.setdefault(name, Gathered()).add(column, before)
    return hashes_of(chunk, values)


def _alike(found: Mapping[str, Gathered]) -> tuple[tuple[str, ...], ...]:
    groups: dict[int, list[str]] = {}
    for name, one in found.items():
        if one.filled:
            groups.setdefault(one.content, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
