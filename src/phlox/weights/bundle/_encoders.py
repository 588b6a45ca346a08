"""Text as numbers: a table is data, so that whoever reads a bundle encodes as its maker did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from phlox.core import RangeError


@dataclass(frozen=True)
class Encoder:
    """A table of words: each becomes its place in it.

    Arguments:
        table: the words, each once: categories of a column, tokens of a vocabulary.
        unknown: the number of a word that is not in the table; None to refuse it.

    Raises:
        RangeError: a word twice, or no words.

    >>> colours = Encoder(("red", "green"), unknown=0)
    >>> colours.encode([["green", "blue"]]).tolist()
    [[1, 0]]
    """

    table: tuple[str, ...]
    unknown: int | None = None

    def __init__(self, table: Sequence[str], unknown: int | None = None):
        object.__setattr__(self, "table", tuple(table))
        object.__setattr__(self, "unknown", unknown)
        words = [w for w in self.table if isinstance(w, str)]
        if isinstance(table, str) or not words or len(set(words)) != len(self.table):
            fix = "give each word once, in the order of its numbers"
            raise RangeError("a table of different words", got=repr(table)[:100], fix=fix, where="Encoder")

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.table)}

    def encode(self, words: Any, where: str = "Encoder.encode") -> np.ndarray:
        """The numbers of words, in an array of their shape (int32).

        Arguments:
            words: text, or lists or an array of text.
            where: the function that speaks in errors.

        Raises:
            RangeError: a word that the table lacks, where none is foreseen.
        """
        given = np.asarray(words, dtype=object)
        found = [self._places.get(word, self.unknown) for word in given.reshape(-1)]
        if None in found:
            odd = given.reshape(-1)[found.index(None)]
            raise RangeError(
                f"words among {_few(self.table)}", got=repr(odd)[:100],
                fix="look for its spelling; or make the encoder with unknown=, the number of all other words",
                where=where,
            )  # fmt: skip
        return np.asarray(found, np.int32).reshape(given.shape)


def is_text(value: Any) -> bool:
    """Whether a value is text, or lists or an array of it.

    >>> is_text([["red"], ["green"]]), is_text([[1.0]]), is_text(np.array(["red"]))
    (True, False, True)
    """
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "U" or (value.dtype == object and is_text(value.reshape(-1)[:1].tolist()))
    return isinstance(value, str)


def _few(table: tuple[str, ...], most: int = 8) -> str:
    shown = ", ".join(map(repr, table[:most]))
    return shown if len(table) <= most else f"{shown} and {len(table) - most} more"
