"""Words and their numbers, counted and ordered as Keras does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from phlox.core import RangeError, StructureError, describe

MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
_OLD_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


class Counts:
    """How often each term occurs, and in how many documents."""

    def __init__(self) -> None:
        self.terms: Counter[Any] = Counter()
        self.documents: Counter[Any] = Counter()
        self.total = 0

    def add(self, documents: Iterable[Sequence[Any]]) -> None:
        """Count the terms of some documents."""
        for terms in documents:
            self.terms.update(terms)
            self.documents.update(set(terms))
            self.total += 1

    def ordered(self, most: int | None, without: Iterable[Any]) -> list[Any]:
        """The terms, the frequent ones first, of equally frequent ones the later in order first."""
        found = [term for term in self.terms if term not in set(without)]
        found.sort(key=lambda term: (self.terms[term], term), reverse=True)  # by code points is by bytes of UTF-8
        return found if most is None else found[:most]

    def weights(self, terms: Sequence[Any]) -> np.ndarray:
        """The inverse document frequency of each: ``log(1 + documents / (1 + documents with it))``."""
        found = np.array([self.documents[term] for term in terms], np.float64)
        return np.log(1 + self.total / (1 + found)).astype(np.float32)


def checked_mode(mode: str, where: str) -> str:
    """A mode of output by its name now.

    Raises:
        RangeError: there is none such.
    """
    mode = _OLD_MODES.get(mode, mode)
    if mode not in MODES:
        fix = f"choose one of {', '.join(map(repr, MODES))}"
        raise RangeError("a mode of output", got=repr(mode), fix=fix, where=where)
    return mode


def checked_terms(terms: Any, kind: type, reserved: Sequence[Any], where: str) -> tuple[list[Any], bool]:
    """The terms of a vocabulary without the reserved ones that it may begin with, and whether it did.

    Raises:
        StructureError: terms of another kind, repeated ones, none. RangeError: a reserved one in another place.
    """
    if isinstance(terms, str):
        fix = "read the file: [line.rstrip() for line in open(path)]"
        raise StructureError("terms in a list", got=repr(terms), fix=fix, where=where)
    found = [term.item() if isinstance(term, np.generic) else term for term in terms]
    begins = bool(reserved) and found[: len(reserved)] == list(reserved)
    found = found[len(reserved) :] if begins else found
    wrong = [term for term in found if not isinstance(term, kind) or isinstance(term, bool)]
    if wrong or not found:
        got, fix = describe(wrong[0]) if wrong else "none", f"give terms of {kind.__name__}"
        raise StructureError(f"terms of {kind.__name__}", got=got, fix=fix, where=where)
    repeated = [term for term, count in Counter(found).items() if count > 1]
    if repeated:
        raise StructureError("each term once", got=f"{repeated[:5]} again", fix="leave them out", where=where)
    return found, begins


def encode(numbers: np.ndarray, mode: str, size: int) -> np.ndarray:
    """Numbers (..., n) as vectors: (..., n, size) one-hot, else (..., size); numbers below 0 give nothing.

    Arguments:
        mode: ``"one_hot"``, ``"multi_hot"`` or ``"count"``.
    """
    hot = (numbers[..., None] == np.arange(size)).astype(np.int64)
    if mode == "one_hot":
        return hot[..., 0, :] if numbers.ndim > 1 and numbers.shape[-1] == 1 else hot
    if mode == "multi_hot":
        return hot.max(-2, initial=0)
    return hot.sum(-2)
