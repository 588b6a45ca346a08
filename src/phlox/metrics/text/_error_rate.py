"""Rates of errors of a transcript: by words, and by characters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from phlox.core import RangeError, ShapeError, describe
from phlox.metrics.text._alignment import edits
from phlox.metrics.text._text import TextMetric


class ErrorRateScore(NamedTuple):
    """A rate of errors, and the errors by their kinds; the rate is NaN where no text was taken in."""

    rate: float  # errors for each word or character of the targets
    substitutions: float
    insertions: float  # what the texts have too many
    deletions: float  # what they lack
    hits: float


class _ErrorRate(TextMetric):
    """Errors over the length of the targets, both summed over texts."""

    def __init__(self, *, normalize: Callable[[str], str] | None = None):
        if normalize is not None and not callable(normalize):
            fix = "give a function from a text to a text, such as str.lower"
            where = type(self).__name__
            raise RangeError("normalize to be a function", got=describe(normalize), fix=fix, where=where)
        self.normalize = normalize
        self.reset()

    def _parts(self, text: str) -> list[str]:
        """What is counted of a text."""
        raise NotImplementedError

    def _width(self) -> int:
        return 4

    def _count(self, prediction: str, targets: Sequence[str]) -> Sequence[float]:
        if len(targets) > 1:
            fix, where = "choose one of them", f"{type(self).__name__}.update"
            raise ShapeError("one target for each text", got=f"{len(targets)}", fix=fix, where=where)
        told, wanted = (self._parts(self.normalize(t) if self.normalize else t) for t in (prediction, targets[0]))
        substitutions, insertions, deletions = edits(wanted, told)
        return substitutions, insertions, deletions, len(wanted) - substitutions - deletions

    def _score(self, texts: float, sums: list[float]) -> Any:
        substitutions, insertions, deletions, hits = sums
        length = substitutions + deletions + hits
        errors = substitutions + insertions + deletions
        return ErrorRateScore(errors / length if length else insertions, *sums)

    def _nothing(self) -> Any:
        return ErrorRateScore(math.nan, 0.0, 0.0, 0.0, 0.0)


class WordErrorRate(_ErrorRate):
    r"""The word error rate of transcripts, $(S + D + I) / N$ over all texts.

    The shortest way from a target to its text substitutes S words, deletes D and inserts I; N words are in the
    targets. It may be above 1. Where all targets are empty it is I. Words are what white space separates.

    Shapes:
        prediction: a list of texts; target: a text for each; weight: (texts,); value: an ``ErrorRateScore``.

    Arguments:
        normalize: what both texts go through first, such as ``str.lower``; by default case and marks count.

    Raises:
        StructureError, ShapeError: from ``update``, no texts, or not one target for each; within a compiled function.

    Source: Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966.

    >>> import phlox as px
    >>> errors = px.metrics.WordErrorRate()
    >>> errors.update(["the cat sat on a hat"], ["the cat sat down on a mat"])
    >>> score = errors.compute()
    >>> round(score.rate, 3), score.substitutions, score.insertions, score.deletions
    (0.286, 1.0, 0.0, 1.0)
    """

    def _parts(self, text: str) -> list[str]:
        return text.split()


class CharacterErrorRate(_ErrorRate):
    r"""The character error rate of transcripts, $(S + D + I) / N$ over all texts.

    As ``WordErrorRate``, of Unicode's code points, with the spaces between words and without those at the ends.

    Shapes, arguments and errors: as ``WordErrorRate``.

    Source: Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966.

    >>> import phlox as px
    >>> errors = px.metrics.CharacterErrorRate()
    >>> errors.update("a cat", "the cat")
    >>> round(errors.compute().rate, 3)
    0.429
    """

    def _parts(self, text: str) -> list[str]:
        return list(text.strip())
