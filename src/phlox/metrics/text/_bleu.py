"""BLEU: the n-grams of a text that its targets have too, of a corpus or text by text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from phlox.core import RangeError
from phlox.metrics import _reading
from phlox.metrics.text._text import TextMetric, option
from phlox.metrics.text._tokens import TOKENIZERS

_SMOOTH = {"exp": None, "floor": 0.1, "add-k": 1.0, "none": None}  # and their numbers, where they take one


class BLEUScore(NamedTuple):
    """BLEU in percent, and what it is made of; NaN where no text was taken in."""

    score: float  # from 0 to 100
    precisions: tuple[float, ...]  # in percent, of 1-grams and on
    brevity_penalty: float  # from 0 to 1
    prediction_length: float  # tokens
    target_length: float  # tokens, of the targets nearest in length


class BLEU(TextMetric):
    r"""BLEU of a corpus, $100 \min(1, e^{1 - r / c}) \exp(\frac1N \sum_{n \le N} \log p_n)$, as sacrebleu computes it.

    $p_n$ is the share of the n-grams of all texts that are in a target of theirs, each at most as often as there; c
    counts the tokens of all texts, and r those of the target of each that is nearest in length.

    Shapes:
        prediction: a list of texts; target: for each a text, or a list of its targets; weight: (texts,).
        value: a ``BLEUScore``, from 0 to 100.

    Arguments:
        tokenize: "13a" as the WMT does, "intl" with all of Unicode's marks apart, "char", "none" at white space, or a
            function from a text to a list of tokens.
        lowercase: compare in lower case.
        smooth: where no n-gram of an order matches: "exp" halves once more for each such order, "floor" counts
            ``smooth_value`` of them, "add-k" adds ``smooth_value`` to all counts above 1-grams, "none" leaves 0.
        smooth_value: 0.1 for "floor" and 1 for "add-k" by default.
        max_order: N.
        effective_order: leave out orders that no text is long enough for, which are 0 else; false unless given.

    Raises:
        RangeError: arguments out of range. StructureError, ShapeError: from ``update``, no texts, or not as many
            targets; within a compiled function.

    Source: Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002; Post, "A call for
    clarity in reporting BLEU scores", 2018.

    >>> import phlox as px
    >>> bleu = px.metrics.BLEU()
    >>> bleu.update(["the cat sat on the mat"], [["the cat sat on a mat", "a cat was sitting on the mat"]])
    >>> round(bleu.compute().score, 2)
    67.56
    """

    _leaves_out: ClassVar[bool] = False  # what effective_order is unless given
    tokenize: str | Callable[[str], list[str]]
    lowercase: bool
    smooth_value: Any

    def __init__(
        self,
        *,
        tokenize: str | Callable[[str], list[str]] = "13a",
        lowercase: bool = False,
        smooth: str = "exp",
        smooth_value: float | None = None,
        max_order: int = 4,
        effective_order: bool | None = None,
    ):
        name = type(self).__name__
        option("tokenize", tokenize, tuple(TOKENIZERS), name)
        self.tokenize, self.lowercase = tokenize, lowercase
        self.effective_order: bool = self._leaves_out if effective_order is None else effective_order
        self.smooth: str = _reading.option(name, "smooth", smooth, tuple(_SMOOTH))
        if smooth_value is not None and (_SMOOTH[smooth] is None or not smooth_value > 0):
            fix = "give a number above 0, with smooth='floor' or 'add-k'"
            got = f"{smooth_value!r} with smooth={smooth!r}"
            raise RangeError("smooth_value above 0 for a smoothing that takes one", got=got, fix=fix, where=name)
        self.smooth_value = _SMOOTH[smooth] if smooth_value is None else float(smooth_value)
        self.max_order: int = _reading.size(name, "max_order", max_order)
        self.reset()

    def _width(self) -> int:
        return 2 + 2 * self.max_order

    def _count(self, prediction: str, targets: Sequence[str]) -> Sequence[float]:
        """Both lengths, the n-grams that match, and all, by order."""
        told = self._tokens(prediction)
        wanted = [self._tokens(t) for t in targets]
        nearest = min((len(t) for t in wanted), key=lambda length: (abs(length - len(told)), length))
        return [len(told), nearest, *self._matching(told, wanted), *self._orders(told)]

    def _tokens(self, text: str) -> list[str]:
        text = (text.lower() if self.lowercase else text).rstrip()
        return self.tokenize(text) if callable(self.tokenize) else TOKENIZERS[self.tokenize](text)

    def _orders(self, tokens: list[str]) -> list[int]:
        return [max(len(tokens) - n, 0) for n in range(self.max_order)]

    def _matching(self, told: list[str], wanted: list[list[str]]) -> list[int]:
        matching = []
        for n in range(1, self.max_order + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for tokens in wanted:
                most |= ngrams(tokens, n)
            matching.append((ngrams(told, n) & most).total())
        return matching

    def _score(self, texts: float, sums: list[float]) -> Any:
        return self._bleu(sums)

    def _bleu(self, sums: Sequence[float]) -> BLEUScore:
        told, wanted, *orders = sums
        matching, every = orders[: self.max_order], orders[self.max_order :]
        penalty = 1.0 if told >= wanted else math.exp(1 - wanted / told) if told else 0.0
        precisions = self._precisions(matching, every)
        every_order = precisions + [0.0] * (self.max_order - len(precisions))
        counted = precisions if self.effective_order else every_order
        score = penalty * math.exp(sum(map(math.log, counted)) / len(counted)) if all(counted) and counted else 0.0
        return BLEUScore(score, tuple(every_order), penalty, told, wanted)

    def _precisions(self, matching: Sequence[float], every: Sequence[float]) -> list[float]:
        """In percent, smoothed, for the orders of which there are n-grams; none where nothing matches at all."""
        if not any(matching):
            return []
        precisions, halved = [], 1.0
        for n, (right, count) in enumerate(zip(matching, every, strict=True)):
            if self.smooth == "add-k" and n > 0:
                right, count = right + (self.smooth_value or 0.0), count + (self.smooth_value or 0.0)
            if count == 0:
                break
            if right == 0 and self.smooth == "exp":
                halved *= 2
                right = 1 / halved
            elif right == 0 and self.smooth == "floor":
                right = self.smooth_value or 0.0
            precisions.append(100 * right / count)
        return precisions

    def _nothing(self) -> Any:
        return BLEUScore(math.nan, (math.nan,) * self.max_order, math.nan, 0.0, 0.0)


class SentenceBLEU(BLEU):
    r"""The mean over texts of the BLEU of each, from 0 to 100.

    Shapes:
        prediction, target, weight: as ``BLEU``; value: a number.

    Arguments and errors: as ``BLEU``, but that ``effective_order`` is true unless given.

    Source: Chen and Cherry, "A systematic comparison of smoothing techniques for sentence-level BLEU", 2014.

    >>> import phlox as px
    >>> bleu = px.metrics.SentenceBLEU()
    >>> bleu.update("the cat sat", "the cat sat"); bleu.update("the cat sat on it", "the cat sat on the mat")
    >>> round(bleu.compute(), 2)
    77.38
    """

    _leaves_out = True

    def _width(self) -> int:
        return 1

    def _count(self, prediction: str, targets: Sequence[str]) -> Sequence[float]:
        return [self._bleu(super()._count(prediction, targets)).score]

    def _score(self, texts: float, sums: list[float]) -> Any:
        return sums[0] / texts

    def _nothing(self) -> Any:
        return math.nan


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n tokens occurs."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
