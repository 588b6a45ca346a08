"""Batches of texts for ``px.DataLoader``: put into tokens and padded to one of few lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from phlox.core import RangeError, StructureError, describe
from phlox.data._batches import batch
from phlox.data.text._padding import Side, time_of
from phlox.data.text._settings import check_side
from phlox.data.text._targets import next_tokens
from phlox.data.text._tokenizer import Tokenizer
from phlox.data.text._tokens import Tokens, mask_of, rows_of


class Collate:
    """Makes batches of observations with a text in them: ``px.DataLoader(data, collate=Collate(tok))``.

    The text of each observation, or the numbers of its tokens, become ``Tokens`` in its place; everything else is
    stacked as ``px.data.batch`` does. A batch is padded to the first of ``buckets`` that holds it, so that a step is
    compiled once for each of these and no oftener.

    Arguments:
        tokenizer: what makes tokens of texts; None for observations that are numbers of tokens already.
        text: the key or the place of the text, where an observation is a dict or a tuple; otherwise it is the text.
        pair: the key or the place of the second text; it is taken out.
        buckets: the lengths that batches are padded to, in increasing order, or one whose multiples these are. Texts
            longer than the last are cut.
        targets: ``"next"`` adds what a language model is to say, behind the batch: ``(batch, targets)`` with targets
            as of ``next_tokens``.
        side: where texts are filled up and cut; by default as the tokenizer says.
        offsets: tell also where in its text each token is.
        pad_id: the number to fill up with; by default the tokenizer's, without one 0.

    Raises:
        RangeError: buckets that are none. StructureError: an observation without such a part, and what a tokenizer
            refuses.

    >>> import numpy as np, phlox as px
    >>> collate = px.data.text.Collate(buckets=(4, 8))
    >>> tokens, label = collate([([5, 6, 7], 0), ([8], 1)])
    >>> tokens.tokens.tolist(), label.tolist()
    ([[5, 6, 7, 0], [8, 0, 0, 0]], [0, 1])
    """

    tokenizer: Tokenizer | None
    text: str | int | None
    pair: str | int | None
    buckets: int | Sequence[int]
    offsets: bool
    pad_id: int | None

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        *,
        text: str | int | None = None,
        pair: str | int | None = None,
        buckets: int | Sequence[int] = 64,
        targets: Literal["next"] | None = None,
        side: Side | None = None,
        offsets: bool = False,
        pad_id: int | None = None,
    ):
        where = "Collate"
        if targets not in (None, "next"):
            fix = 'give targets="next", or mask tokens in the step: Tokenizer.token_mask'
            raise RangeError('targets of "next" or None', got=repr(targets), fix=fix, where=where)
        if pair is not None and tokenizer is None:
            fix = "give the tokenizer: it knows what stands between two texts"
            raise StructureError("a tokenizer for pairs", got="None", fix=fix, where=where)
        for given in () if side is None else (side,):
            check_side(given, "side", where)
        time_of([], buckets, None, where)
        self.tokenizer, self.text, self.pair, self.buckets = tokenizer, text, pair, buckets
        self.targets, self.offsets, self.pad_id = targets, offsets, pad_id
        self.side: Side | None = side

    def __call__(self, observations: Sequence[Any]) -> Any:
        """A batch of observations."""
        name = self._name(observations[0])
        if name is None:
            found = self._tokens(observations, None)
            return self._with_targets(found, found)
        texts = [self._part(observation, name) for observation in observations]
        pairs = None if self.pair is None else [self._part(observation, self.pair) for observation in observations]
        tokens = self._tokens(texts, pairs)
        rest = batch([self._rest(observation, name) for observation in observations])
        if isinstance(rest, Mapping):
            return self._with_targets({**rest, name: tokens}, tokens)
        place = name - (self.pair is not None and _place(self.pair, observations[0]) < name)
        return self._with_targets((*rest[:place], tokens, *rest[place:]), tokens)

    def _with_targets(self, whole: Any, tokens: Tokens) -> Any:
        if self.targets is None:
            return whole
        targets = next_tokens(tokens.tokens, mask=tokens.mask)
        return (*whole, targets) if isinstance(whole, tuple) else (whole, targets)

    def _name(self, observation: Any) -> Any:
        """Where the text of an observation is; None where it is the text."""
        if isinstance(observation, Mapping):
            return "text" if self.text is None else self.text
        return _place(self.text or 0, observation) if isinstance(observation, tuple) else None

    def _part(self, observation: Any, name: Any) -> Any:
        try:
            return observation[name]
        except (KeyError, IndexError, TypeError):
            got = str(list(observation)) if isinstance(observation, Mapping) else describe(observation)
            fix = "give text=, and pair= for second texts: a key of a dict or a place in a tuple"
            raise StructureError(f"a part {name!r} of each observation", got=got, fix=fix, where="Collate") from None

    def _rest(self, observation: Any, name: Any) -> Any:
        taken = (name,) if self.pair is None else (name, self.pair)
        if isinstance(observation, Mapping):
            return {key: part for key, part in observation.items() if key not in taken}
        places = {_place(part, observation) for part in taken}
        return tuple(part for place, part in enumerate(observation) if place not in places)

    def _tokens(self, texts: Sequence[Any], pairs: Any) -> Tokens:
        longest = None if isinstance(self.buckets, (int, np.integer)) else int(self.buckets[-1])
        if self.tokenizer is not None and (pairs is not None or all(isinstance(text, str) for text in texts)):
            found = self.tokenizer(
                texts, pairs, length=self._length(longest), side=self.side, pad=self.buckets, offsets=self.offsets
            )
            if self.pad_id is None:
                return found
            return dataclasses.replace(found, tokens=np.where(found.mask, found.tokens, np.int32(self.pad_id)))
        return self._padded(texts, longest)

    def _length(self, longest: int | None) -> int | None:
        limits = [n for n in (longest, self.tokenizer.max_length if self.tokenizer else None) if n is not None]
        return min(limits, default=None)

    def _padded(self, rows: Sequence[Any], longest: int | None) -> Tokens:
        """Sequences of numbers that a tokenizer has made before."""
        side: Side = self.side or (self.tokenizer.padding_side if self.tokenizer else "right")
        kept = self.side or (self.tokenizer.truncation_side if self.tokenizer else "right")
        part = slice(None, longest) if kept == "right" else slice(-(longest or 0), None)
        cut = [_numbers(row)[part] for row in rows]
        lengths = [len(row) for row in cut]
        time = time_of(lengths, self.buckets, None, "Collate")
        fill = self.pad_id if self.pad_id is not None else (self.tokenizer and self.tokenizer.pad_id) or 0
        tokens = rows_of(cut, time, side, fill, np.int32)
        return Tokens(tokens, mask_of(lengths, time, side), np.zeros_like(tokens), np.asarray(lengths, np.int32))


def _place(name: Any, observation: Any) -> Any:
    """The place of a part of a tuple, counted from its front."""
    return name + len(observation) if isinstance(name, int) and name < 0 else name


def _numbers(row: Any) -> np.ndarray:
    found = np.asarray(row)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        fix = "give texts alone, with a tokenizer, or numbers of tokens alone"
        raise StructureError("numbers of tokens, or texts", got=describe(row), fix=fix, where="Collate")
    return found
