"""One column: what is gathered of it, and what it comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phlox.data.validate._html import Cell, bars
from phlox.data.validate._running import Distinct, Moments
from phlox.data.validate._values import (
    BOOLEAN,
    DATE,
    INTEGER,
    KINDS,
    MISSING,
    NUMBER,
    OTHER,
    TEXT,
    Values,
    as_text,
    objects,
)

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_DISTINCT, _TOP, _BINS, _SHOWN = 10_000, 1000, 24, 12


@dataclass(frozen=True)
class ColumnStatistics:
    """What is in a column.

    Attributes:
        name, rows: of the column.
        kind: "boolean", "integer", "number", "date", "duration" (seconds), "text", "other", "mixed" or "empty".
        kinds: how many values are of each kind.
        missing: values that are not there: None, NaN, NaT.
        distinct: different values; an estimate where ``exact`` is false.
        common: the values that came most often, and how often, up to 1000; of a sample where ``exact`` is false.
        infinite: values that are not finite.
        mean, std, low, high: of the finite numbers, of dates in microseconds since 1970, of text its length in signs;
            std over n − 1. NaN where there is none.
        quantiles: by share, for 1, 5, 25, 50, 75, 95 and 99 %.
        edges, histogram: of 24 bins from low to high, of at most 16,384 rows.
        notes: what is worth a look.
    """

    name: str
    rows: int
    kind: str
    kinds: dict[str, int]
    missing: int
    distinct: int
    exact: bool
    common: tuple[tuple[Any, int], ...] = field(repr=False)
    infinite: int
    mean: float
    std: float
    low: float
    high: float
    quantiles: dict[float, float] = field(repr=False)
    edges: tuple[float, ...] = field(repr=False)
    histogram: tuple[int, ...] = field(repr=False)
    notes: tuple[str, ...]

    @property
    def median(self) -> float:
        """Half of the values are below it."""
        return self.quantiles.get(0.5, math.nan)

    def cells(self) -> tuple[str, ...]:
        """What a table shows of it."""
        numbers = (shown(x, self.kind) for x in (self.mean, self.std, self.low, self.median, self.high))
        if self.kind == "date":
            numbers = ("", "", *(shown(x, "date") for x in (self.low, self.median, self.high)))
        share = _percent(self.missing / self.rows)
        counted = f"{'' if self.exact else '≈'}{self.distinct}"
        return (printable(self.name), self.kind, share, counted, *numbers, "; ".join(self.notes))

    def picture(self) -> Cell:
        """The histogram of numbers, or how often each of the commonest values came; nothing of an empty column."""
        if self.kind in ("text", "boolean", "mixed", "other"):
            several = self.common[:_SHOWN]
            return bars([[count for _, count in several]], [f"{value}: {count}" for value, count in several])
        if not self.histogram:
            return Cell("")
        told = [shown(edge, self.kind) for edge in self.edges]
        spans = zip(told, told[1:], self.histogram, strict=False)
        return bars([self.histogram], [f"{low} … {high}: {n}" for low, high, n in spans])


def shown(number: float, kind: str) -> str:
    """A number for people, a date as such.

    >>> shown(0.0, "date"), shown(1.5, "number"), shown(float("nan"), "number")
    ('1970-01-01', '1.5', '')
    """
    if math.isnan(number):
        return ""
    return iso(number) if kind == "date" else f"{number:.4g}"


def iso(microseconds: float) -> str:
    """A date as ISO 8601 has it, without a time where that is midnight."""
    text = str(np.datetime64(round(microseconds), "us"))
    return text.removesuffix(".000000").removesuffix("T00:00:00")


def printable(name: str) -> str:
    """A name on one line, quoted where it would not be seen as it is."""
    plain = name and name.isprintable() and name == name.strip()
    cut = name if len(name) <= 40 else f"{name[:39]}…"
    return cut if plain else repr(cut)


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def kind_of(counts: np.ndarray) -> str:
    """The kind of a column whose values are of these kinds; whole numbers among numbers are numbers.

    >>> kind_of(np.bincount([INTEGER, NUMBER, MISSING], minlength=8)), kind_of(np.bincount([TEXT, NUMBER], minlength=8))
    ('number', 'mixed')
    """
    there = {int(code) for code in np.flatnonzero(counts)} - {MISSING}
    if there == {INTEGER, NUMBER}:
        return "number"
    return "empty" if not there else KINDS[there.pop()] if len(there) == 1 else "mixed"


class Gathered:
    """What is known of a column so far."""

    content: int

    def __init__(self) -> None:
        self._counts = np.zeros(len(KINDS), np.int64)
        self._numbers, self._lengths, self._distinct = Moments(), Moments(), Distinct(_DISTINCT)
        self._infinite = self._blank = self._written = 0
        self.content = 0

    @property
    def filled(self) -> bool:
        """Whether a value was there."""
        return bool(self._counts[MISSING] < self._counts.sum())

    def add(self, values: Values, before: int) -> None:
        """Take in some values; ``before`` rows came before them."""
        hashes = values.hashes
        self._counts += np.bincount(values.codes, minlength=len(KINDS))
        infinite = np.isinf(values.numbers)
        self._infinite += int(infinite.sum())
        self._numbers.add(values.numbers[~infinite & ~np.isnan(values.numbers)])
        texts = values.texts
        self._lengths.add(np.fromiter(map(len, texts), np.float64, len(texts)))
        self._blank += sum(not text.strip() for text in texts)
        self._written += sum(map(_is_number, texts))
        there = np.flatnonzero(values.codes != MISSING)
        self._distinct.add(hashes[there], lambda at: objects(_plain(values, i) for i in there[at]))
        places = np.arange(before + 1, before + 1 + len(hashes), dtype=np.uint64)
        self.content = (self.content + int((hashes * (2 * places + 1)).sum())) % 2**64

    def result(self, name: str, rows: int, sample: np.ndarray) -> ColumnStatistics:
        """What it comes to.

        Arguments:
            rows: of the data; those in which the column was not there at all are missing.
            sample: (n,) values of some rows.
        """
        kind, missing = kind_of(self._counts), int(rows - self._counts.sum() + self._counts[MISSING])
        told = self._lengths if kind == "text" else self._numbers
        there = told.count > 0
        values = Values.of(sample)
        drawn = np.array([len(t) for t in values.texts], float) if kind == "text" else values.numbers
        drawn = drawn[np.isfinite(drawn)]
        levels = dict(zip(QUANTILES, np.quantile(drawn, QUANTILES).tolist(), strict=True)) if len(drawn) else {}
        histogram, edges = np.histogram(drawn, _BINS, _span(told.low, told.high)) if there else ([], [])
        mean, low, high = (told.mean, told.low, told.high) if there else (math.nan,) * 3
        return ColumnStatistics(
            name=name, rows=rows, kind=kind, missing=missing, distinct=self._distinct.count,
            kinds={KINDS[i]: int(n) for i, n in enumerate(self._counts) if n and i != MISSING},
            exact=self._distinct.exact, common=tuple(self._distinct.common(_TOP)), infinite=self._infinite,
            mean=mean, std=told.std, low=low, high=high, quantiles=levels, edges=tuple(map(float, edges)),
            histogram=tuple(map(int, histogram)), notes=tuple(self._notes(kind, rows - missing)),
        )  # fmt: skip

    def _notes(self, kind: str, there: int) -> list[str]:
        found = ["lengths"] if kind == "text" else []
        distinct = self._distinct
        if kind == "mixed":
            parts = (f"{n} {KINDS[i]}" for i, n in enumerate(self._counts) if n and i != MISSING)
            found.append(" and ".join(parts))
        if distinct.exact and distinct.count == 1 and there > 1:
            found.append("one value")
        if there > 1 and distinct.exact and distinct.count == there and kind in ("text", "integer"):
            found += ["all differ"] if there >= 20 else []
        if self._infinite:
            found.append(f"{self._infinite} not finite")
        if self._blank:
            found.append(f"empty text {_percent(self._blank / there)}")
        texts = int(self._counts[TEXT])
        if texts and self._written == texts:
            found.append("numbers written as text")
        return found


def _span(low: float, high: float) -> tuple[float, float]:
    """A range that can be cut into bins: wider where it has no width, or none that floats can be told apart in."""
    least = 2 * _BINS * float(np.spacing(max(abs(low), abs(high))))
    return (low, high) if high - low > least else (low - max(0.5, least), high + max(0.5, least))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plain(values: Values, i: int) -> Any:
    """A value as JSON has it."""
    code, raw = values.codes[i], values.raw[i]
    if code == TEXT:
        return as_text(raw)
    if code == OTHER:
        return repr(raw)
    number = float(values.numbers[i])
    if code == DATE:
        return iso(number)
    if code == BOOLEAN:
        return bool(number)
    return int(raw) if code == INTEGER else number
