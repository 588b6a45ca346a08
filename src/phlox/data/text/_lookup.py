"""Words and whole numbers as indices of a vocabulary: ``StringLookup`` and ``IntegerLookup``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from phlox.core import OptionError, RangeError, StructureError, answering, describe
from phlox.data._observations import whole
from phlox.data.text._hashing import farm_hash
from phlox.data.text._vocabulary import Counts, checked_mode, checked_terms, encode


class Lookup:
    """What both lookups share: a vocabulary, its reserved places in front, and the forms of output."""

    _kind: ClassVar[type]
    max_tokens: int | None
    num_oov_indices: int
    mask_token: Any
    oov_token: Any
    invert: bool
    output_mode: str
    pad_to_max_tokens: bool

    def __init__(self, vocabulary: Sequence[Any] | None, idf_weights: Any, **options: Any):
        self.__dict__.update(options)
        where = type(self).__name__
        self.output_mode = checked_mode(self.output_mode, where)
        whole(where, "num_oov_indices", self.num_oov_indices, 0)
        if self.max_tokens is not None:
            whole(where, "max_tokens", self.max_tokens, 2)
        if self.invert and self.output_mode != "int":
            fix = "give one of both"
            raise OptionError("indices for invert", got=f"output_mode={self.output_mode!r}", fix=fix, where=where)
        if self.pad_to_max_tokens and self.max_tokens is None:
            fix = "give max_tokens, the size to fill up to"
            raise OptionError("max_tokens for pad_to_max_tokens", got="None", fix=fix, where=where)
        self._terms: list[Any] | None = None
        self._index: dict[Any, int] = {}
        self._weights: np.ndarray | None = None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    # --- the vocabulary -----------------------------------------------------------------------------

    @property
    def _reserved(self) -> list[Any]:
        """What stands before the terms: the mask where indices are given, then the places for other terms."""
        masked = self.mask_token is not None and self.output_mode == "int"
        return [self.mask_token] * masked + [self.oov_token] * self.num_oov_indices

    @property
    def _first_oov(self) -> int:
        return len(self._reserved) - self.num_oov_indices

    def adapt(self, data: Any) -> Self:
        """Count the terms of data and keep the most frequent ones; of equally frequent ones the later in order first.

        Arguments:
            data: terms (n,), each a document of its own for ``"tf_idf"``, or documents, each a list of terms.

        Raises:
            StructureError: terms of another kind, or none.
        """
        return self.adapt_documents(_documents(data))

    def adapt_documents(self, documents: Iterable[Sequence[Any]]) -> Self:
        """The same for documents that are lists of terms."""
        counts, without = Counts(), {self.mask_token, self.oov_token}
        counts.add(documents)
        room = None if self.max_tokens is None else self.max_tokens - len(self._reserved)
        terms = counts.ordered(room, without)
        self.set_vocabulary(terms, counts.weights(terms) if self.output_mode == "tf_idf" else None)
        return self

    def set_vocabulary(self, vocabulary: Sequence[Any], idf_weights: Any = None) -> None:
        """Take terms in their order, with or without the reserved ones in front.

        Arguments:
            vocabulary: the terms.
            idf_weights: for ``"tf_idf"`` a weight for each.

        Raises:
            StructureError: terms of another kind, repeated ones, none; weights where there are to be none, or none.
            RangeError: more terms than ``max_tokens``.
        """
        where, reserved = type(self).__name__, self._reserved
        terms, begins = checked_terms(vocabulary, self._kind, reserved, where)
        if self.mask_token is not None and self.mask_token in terms:
            fix = f"leave it out, or begin with {reserved}"
            raise StructureError("the mask token in front alone", got=repr(self.mask_token), fix=fix, where=where)
        size = len(reserved) + len(terms)
        if self.max_tokens is not None and size > self.max_tokens:
            fix = "raise max_tokens, which counts reserved ones too"
            raise RangeError(f"at most {self.max_tokens} tokens", got=str(size), fix=fix, where=where)
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            got, fix = f"output_mode={self.output_mode!r}", "give both, or neither: adapt finds the weights"
            raise StructureError('idf_weights with "tf_idf" alone', got=got, fix=fix, where=where)
        self._weights = None if idf_weights is None else self._all_weights(idf_weights, len(terms), begins)
        self._terms = terms
        self._index = {term: number for number, term in enumerate(terms, len(reserved))}

    def _all_weights(self, given: Any, count: int, begins: bool) -> np.ndarray:
        """The weights with those of the reserved places, which are the mean of all where they are not given."""
        weights, front = np.asarray(given, np.float32), len(self._reserved)
        needed = count + front * begins
        if weights.shape != (needed,):
            fix = "give each term of the vocabulary its weight"
            raise StructureError(f"{needed} weights", got=describe(weights), fix=fix, where=type(self).__name__)
        return weights if begins else np.concatenate([np.full(front, weights.mean(), np.float32), weights])

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The terms by their indices.

        Arguments:
            include_special_tokens: with the reserved ones in front.
        """
        return [*(self._reserved if include_special_tokens else ()), *(self._terms or ())]

    def vocabulary_size(self) -> int:
        """How many indices there are, reserved ones included."""
        return len(self.get_vocabulary())

    # --- lookup -------------------------------------------------------------------------------------

    def __call__(self, inputs: Any) -> np.ndarray:
        """Indices of terms, vectors of them, or with ``invert`` the terms of indices.

        Shapes:
            inputs: (...) of terms; the result: (...) int32 for ``"int"``, (..., tokens) float32 for ``"one_hot"``, and
            (..., tokens) of inputs (..., n) for the others.

        Raises:
            StructureError: there is no vocabulary yet, or terms of another kind.
            RangeError: a term that is not in it, where ``num_oov_indices=0``.
        """
        if self._terms is None:
            fix = "call adapt(data), or give vocabulary="
            raise StructureError("a vocabulary", got="none", fix=fix, where=type(self).__name__)
        if self.invert:
            return self._terms_of(np.asarray(inputs))
        terms = np.asarray(inputs, object)
        numbers = np.array([self._number(term) for term in terms.ravel()], np.int64).reshape(terms.shape)
        return numbers.astype(np.int32) if self.output_mode == "int" else self.vectors(numbers)

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """Indices as vectors of the mode of output; those below 0 give nothing."""
        mode = self.output_mode
        size = self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()
        found = encode(np.atleast_1d(numbers), "count" if mode == "tf_idf" else mode, size).astype(np.float32)
        if self._weights is None:
            return found
        return found * np.pad(self._weights, (0, size - len(self._weights)))

    def _number(self, term: Any) -> int:
        term = self._checked(term)
        if self.mask_token is not None and term == self.mask_token:
            return 0 if self.output_mode == "int" else -1
        found = self._index.get(term)
        if found is not None:
            return found
        if not self.num_oov_indices:
            fix = "give num_oov_indices=1, or adapt to all data"
            raise RangeError("terms of the vocabulary", got=repr(term), fix=fix, where=type(self).__name__)
        return self._first_oov + (0 if self.num_oov_indices == 1 else self._other(term) % self.num_oov_indices)

    def _checked(self, term: Any) -> Any:
        term = term.item() if isinstance(term, np.generic) else term
        if not isinstance(term, self._kind) or isinstance(term, bool):
            fix = f"give terms of {self._kind.__name__}"
            what = f"terms of {self._kind.__name__}"
            raise StructureError(what, got=describe(term), fix=fix, where=type(self).__name__)
        return term

    def _other(self, term: Any) -> int:
        """Which of several places a term goes to that is not in the vocabulary."""
        raise NotImplementedError

    def _terms_of(self, numbers: np.ndarray) -> np.ndarray:
        known = dict(enumerate(self.get_vocabulary()))
        found = [known.get(int(number), self.oov_token) for number in numbers.ravel()]
        kind = np.dtype(np.int64) if self._kind is int else np.dtype(object)
        return np.array(found, kind).reshape(numbers.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.vocabulary_size()} tokens, output_mode={self.output_mode!r})"


class StringLookup(Lookup):
    """Words as indices of a vocabulary, on the host, as Keras' layer of this name gives them.

    Index 0 is the mask token where there is one, then come the places for other words, then the vocabulary.

    Shapes:
        inputs: (...) of strings; outputs: (...) int32, or (..., tokens) float32.

    Arguments:
        max_tokens: the most indices, reserved ones included.
        num_oov_indices: places for words that are not in the vocabulary; of several the FarmHash of the word decides.
        mask_token: the word for nothing.
        oov_token: what stands for other words in the vocabulary and with ``invert``.
        vocabulary: the words, where ``adapt`` is not to find them.
        idf_weights: their weights, for ``"tf_idf"``.
        invert: words of indices.
        output_mode: ``"int"``, ``"one_hot"``, ``"multi_hot"``, ``"count"`` or ``"tf_idf"``.
        pad_to_max_tokens: vectors as long as ``max_tokens`` says, whatever was found.

    Raises:
        RangeError: numbers out of range. StructureError: a vocabulary of something else than words.

    >>> import phlox as px
    >>> lookup = px.data.text.StringLookup().adapt(["b", "a", "b", "c"])
    >>> lookup.get_vocabulary(), lookup(["a", "b", "d"]).tolist()
    (['[UNK]', 'b', 'c', 'a'], [3, 1, 0])
    """

    _kind = str

    @answering
    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Sequence[str] | None = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
    ):
        super().__init__(
            vocabulary,
            idf_weights,
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=mask_token,
            oov_token=oov_token,
            invert=invert,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
        )

    def _other(self, term: str) -> int:
        return farm_hash(term.encode())


class IntegerLookup(Lookup):
    """Whole numbers as indices of a vocabulary, on the host, as Keras' layer of this name gives them.

    Shapes:
        inputs: (...) of whole numbers; outputs: (...) int32, or (..., tokens) float32; int64 with ``invert``.

    Arguments:
        max_tokens: the most indices, reserved ones included.
        num_oov_indices: places for numbers that are not in the vocabulary; of several the remainder decides.
        mask_token: the number for nothing.
        oov_token: what stands for other numbers in the vocabulary and with ``invert``.
        vocabulary: the numbers, where ``adapt`` is not to find them.
        idf_weights: their weights, for ``"tf_idf"``.
        invert: numbers of indices.
        output_mode: ``"int"``, ``"one_hot"``, ``"multi_hot"``, ``"count"`` or ``"tf_idf"``.
        pad_to_max_tokens: vectors as long as ``max_tokens`` says, whatever was found.

    Raises:
        RangeError: numbers out of range. StructureError: a vocabulary of something else than whole numbers.

    >>> import phlox as px
    >>> lookup = px.data.text.IntegerLookup(vocabulary=[12, 36, 1138])
    >>> lookup([[36, 12], [7, 1138]]).tolist()
    [[2, 1], [0, 3]]
    """

    _kind = int

    @answering
    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Sequence[int] | None = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
    ):
        super().__init__(
            vocabulary,
            idf_weights,
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=mask_token,
            oov_token=oov_token,
            invert=invert,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
        )

    def _other(self, term: int) -> int:
        return term


def _documents(data: Any) -> Iterable[Sequence[Any]]:
    """Each row of terms as a document; terms alone are documents of one, as Keras has it."""
    rows = data.tolist() if isinstance(data, np.ndarray) else data
    for row in rows:
        yield list(row) if isinstance(row, (list, tuple, np.ndarray)) else [row]
