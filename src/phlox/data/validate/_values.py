"""A column's values by what they are: missing, a truth, a number, a date, text, something else."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

KINDS = ("missing", "boolean", "integer", "number", "date", "duration", "text", "other")
"""What a value can be; a code is a place in this list."""

MISSING, BOOLEAN, INTEGER, NUMBER, DATE, DURATION, TEXT, OTHER = range(len(KINDS))

_OF_DTYPE = {"b": BOOLEAN, "i": INTEGER, "u": INTEGER, "f": NUMBER, "M": DATE, "m": DURATION, "U": TEXT, "S": TEXT}
_EPOCH = dt.datetime(1970, 1, 1)
_EXACT = 2**53  # whole numbers up to it are their own float64
_WIDE = 0x5851F42D4C957F2D


@dataclass(frozen=True, eq=False)
class Values:
    """A column, value by value."""

    raw: np.ndarray  # (rows,) as it was given
    codes: np.ndarray  # (rows,) uint8, places in KINDS
    numbers: np.ndarray  # (rows,) float64: numbers, truths, microseconds since 1970, seconds; NaN where none is

    @classmethod
    def of(cls, raw: np.ndarray) -> Values:
        """What the values of an array are.

        >>> [KINDS[code] for code in Values.of(objects([1, None, "a", 2.5, float("nan"), True])).codes]
        ['integer', 'missing', 'text', 'number', 'missing', 'boolean']
        """
        if raw.dtype.kind == "O":
            return _of_objects(raw)
        codes = np.full(len(raw), _OF_DTYPE.get(raw.dtype.kind, OTHER), np.uint8)
        if raw.dtype.kind in "Mm":
            unit, each = ("us", 1.0) if raw.dtype.kind == "M" else ("ns", 1e-9)
            found = raw.astype(f"{raw.dtype.kind}8[{unit}]").astype(np.int64).astype(np.float64) * each
            found[np.isnat(raw)] = np.nan
        elif raw.dtype.kind in "biuf":
            found = raw.astype(np.float64)
        else:
            return cls(raw, codes, np.full(len(raw), np.nan))
        codes[np.isnan(found)] = MISSING
        return cls(raw, codes, found)

    @cached_property
    def texts(self) -> list[str]:
        """The values that are text, in order."""
        return [v if type(v) is str else as_text(v) for v in self.raw[self.codes == TEXT].tolist()]

    @cached_property
    def hashes(self) -> np.ndarray:
        """(rows,) uint64, the same for the same value whenever and wherever it is read."""
        found = _of_numbers(self)
        texts = self.codes == TEXT
        if texts.any():
            found[texts] = _of_texts(self.texts)
        others = self.codes == OTHER
        if others.any():
            found[others] = _of_texts([f"{type(v).__name__} {v!r}" for v in self.raw[others].tolist()])
        return found


def objects(values: Iterable[Any]) -> np.ndarray:
    """An array of objects, one for each value, whatever these are."""
    several = list(values)
    made = np.empty(len(several), object)
    for i, value in enumerate(several):
        made[i] = value
    return made


def as_text(value: Any) -> str:
    """Text as such, bytes as UTF-8."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def mixed(words: np.ndarray) -> np.ndarray:
    """uint64 stirred so that each bit depends on all: the end of SplitMix64.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def digest(content: bytes) -> int:
    """64 bits of a content."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _of_numbers(values: Values) -> np.ndarray:
    """Hashes by number: 1, 1.0 and True are one value, a date is another; all that is missing is one."""
    floats = np.where(values.codes == MISSING, np.nan, values.numbers) + 0.0  # no −0
    words = floats.view(np.uint64).copy()
    words[np.isnan(floats)] = 0
    wide = np.flatnonzero((values.codes == INTEGER) & (np.abs(values.numbers) >= _EXACT))
    if len(wide):  # they share a float with their neighbours
        words[wide] = [int(values.raw[i]) % 2**64 ^ _WIDE for i in wide]
    salt = np.array([1, 2, 2, 2, 3, 4, 5, 6], np.uint64)[values.codes]
    return mixed(words + salt * np.uint64(0x9E3779B97F4A7C15))


def _of_texts(texts: list[str]) -> np.ndarray:
    known = {text: digest(text.encode("utf-8", "surrogatepass")) for text in set(texts)}
    return np.array([known[text] for text in texts], np.uint64)


def _of_objects(raw: np.ndarray) -> Values:
    values = raw.tolist()
    types = [type(v) for v in values]
    of = {kind: _code(kind) for kind in set(types)}
    codes = np.array([of[kind] for kind in types], np.uint8)
    found = np.full(len(values), np.nan)
    for i in np.flatnonzero((codes != TEXT) & (codes != OTHER) & (codes != MISSING)):
        found[i] = _number(values[i], int(codes[i]))
    codes[np.isnan(found) & (codes != TEXT) & (codes != OTHER)] = MISSING
    return Values(raw, codes, found)


def _code(kind: type) -> int:
    """What values of a class are; pandas' marks of what is missing are known by their names."""
    if kind.__name__ in ("NoneType", "NAType", "NaTType"):
        return MISSING
    classes = (
        (BOOLEAN, (bool, np.bool_)), (INTEGER, (numbers.Integral,)), (DURATION, (dt.timedelta, np.timedelta64)),
        (NUMBER, (numbers.Real, decimal.Decimal)), (TEXT, (str, bytes)), (DATE, (dt.date, np.datetime64)),
    )  # fmt: skip
    return next((code for code, several in classes if issubclass(kind, several)), OTHER)


def _number(value: Any, code: int) -> float:
    if code == DATE:
        return _microseconds(value)
    if code == DURATION:
        return value.total_seconds() if isinstance(value, dt.timedelta) else value / np.timedelta64(1, "s")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    except ValueError:  # a decimal that signals
        return float("nan")


def _microseconds(value: Any) -> float:
    if isinstance(value, np.datetime64):
        return float("nan") if np.isnat(value) else float(value.astype("M8[us]").astype(np.int64))
    moment = value if isinstance(value, dt.datetime) else dt.datetime(value.year, value.month, value.day)
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return float((moment - _EPOCH) // dt.timedelta(microseconds=1))
