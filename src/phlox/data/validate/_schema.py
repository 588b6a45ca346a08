"""px.data.validate.Schema: what is expected of data, inferred, kept as a readable file, and checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from phlox.core import RangeError, StructureError
from phlox.data.validate._checking import checked
from phlox.data.validate._chunks import Place
from phlox.data.validate._files import Told, content_of, read_schema, told_by, write_schema
from phlox.data.validate._html import Cell, Row, table
from phlox.data.validate._listed import listed
from phlox.data.validate._pandera import to_pandera
from phlox.data.validate._report import Report
from phlox.data.validate._rules import Column


@dataclass(frozen=True)
class Schema:
    """What is expected of data, column by column.

    ``px.data.validate.schema`` infers one. ``px.fit(…, schema=…)`` checks its data by it before the first step, and a
    bundle that was exported with one has requests checked by the server.

    Arguments:
        columns: what is expected of each.
        repeated: the largest share of rows that are there before.
        more: whether columns that are not named may be there.

    Raises:
        RangeError: a column twice, or a share that is none.

    >>> import pandas, phlox as px
    >>> schema = px.data.validate.Schema([
    ...     px.data.validate.Column(name="age", kind="integer", low=0, high=120),
    ...     px.data.validate.Column(name="city", kind="text", values=("Oslo", "Rome")),
    ... ])
    >>> schema
    column  kind     missing  expected
    age     integer  none     0 … 120
    city    text     none     'Oslo', 'Rome'
    >>> schema.check(pandas.DataFrame({"age": [20, 130, 7], "city": ["Rome", "Rome", "Bonn"]}))
    2 problems in 3 rows
    column  row  rule    expected                 got     rows
    age       1  range   0 … 120                  130        1
    city      2  values  one of 'Oslo', 'Rome'    'Bonn'     1
    """

    heading: ClassVar[str] = "What is expected"
    columns: Sequence[Column]
    repeated: float = 1.0
    more: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise RangeError("each column once", got=f"{twice[0]!r} twice", fix="leave one out", where="Schema")
        if isinstance(self.repeated, bool) or not 0 <= self.repeated <= 1:
            fix = "give a share of the rows, such as 0.1"
            raise RangeError("repeated from 0 to 1", got=repr(self.repeated), fix=fix, where="Schema")

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Column:
        """What is expected of a column.

        Raises:
            StructureError: there is none of this name.
        """
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            fix = "choose one of them"
            names = ", ".join(repr(column.name) for column in self.columns)
            raise StructureError(f"a column among {names}", got=repr(name), fix=fix, where="Schema")
        return found

    def changed(self, name: str, **what: Any) -> Schema:
        """The schema with something else expected of a column.

        Arguments:
            name: of the column.
            what: fields of ``px.data.validate.Column``, such as ``low=0``.

        Raises:
            StructureError: no such column. RangeError: as for ``Column``.
        """
        old = self[name]
        new = replace(old, **what)
        return replace(self, columns=[new if column is old else column for column in self.columns])

    def only(self, names: Iterable[str]) -> Schema:
        """What is expected of some columns alone.

        Raises:
            StructureError: no such column.
        """
        return replace(self, columns=[self[name] for name in names])

    @property
    def names(self) -> dict[Place, str]:
        """Names of columns by the place that they lie in."""
        return {column.place: column.name for column in self.columns if column.place is not None}

    def check(self, data: Any) -> Report:
        """What in data is against the schema; data as for ``px.data.validate.statistics``.

        One pass of bounded memory. A share of missing or repeated rows is against it where so many would come by
        chance once in a thousand times if the share were as the schema allows it.

        Raises:
            ShapeError: data without rows. StructureError: no data.
        """
        return checked(tuple(self), self.repeated, self.more, data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, a column on a line, to be read and changed by people.

        Raises:
            FileError: it cannot be written.
        """
        write_schema(self._told(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Schema:
        """The schema of a file.

        Raises:
            FileError, CorruptFileError: there is none, or it is none.
        """
        return cls(*read_schema(path))

    def content(self) -> dict[str, Any]:
        """What its file holds, for JSON."""
        return content_of(self._told())

    @classmethod
    def of(cls, content: Mapping[str, Any], where: str = "Schema.of") -> Schema:
        """From the content of its file.

        Raises:
            StructureError: another content.
        """
        return cls(*told_by(content, where))

    def _told(self) -> Told:
        return Told(tuple(self.columns), self.repeated, self.more)

    def to_pandera(self) -> Any:
        """The same as a ``DataFrameSchema`` of pandera, for frames of pandas.

        Raises:
            MissingExtraError: pandera is not installed.
        """
        return to_pandera(self, self.more)

    def _repr_html_(self) -> str:
        rows = [Row([Cell(text) for text in column.cells()]) for column in self.columns]
        return table(("column", "kind", "missing", "expected", ""), rows)

    def __str__(self) -> str:
        head = ("column", "kind", "missing", "expected", "")
        rows = listed(head, [column.cells() for column in self.columns])
        rest = [f"repeated rows: up to {self.repeated:.1%}"] if self.repeated < 1 else []
        return "\n".join([rows, *rest, *(["other columns may be there"] if self.more else [])])

    __repr__ = __str__
