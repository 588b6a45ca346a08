"""Arrays of a request checked by a schema: quickly where all is well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.data.validate._checking import faulty_rows
from phlox.data.validate._chunks import chunks_of
from phlox.data.validate._report import Problem
from phlox.data.validate._rules import Column
from phlox.data.validate._schema import Schema


class Guard:
    """The rules of a schema that single rows can break, for the arrays of a request by name.

    Arguments:
        schema: what is expected; columns that lie in no input, such as a target, are left alone.
        inputs: names of the arrays.
    """

    schema: Schema

    def __init__(self, schema: Schema, inputs: Iterable[str]):
        several = set(inputs)
        mine = [column for column in schema if _part(column) in several]
        self.schema = schema.only(column.name for column in mine)
        parts = {name: [column for column in mine if _part(column) == name] for name in several}
        self._parts = {name: columns for name, columns in parts.items() if columns}
        self._quick = {name: _Bounds.of(columns) for name, columns in self._parts.items()}

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __call__(self, arrays: Mapping[str, Any]) -> list[Problem]:
        """What is against the schema in a request; nothing of most, by a comparison or two."""
        there = {name: arrays[name] for name in self._parts if name in arrays}
        doubtful = {name: x for name, x in there.items() if not self._is_well(name, x)}
        if not doubtful:
            return []
        found: list[Problem] = []
        for chunk in chunks_of(doubtful, self.schema.names, "Guard"):
            found += faulty_rows(self.schema.columns, chunk)
        return found

    def _is_well(self, name: str, x: Any) -> bool:
        bounds = self._quick[name]
        return bounds is not None and bounds.hold(x)


@dataclass(frozen=True)
class _Bounds:
    """Ranges of all features of an array of numbers, where these are all that is expected of them."""

    low: np.ndarray  # (features,), or () of a part of one column
    high: np.ndarray

    @classmethod
    def of(cls, columns: list[Column]) -> _Bounds | None:
        """Those of the columns of a part; None where more is expected."""
        if any(column.kind != "number" or column.values is not None for column in columns):
            return None
        places = [column.place[1] if column.place else None for column in columns]
        if places == [None]:
            order: list[int] = []
        elif sorted(map(repr, places)) == sorted(map(repr, range(len(columns)))):
            order = [places.index(i) for i in range(len(columns))]
        else:
            return None
        low, high = zip(*(column.bounds() for column in columns), strict=True)
        least = np.array([-np.inf if x is None else x for x in low])
        most = np.array([np.inf if x is None else x for x in high])
        return cls(least[order], most[order]) if order else cls(least[0], most[0])

    def hold(self, x: Any) -> bool:
        """Whether every number is finite and in its range."""
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "iuf" or x.shape[1:] != self.low.shape:
            return False
        return bool(((x >= self.low) & (x <= self.high)).all()) and bool(np.isfinite(x).all())


def _part(column: Column) -> str:
    return column.place[0] if column.place is not None else column.name
