"""The shortest way from one sequence to another, and the longest subsequence of both."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

_MOST = 2**24  # entries of a table; beyond, the sequences are cut in two


def edits(target: Sequence[Hashable], prediction: Sequence[Hashable]) -> tuple[int, int, int]:
    """Substitutions, insertions and deletions of a shortest way from ``target`` to ``prediction``.

    Of several shortest ways it is the one that is rapidfuzz's, read from the end: a deletion before an insertion
    before a substitution. (Above 2^24 pairs it is another one.)
    """
    a, b = numbered(target, prediction)
    return _edits(a, b)


def numbered(*sequences: Sequence[Hashable]) -> list[np.ndarray]:
    """The sequences as integers, equal where their items are."""
    known: dict[Hashable, int] = {}
    return [np.array([known.setdefault(item, len(known)) for item in s], np.int64) for s in sequences]


def _edits(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int]:
    a, b = _without_common_ends(a, b)
    if len(a) * len(b) > _MOST and len(a) > 1:
        return _edits_in_two(a, b)
    table = np.empty((len(a) + 1, len(b) + 1), np.int32)
    table[0] = np.arange(len(b) + 1)
    for i in range(len(a)):
        table[i + 1] = _next_distances(table[i], a[i] == b)
    return _walked(table, a, b)


def _without_common_ends(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for _ in range(2):  # off the beginning, then off the end
        shorter = min(len(a), len(b))
        differs = np.flatnonzero(a[:shorter] != b[:shorter])
        same = differs[0] if len(differs) else shorter
        a, b = a[same:][::-1], b[same:][::-1]
    return a, b


def _next_distances(row: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Levenshtein's distances to all prefixes of one sequence, after one more item of the other."""
    step = np.arange(len(row))
    new = np.concatenate([row[:1] + 1, np.minimum(row[1:] + 1, row[:-1] + ~same)])
    return np.minimum.accumulate(new - step) + step


def _walked(table: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[int, int, int]:
    """A shortest way back through the table of distances, counted by its steps."""
    substitutions = insertions = deletions = 0
    i, j = len(a), len(b)
    while i and j:
        if table[i, j] == table[i - 1, j] + 1:
            deletions, i = deletions + 1, i - 1
        elif table[i, j - 1] < table[i - 1, j - 1]:
            insertions, j = insertions + 1, j - 1
        else:
            i, j = i - 1, j - 1
            substitutions += int(a[i] != b[j])
    return substitutions, insertions + j, deletions + i


def _edits_in_two(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int]:
    """The same in memory of one row (Hirschberg, 1975): each half of ``a`` to its part of ``b``."""
    half = len(a) // 2
    cut = int(np.argmin(_distances(a[:half], b) + _distances(a[half:][::-1], b[::-1])[::-1]))
    first, second = _edits(a[:half], b[:cut]), _edits(a[half:], b[cut:])
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    row = np.arange(len(b) + 1)
    for item in a:
        row = _next_distances(row, item == b)
    return row


def common(a: np.ndarray, b: np.ndarray) -> int:
    """The length of the longest common subsequence."""
    row = np.zeros(len(b) + 1, np.int64)
    for item in a:
        row = _next_common(row, item == b)
    return int(row[-1])


def places_in_common(a: np.ndarray, b: np.ndarray) -> list[int]:
    """The places in ``a`` of a longest common subsequence; of several, the one that ends where ROUGE-1.5.5's does."""
    table = np.zeros((len(a) + 1, len(b) + 1), np.int64)
    for i in range(len(a)):
        table[i + 1] = _next_common(table[i], a[i] == b)
    places, i, j = [], len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return places


def _next_common(row: np.ndarray, same: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(np.concatenate([row[:1], np.maximum(row[1:], row[:-1] + same)]))
