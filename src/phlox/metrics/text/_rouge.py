"""ROUGE: how much of a text its target has, and of the target the text, by n-grams and by common subsequences."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from phlox.core import RangeError
from phlox.metrics.text._alignment import common, numbered, places_in_common
from phlox.metrics.text._bleu import ngrams
from phlox.metrics.text._text import TextMetric

_WORD = re.compile("[a-z0-9]+")
_KIND = re.compile("rouge([1-9]|L|Lsum)")
Tokenize = Callable[[str], list[str]]


class ROUGEScore(NamedTuple):
    """One kind of ROUGE, the mean over texts, from 0 to 1."""

    precision: float  # of the text, what its target has
    recall: float  # of the target, what the text has
    f1: float  # the mean over texts of both's harmonic mean


class ROUGE(TextMetric):
    r"""ROUGE of summaries: precision P, recall R and $2 P R / (P + R)$ of each text, averaged over texts.

    rouge1 … rouge9 count n-grams; rougeL the longest common subsequence of both; rougeLsum, over texts of a sentence a
    line, the union of the longest common subsequences of each line of the target with all lines. Of several targets
    the one of the largest F counts. Words are runs of a-z and 0-9 in lower case: other scripts need a ``tokenize``.

    Shapes:
        prediction: a list of texts; target: for each a text, or a list of its targets; weight: (texts,).
        value: a dict of a ``ROUGEScore`` for each kind.

    Arguments:
        kinds: which are computed.
        tokenize: a function from a text to a list of words, instead.

    Raises:
        RangeError: kinds that are not among these. StructureError, ShapeError: from ``update``, no texts, or not as
            many targets; within a compiled function.

    Source: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, in the form of ROUGE-1.5.5 without
    its stemmer.

    >>> import phlox as px
    >>> rouge = px.metrics.ROUGE(["rouge1", "rougeL"])
    >>> rouge.update(["the cat on the mat sat"], ["the cat sat on the mat"])
    >>> {kind: round(score.f1, 3) for kind, score in rouge.compute().items()}
    {'rouge1': 1.0, 'rougeL': 0.833}
    """

    kinds: tuple[str] | tuple[str, ...]
    tokenize: Tokenize | None

    def __init__(
        self,
        kinds: Sequence[str] = ("rouge1", "rouge2", "rougeL", "rougeLsum"),
        *,
        tokenize: Tokenize | None = None,
    ):
        kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        wrong = [kind for kind in kinds if not isinstance(kind, str) or not _KIND.fullmatch(kind)]
        if wrong or not kinds or len(set(kinds)) < len(kinds):
            got, fix = ", ".join(map(repr, kinds)) or "none", "choose some, each once"
            raise RangeError("kinds among rouge1 … rouge9, rougeL and rougeLsum", got=got, fix=fix, where="ROUGE")
        if tokenize is not None and not callable(tokenize):
            fix = "give a function from a text to a list of words"
            raise RangeError("tokenize to be a function", got=repr(tokenize), fix=fix, where="ROUGE")
        self.kinds, self.tokenize = kinds, tokenize
        self.reset()

    def _width(self) -> int:
        return 3 * len(self.kinds)

    def _count(self, prediction: str, targets: Sequence[str]) -> Sequence[float]:
        told = _Text(prediction, self.tokenize or _words)
        wanted = [_Text(t, self.tokenize or _words) for t in targets]
        best = [max((_measured(kind, told, w) for w in wanted), key=lambda score: score.f1) for kind in self.kinds]
        return [number for score in best for number in score]

    def _score(self, texts: float, sums: list[float]) -> Any:
        means = [number / texts for number in sums]
        return {kind: ROUGEScore(*means[3 * i : 3 * i + 3]) for i, kind in enumerate(self.kinds)}

    def _nothing(self) -> Any:
        return {kind: ROUGEScore(math.nan, math.nan, math.nan) for kind in self.kinds}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


class _Text:
    """A text as words, and its lines as words."""

    def __init__(self, text: str, tokenize: Tokenize):
        self.words = tokenize(text)
        self.lines = [tokenize(line) for line in text.split("\n") if line]


def _measured(kind: str, told: _Text, wanted: _Text) -> ROUGEScore:
    if kind == "rougeLsum":
        sizes = (sum(map(len, text.lines)) for text in (told, wanted))
        return _shares(_hits_of_lines(told.lines, wanted.lines), *sizes)
    if kind == "rougeL":
        return _shares(common(*numbered(told.words, wanted.words)), len(told.words), len(wanted.words))
    ours, theirs = (ngrams(text.words, int(kind[5:])) for text in (told, wanted))
    return _shares((ours & theirs).total(), ours.total(), theirs.total())


def _shares(hits: int, told: int, wanted: int) -> ROUGEScore:
    precision, recall = hits / max(told, 1), hits / max(wanted, 1)
    both = precision + recall
    return ROUGEScore(precision, recall, 2 * precision * recall / both if both else 0.0)


def _hits_of_lines(told: list[list[str]], wanted: list[list[str]]) -> int:
    """Words of the target that a common subsequence of its line and any line of the text has, none counted twice."""
    left = Counter(word for line in told for word in line) & Counter(word for line in wanted for word in line)
    hits = 0
    for line in wanted:
        places = {place for other in told for place in places_in_common(*numbered(line, other))}
        for place in sorted(places):
            if left[line[place]] > 0:
                left[line[place]] -= 1
                hits += 1
    return hits
