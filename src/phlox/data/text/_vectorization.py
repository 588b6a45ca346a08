"""Texts as indices of their words, or as vectors of how often each occurs: ``TextVectorization``."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np

from phlox.core import OptionError, RangeError, StructureError, answering, describe
from phlox.data._observations import whole
from phlox.data.text._lookup import StringLookup

Standardize = Callable[[str], str] | str | None
Split = Callable[[str], Sequence[str]] | str | None
_PUNCTUATION = re.compile(r"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']""")
_STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
_LOWER = {ord(letter): letter.lower() for letter in string.ascii_uppercase}  # no other ones: as TensorFlow does
_SPACE = re.compile(r"[ \t\n\r\v\f]+")  # as TensorFlow splits: no other space of Unicode


class TextVectorization:
    """Texts as indices of their words, or as vectors of how often each occurs, as Keras' layer of this name gives them.

    Texts are standardised, split into words, joined to n-grams, and looked up: 0 is padding and 1 any other word.
    All of it is on the host. As in Keras, letters beyond ASCII keep their case, and spaces beyond ASCII part nothing;
    ``standardize=str.lower`` and ``split=str.split`` know all of them.

    Shapes:
        texts: (batch,) or (batch, 1) of strings; outputs: (batch, time) int32, or (batch, tokens) float32.

    Arguments:
        max_tokens: the most indices, reserved ones included.
        standardize: ``"lower_and_strip_punctuation"``, ``"lower"``, ``"strip_punctuation"``, None, or a function of one
            text.
        split: ``"whitespace"``, ``"character"``, None, or a function of one text that gives its words.
        ngrams: n-grams of 1 … n words for a whole number n, or of those lengths for a tuple.
        output_mode: ``"int"``, ``"multi_hot"``, ``"count"`` or ``"tf_idf"``.
        output_sequence_length: the time of indices; by default that of the longest text of the batch.
        pad_to_max_tokens: vectors as long as ``max_tokens`` says, whatever was found.
        vocabulary: the words, where ``adapt`` is not to find them.
        idf_weights: their weights, for ``"tf_idf"``.

    Raises:
        RangeError, OptionError: options that are unknown, or do not go together.

    >>> import phlox as px
    >>> vectorize = px.data.text.TextVectorization(output_sequence_length=4).adapt(["To be, or not to be!"])
    >>> vectorize.get_vocabulary()
    ['', '[UNK]', 'to', 'be', 'or', 'not']
    >>> vectorize(["Not to see", "be"]).tolist()
    [[5, 2, 1, 0], [3, 0, 0, 0]]
    """

    standardize: Standardize
    split: Split
    ngrams: tuple[int, ...] | None
    lookup: StringLookup

    @answering
    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Standardize = "lower_and_strip_punctuation",
        split: Split = "whitespace",
        ngrams: int | Sequence[int] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Sequence[str] | None = None,
        idf_weights: Any = None,
    ):
        where = "TextVectorization"
        _check(standardize, _STANDARDIZE, "standardize", where)
        _check(split, ("whitespace", "character"), "split", where)
        self.standardize, self.split, self.ngrams = standardize, split, _widths(ngrams, where)
        self.lookup = StringLookup(
            max_tokens,
            mask_token="",
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
        )
        if self.lookup.output_mode == "one_hot":
            fix = 'give "multi_hot" or "count", which have one vector for a text'
            raise RangeError("a mode of output for texts", got="'one_hot'", fix=fix, where=where)
        if output_sequence_length is not None:
            whole(where, "output_sequence_length", output_sequence_length)
            if self.lookup.output_mode != "int":
                got, fix = f"output_mode={output_mode!r}", "leave it out: a vector has no time"
                raise OptionError("output_sequence_length with indices alone", got=got, fix=fix, where=where)
        self.output_sequence_length = output_sequence_length

    def adapt(self, texts: Iterable[Any]) -> Self:
        """Count the words of texts and keep the most frequent ones; of equally frequent ones the later in order first.

        Arguments:
            texts: strings, in a list, an array, or a stream that is gone through once.

        Raises:
            StructureError: something else than strings, or no word.
        """
        self.lookup.adapt_documents(self.words(text) for text in _strings(texts))
        return self

    def words(self, text: str) -> list[str]:
        """What is looked up of one text: its words, or n-grams."""
        if callable(self.standardize):
            text = self.standardize(text)
        elif self.standardize is not None:
            text = text.translate(_LOWER) if "lower" in self.standardize else text
            text = _PUNCTUATION.sub("", text) if "punctuation" in self.standardize else text
        if callable(self.split):
            found = list(self.split(text))
        elif self.split == "whitespace":
            found = [word for word in _SPACE.split(text) if word]
        else:
            found = [text] if self.split is None else list(text)
        if self.ngrams is None:
            return found
        return [" ".join(found[i : i + n]) for n in self.ngrams for i in range(len(found) - n + 1)]

    def __call__(self, texts: Any) -> np.ndarray:
        """Indices or vectors of texts; of one text alone without the axis of the batch.

        Raises:
            StructureError: something else than strings, or no vocabulary yet.
        """
        if isinstance(texts, str):
            return self([texts])[0]
        rows = [self.lookup(np.array(self.words(text), object)) for text in _strings(texts)]
        if self.lookup.output_mode != "int":
            return np.stack(rows) if rows else self.lookup(np.zeros((0, 0), object))
        time = self.output_sequence_length or max(map(len, rows), default=0)
        found = np.zeros((len(rows), time), np.int32)
        for row, numbers in zip(found, rows, strict=True):
            row[: len(numbers)] = numbers[:time]
        return found

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words by their indices.

        Arguments:
            include_special_tokens: with the reserved ones in front.
        """
        return self.lookup.get_vocabulary(include_special_tokens)

    def set_vocabulary(self, vocabulary: Sequence[str], idf_weights: Any = None) -> None:
        """Take words in their order, as ``StringLookup.set_vocabulary`` does."""
        self.lookup.set_vocabulary(vocabulary, idf_weights)

    def vocabulary_size(self) -> int:
        """How many indices there are, reserved ones included."""
        return self.lookup.vocabulary_size()

    def __repr__(self) -> str:
        return f"TextVectorization({self.vocabulary_size()} tokens, output_mode={self.lookup.output_mode!r})"


def _check(given: Any, known: Sequence[str], name: str, where: str) -> None:
    if given is not None and not callable(given) and given not in known:
        fix = f"choose one of {', '.join(map(repr, known))}, None, or a function"
        raise RangeError(f"{name} to be known", got=repr(given), fix=fix, where=where)


def _widths(ngrams: Any, where: str) -> tuple[int, ...] | None:
    if ngrams is None:
        return None
    if isinstance(ngrams, (tuple, list)):
        return tuple(whole(where, "ngrams", n) for n in ngrams)
    return tuple(range(1, whole(where, "ngrams", ngrams) + 1))


def _strings(texts: Any) -> Iterable[str]:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        fix = "give a list of strings"
        raise StructureError("texts", got=describe(texts), fix=fix, where="TextVectorization")
    for text in texts.tolist() if isinstance(texts, np.ndarray) else texts:
        text = text[0] if isinstance(text, (list, tuple)) and len(text) == 1 else text
        if not isinstance(text, str):
            fix = "decode bytes, and give each text as a string, or alone in a list"
            raise StructureError("texts", got=describe(text), fix=fix, where="TextVectorization")
        yield str(text)
