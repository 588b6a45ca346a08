"""Sequences filled up to one length, of few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from phlox.core import RangeError, ShapeError, StructureError, describe
from phlox.data._observations import whole
from phlox.data.text._settings import check_side
from phlox.data.text._tokens import mask_of, rows_of

Side = Literal["left", "right"]
Pad = bool | str | int | Sequence[int]


def pad(
    sequences: Iterable[Any],
    value: int | float = 0,
    length: int | None = None,
    *,
    side: Side = "right",
    to: Pad = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of several lengths in one array, filled up on one side, and which places are real.

    Shapes:
        sequences: each (time,); the results: (batch, time) of the values' dtype, int32 for whole numbers in lists, and
        (batch, time) booleans.

    Arguments:
        value: what to fill up with.
        length: the most that a sequence may have; with ``to="length"`` that of the result.
        side: where the filling goes.
        to: True or ``"longest"`` the longest sequence; ``"length"``; a whole number, the next multiple of it, but
            no more than ``length``; several, the first of them that holds the longest: few programs are compiled then.

    Raises:
        RangeError: a sequence that is too long; lengths that are none. ShapeError: no sequence, or one of other axes.

    >>> import phlox as px
    >>> rows, mask = px.data.text.pad([[5, 6, 7], [8]], side="left")
    >>> rows.tolist(), mask.tolist()
    ([[5, 6, 7], [0, 0, 8]], [[True, True, True], [False, False, True]])
    >>> px.data.text.pad([[5, 6, 7], [8]], to=(4, 8))[0].shape
    (2, 4)
    """
    where = "pad"
    check_side(side, "side", where)
    rows = [_row(sequence) for sequence in sequences]
    if not rows or any(row.ndim != 1 for row in rows):
        got = ", ".join(describe(row) for row in rows[:4]) or "none"
        raise ShapeError("sequences of numbers", got=got, fix="give a list of lists or of arrays (time,)", where=where)
    lengths = [len(row) for row in rows]
    time = time_of(lengths, to, None if length is None else whole(where, "length", length), where)
    dtype = np.result_type(*[row.dtype for row in rows if row.size] or [np.int32])
    return rows_of(rows, time, side, value, dtype), mask_of(lengths, time, side)


def _row(sequence: Any) -> np.ndarray:
    row = np.asarray(sequence)
    return row.astype(np.int32) if isinstance(sequence, (list, tuple)) and row.dtype.kind in "iu" else row


def time_of(lengths: Sequence[int], to: Pad, length: int | None, where: str) -> int:
    """The time that sequences of these lengths are padded to.

    Raises:
        RangeError: they are too long, or ``to`` is nothing that can be padded to.
        ShapeError: they are not to be padded, and differ.
    """
    longest = max(lengths, default=0)
    if length is not None and longest > length:
        fix, got = "cut it, raise the length, or split it into parts", f"{longest} (sequence {lengths.index(longest)})"
        raise RangeError(f"sequences of at most {length}", got=got, fix=fix, where=where)
    if to is True or to == "longest":
        return longest
    if to is False:
        return _equal(lengths, where)
    if isinstance(to, str):
        return _whole_length(to, length, where)
    if isinstance(to, (int, np.integer)):
        return _multiple(longest, whole(where, "the multiple to pad to", to), length)
    return _bucket(longest, to, where)


def _equal(lengths: Sequence[int], where: str) -> int:
    if len(set(lengths)) > 1:
        got, fix = f"{min(lengths)} … {max(lengths)}", "pad them, or keep them as lists: Tokenizer.encode"
        raise ShapeError("sequences of one length, as they are not padded", got=got, fix=fix, where=where)
    return lengths[0] if lengths else 0


def _whole_length(to: str, length: int | None, where: str) -> int:
    if to not in ("length", "max_length"):
        got, fix = repr(to), "give True, a multiple such as 64, or lengths such as (64, 128, 512)"
        raise StructureError('what to pad to: "longest" or "length"', got=got, fix=fix, where=where)
    if length is None:
        got, fix = "no length", "give length=, or pad to the longest"
        raise RangeError("a length to pad to", got=got, fix=fix, where=where)
    return length


def _multiple(longest: int, step: int, length: int | None) -> int:
    time = -(-longest // step) * step
    return time if length is None else min(time, length)


def _bucket(longest: int, to: Any, where: str) -> int:
    buckets = np.asarray(to)
    good = buckets.ndim == 1 and buckets.size and buckets.dtype.kind in "iu" and buckets[0] > 0
    if not good or (np.diff(buckets) < 1).any():
        fix = "give the lengths to pad to, such as (64, 128, 512)"
        raise RangeError("lengths as increasing whole numbers", got=repr(to), fix=fix, where=where)
    if longest > buckets[-1]:
        fix = "give one more, or length= to cut texts"
        raise RangeError(f"sequences of at most {buckets[-1]}", got=str(longest), fix=fix, where=where)
    return int(buckets[np.searchsorted(buckets, longest)])
