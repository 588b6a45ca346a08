"""What a tokenizer gives: a batch of sequences of one length, and what is known of each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tokens:
    """Sequences of tokens of one length, as arrays; a pytree, so that loaders and ``px.jit`` take it as it is.

    Shapes:
        tokens, types: (batch, time) int32; mask: (batch, time) booleans; lengths: (batch,) int32;
        offsets: (batch, time, 2) int32; words, parts: (batch, time) int32; assistant: (batch, time) booleans.

    Arguments:
        tokens: the numbers, padded with the pad token.
        mask: true for tokens, false for padding.
        types: which text of a pair a token is of, as the model is told; 0 where it is padding.
        lengths: how many tokens each sequence has, special ones included.
        offsets: where each token begins and ends in its text, in characters; (0, 0) for special ones and padding.
        words: which word of its text each token is a part of; -1 for special ones and padding.
        parts: which text of a pair each token is of, 0 or 1; -1 for special ones and padding.
        assistant: which tokens of a chat the assistant wrote.

    ``offsets``, ``words``, ``parts`` and ``assistant`` are None where they were not asked for.

    >>> import jax, numpy as np, phlox as px
    >>> one = np.ones((1, 2), "int32")
    >>> len(jax.tree.leaves(px.data.text.Tokens(one, one > 0, 0 * one, one[:, 0])))
    4
    """

    tokens: Any
    mask: Any
    types: Any
    lengths: Any
    offsets: Any = None
    words: Any = None
    parts: Any = None
    assistant: Any = None


def rows_of(sequences: list[Any], time: int, side: str, value: Any, dtype: Any, tail: tuple[int, ...] = ()) -> Any:
    """Sequences of at most ``time`` in one array (batch, time, *tail), filled up on one side."""
    rows = np.full((len(sequences), time, *tail), value, dtype)
    for row, sequence in zip(rows, sequences, strict=True):
        place = slice(time - len(sequence), time) if side == "left" else slice(len(sequence))
        row[place] = np.asarray(sequence, dtype).reshape(-1, *tail)
    return rows


def mask_of(lengths: Any, time: int, side: str) -> Any:
    """(batch, time) booleans, true where the sequences are."""
    place, lengths = np.arange(time), np.asarray(lengths)[:, None]
    return place >= time - lengths if side == "left" else place < lengths


def tokens_within(batch: Tokens, spans: list[list[tuple[int, int]]]) -> Any:
    """(batch, time) booleans, true for tokens that have a character within one of their text's spans."""
    inside = np.zeros(batch.mask.shape, bool)
    start, end = batch.offsets[..., 0], batch.offsets[..., 1]
    for row, each in enumerate(spans):
        for first, last in each:
            inside[row] |= (end[row] > first) & (start[row] < last)
    return inside & batch.mask
