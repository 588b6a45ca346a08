"""What a schema says of one column, and which values are against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.data.validate._chunks import Place
from phlox.data.validate._column import iso, printable, shown
from phlox.data.validate._values import BOOLEAN, INTEGER, KINDS, MISSING, NUMBER, TEXT, Values

ALL_KINDS = ("boolean", "integer", "number", "date", "duration", "text", "other", "mixed", "empty")
_ANYTHING = ("other", "mixed", "empty")


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is expected of a column.

    Arguments:
        name: of the column.
        kind: "boolean", "integer", "number", "date", "duration" (seconds) or "text"; "mixed", "other" and "empty"
            allow anything. Whole numbers may come as floats, truths as 0 and 1.
        missing: the largest share of rows in which there is no value; 0 allows none.
        low, high: the least and the largest value; of dates as ISO 8601 writes them, of text its length in signs.
        values: those that are allowed, where others are not.
        finite: whether infinite numbers are refused.
        unique: whether no value may come twice.
        required: whether the column must be there.
        place: the part of the data that it lies in, and which feature or summary of it.

    Raises:
        RangeError: another kind, a share that is none, or a least value above the largest.

    >>> Column(name="age", kind="integer", low=0, high=120)
    age: integer, 0 … 120, none missing
    """

    name: str
    kind: str
    missing: float = 0.0
    low: float | str | None = None
    high: float | str | None = None
    values: tuple[Any, ...] | None = None
    finite: bool = True
    unique: bool = False
    required: bool = True
    place: Place | None = None

    def __post_init__(self) -> None:
        where = f"Column {self.name!r}"
        if self.kind not in ALL_KINDS:
            fix = "choose one of them"
            raise RangeError(f"a kind among {', '.join(ALL_KINDS)}", got=repr(self.kind), fix=fix, where=where)
        if isinstance(self.missing, bool) or not 0 <= self.missing <= 1:
            fix = "give a share of the rows, such as 0.1"
            raise RangeError("missing from 0 to 1", got=repr(self.missing), fix=fix, where=where)
        low, high = self.bounds()
        if low is not None and high is not None and not low <= high:
            got, fix = f"{self.low!r} … {self.high!r}", "swap them"
            raise RangeError("low up to high", got=got, fix=fix, where=where)

    def bounds(self) -> tuple[float | None, float | None]:
        """The least and the largest number; dates as microseconds since 1970.

        Raises:
            RangeError: what is no number, or no date.
        """
        return self._bound(self.low), self._bound(self.high)

    def _bound(self, told: float | str | None) -> float | None:
        if told is None:
            return None
        try:
            if self.kind == "date":
                return float(np.datetime64(str(told), "us").astype(np.int64))
            return float(told)
        except ValueError:
            what = "a date such as '2024-01-31'" if self.kind == "date" else "a number"
            fix = "None leaves the range open"
            raise RangeError(
                f"{what} as low and high", got=repr(told), fix=fix, where=f"Column {self.name!r}"
            ) from None

    def faults(self, values: Values) -> Iterator[tuple[str, str, np.ndarray]]:
        """For each rule that is broken its name, what it expects, and (rows,) which of them break it."""
        missing = values.codes == MISSING
        if self.missing == 0 and missing.any():
            yield "missing", "a value", missing
        odd = self._of_another_kind(values)
        if odd.any():
            yield "kind", _A[self.kind], odd
        infinite = np.isinf(values.numbers) & ~odd
        if self.finite and infinite.any():
            yield "finite", "a finite number", infinite
        usual = ~missing & ~odd & ~infinite
        yield from self._out_of_range(values, usual)
        if self.values is not None and (strange := self._strange(values, usual)).any():
            yield "values", f"one of {_few(self.values)}", strange

    def _of_another_kind(self, values: Values) -> np.ndarray:
        codes, there = values.codes, values.codes != MISSING
        if self.kind in _ANYTHING:
            return np.zeros(len(codes), bool)
        if self.kind in ("date", "duration", "text"):
            return there & (codes != KINDS.index(self.kind))
        odd = there & ~np.isin(codes, (BOOLEAN, INTEGER, NUMBER))
        if self.kind == "number":
            return odd
        rest = there & ~odd & (codes != BOOLEAN) & ((codes == NUMBER) | (self.kind == "boolean"))
        allowed = np.isin(values.numbers, (0, 1)) if self.kind == "boolean" else _is_whole(values.numbers)
        return odd | (rest & ~allowed)

    def _out_of_range(self, values: Values, usual: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
        low, high = self.bounds()
        if low is None and high is None:
            return
        told = values.numbers
        if self.kind == "text":
            told = np.full(len(values.codes), np.nan)
            told[values.codes == TEXT] = [len(text) for text in values.texts]
        least, most = -np.inf if low is None else low, np.inf if high is None else high
        out = usual & ((told < least) | (told > most))
        if out.any():
            rule = "length" if self.kind == "text" else "range"
            yield rule, f"{'a length of ' if rule == 'length' else ''}{self.range()}", out

    def _strange(self, values: Values, usual: np.ndarray) -> np.ndarray:
        assert self.values is not None
        strange = np.zeros(len(usual), bool)
        texts = values.codes == TEXT
        known = set(self.values)
        strange[texts] = [text not in known for text in values.texts]
        rest = usual & ~texts
        numbers = [v for v in self.values if isinstance(v, (int, float))]
        strange[rest] = ~np.isin(values.numbers[rest], numbers)
        return strange & usual

    def range(self) -> str:
        """The range as text; "" where it is open."""
        low, high = self.bounds()
        kind = "date" if self.kind == "date" else ""
        if low is None and high is None:
            return ""
        if low is not None and high is not None:
            return f"{_told(low, kind)} … {_told(high, kind)}"
        return f"at least {_told(low, kind)}" if low is not None else f"at most {_told(high or 0.0, kind)}"

    def cells(self) -> tuple[str, ...]:
        """What a table shows of it."""
        expected = _few(self.values) if self.values is not None else self.range()
        expected = f"length {expected}" if expected and self.kind == "text" and self.values is None else expected
        more = ["unique"] if self.unique else []
        more += [] if self.required else ["may be left out"]
        return (
            printable(self.name),
            self.kind,
            "none" if not self.missing else f"up to {self.missing:.1%}",
            expected,
            *[", ".join(more)],
        )

    def __repr__(self) -> str:
        _, kind, missing, expected, more = self.cells()
        return f"{self.name}: " + ", ".join(filter(None, (kind, expected, f"{missing} missing", more)))


_A = {
    "boolean": "a truth", "integer": "a whole number", "number": "a number", "date": "a date",
    "duration": "a duration", "text": "text",
}  # fmt: skip


def _is_whole(numbers: np.ndarray) -> np.ndarray:
    return np.isinf(numbers) | (numbers == np.round(numbers))


def _told(number: float, kind: str) -> str:
    return iso(number) if kind == "date" else f"{number:.6g}" if shown(number, kind) else ""


def _few(values: tuple[Any, ...], most: int = 6) -> str:
    listed = ", ".join(map(repr, values[:most]))
    return listed if len(values) <= most else f"{listed}, … ({len(values)} in all)"
