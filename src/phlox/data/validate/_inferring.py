"""px.data.validate.schema: what is expected of data, from what is in some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from phlox.core import RangeError
from phlox.data.validate._column import ColumnStatistics, iso
from phlox.data.validate._rules import Column
from phlox.data.validate._schema import Schema
from phlox.data.validate._statistics import Statistics, statistics

_FEW = 100  # rows from which on it means something that all values differ


def schema(
    data: Any, *, names: Sequence[str] | None = None, margin: float = 0.5, categories: int = 100, seed: int = 0
) -> Schema:
    """What is expected of data, inferred from some that is good.

    Kinds are those that were seen. Ranges are those that were seen, wider by ``margin`` of their width at both ends,
    but not beyond 0 where nothing was: new data is refused for gross errors, not for being a little further out. Text
    of few values, each of which came twice on average, allows these alone; other text is bounded in length. Where
    nothing was missing, nothing may be; else, up to the share that was seen and three standard deviations of it. From
    100 rows on, text whose values all differ and whole numbers that count rows must differ again, and up to twice as
    many rows may be repeated, or 1 %.

    Change what it does not know: ``schema.changed("age", low=0, high=120)``.

    Arguments:
        data: what is good, as for ``px.data.validate.statistics``, or the statistics of it.
        names: as there.
        margin: by how much of their width ranges may be exceeded.
        categories: the largest number of values of text that is a choice among them.
        seed: as there.

    Raises:
        RangeError: a negative margin. Others as for ``px.data.validate.statistics``.

    >>> import pandas, phlox as px
    >>> frame = pandas.DataFrame({"age": [20, 30, 40, 60], "city": ["Rome", "Oslo", "Rome", "Oslo"]})
    >>> px.data.validate.schema(frame)
    column  kind     missing  expected
    age     integer  none     0 … 80
    city    text     none     'Oslo', 'Rome'
    """
    if isinstance(margin, bool) or not margin >= 0:
        raise RangeError("margin of 0 or more", got=repr(margin), fix="leave it out for 0.5", where="schema")
    found = data if isinstance(data, Statistics) else statistics(data, names=names, seed=seed)
    columns = [_column(one, margin, categories, found) for one in found.columns.values()]
    return Schema(columns, repeated=_repeated(found))


def _repeated(found: Statistics) -> float:
    """How many rows may be there before: the share grows with the number of rows, so that it says little of few."""
    share = max(0.01, 2 * found.repeated / found.rows)
    return share if found.rows >= _FEW and share < 0.5 else 1.0


def _missing(found: ColumnStatistics) -> float:
    share = found.missing / found.rows
    return min(1.0, share + 3 * math.sqrt(share * (1 - share) / found.rows))


def _column(found: ColumnStatistics, margin: float, categories: int, whole: Statistics) -> Column:
    there = found.rows - found.missing
    unique = found.exact and found.distinct == there >= _FEW and found.missing == 0 and _counts(found)
    values = _values(found, there, categories)
    low, high = (None, None) if unique or values is not None else _range(found, margin)
    return Column(
        name=found.name,
        kind=found.kind,
        missing=_missing(found),
        low=low,
        high=high,
        values=values,
        finite=not found.infinite,
        unique=unique,
        place=whole.places.get(found.name),
    )


def _counts(found: ColumnStatistics) -> bool:
    """Whether values that all differ are names, or numbers that count; others may differ by chance."""
    dense = found.kind == "integer" and found.high - found.low < 2 * found.rows
    return found.kind == "text" or dense


def _values(found: ColumnStatistics, there: int, categories: int) -> tuple[Any, ...] | None:
    few = found.exact and 0 < found.distinct <= min(categories, there / 2)
    if found.kind != "text" or not few:
        return None
    return tuple(sorted(value for value, _ in found.common))


def _range(found: ColumnStatistics, margin: float) -> tuple[Any, Any]:
    if found.kind in ("boolean", "other", "mixed", "empty") or math.isnan(found.low):
        return None, None
    wider = margin * (found.high - found.low)
    low, high = found.low - wider, found.high + wider
    if found.kind != "date":
        low, high = (max(low, 0.0) if found.low >= 0 else low), (min(high, 0.0) if found.high <= 0 else high)
    if found.kind in ("integer", "text"):
        return math.floor(low), math.ceil(high)
    return (iso(low), iso(high)) if found.kind == "date" else (low, high)
