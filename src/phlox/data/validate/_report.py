"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from phlox.core import PhloxError
from phlox.data.validate._column import printable
from phlox.data.validate._html import Cell, Row, about, numbers, table
from phlox.data.validate._listed import listed


class InvalidDataError(PhloxError, ValueError):
    """Data that is against its schema; ``report`` has all that is."""

    report: Report | None = None


@dataclass(frozen=True)
class Problem:
    """Rows that break a rule.

    Attributes:
        column: the name of the column; "" where all of them are meant.
        row: the first row that breaks it; None where that is no row.
        rule: "kind", "missing", "finite", "range", "length", "values", "unique", "repeated", "column" or "unknown".
        expected: what the schema says.
        got: what is there in that row.
        count: how many rows break it.
    """

    column: str
    row: int | None
    rule: str
    expected: str
    got: str
    count: int

    def cells(self) -> tuple[str, ...]:
        """What a table shows of it."""
        row = "" if self.row is None else str(self.row)
        return printable(self.column) if self.column else "", row, self.rule, self.expected, self.got, str(self.count)


@dataclass(frozen=True)
class Report:
    """What in data is against a schema; true where nothing is.

    Attributes:
        rows: that were looked at.
        problems: by column, in the order of the schema.
    """

    heading: ClassVar[str] = "What is against the schema"
    rows: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is against the schema."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def require(self, where: str = "Schema.check") -> None:
        """Raise where something is against the schema.

        Raises:
            InvalidDataError: the first problem, and how many more there are.
        """
        if self.problems:
            raise self._error(where)

    def _error(self, where: str) -> InvalidDataError:
        first, more = self.problems[0], len(self.problems) - 1
        place = f" in column {first.column!r}" if first.column else ""
        row = "" if first.row is None else f" in row {first.row}"
        rest = f"; {more} more {'problem' if more == 1 else 'problems'}" if more else ""
        several = f" and {first.count - 1} more rows" if first.count > 1 and first.row is not None else ""
        fix = "mend the data, or change the schema: print(schema.check(data)) shows everything"
        error = InvalidDataError(
            f"{first.expected}{place}", got=f"{first.got}{row}{several}{rest}", fix=fix, where=where
        )
        error.report = self
        return error

    def __str__(self) -> str:
        if self.ok:
            return f"no problem in {self.rows:,} rows"
        head = ("column", "row", "rule", "expected", "got", "rows")
        count = len(self.problems)
        rows = listed(head, [problem.cells() for problem in self.problems])
        return f"{count} {'problem' if count == 1 else 'problems'} in {self.rows:,} rows\n{rows}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if self.ok:
            return about(str(self))
        rows = []
        for problem in self.problems:
            column, row, rule, expected, got, count = problem.cells()
            cells = [Cell(column), *numbers([row]), Cell(rule), Cell(expected), Cell(got), *numbers([count])]
            rows.append(Row(cells, bad=True))
        head = ("column", "first row", "rule", "expected", "got", "rows")
        return about(str(self).splitlines()[0]) + table(head, rows)

    def content(self) -> list[dict[str, Any]]:
        """The problems, for JSON."""
        return [dict(vars(problem)) for problem in self.problems]
