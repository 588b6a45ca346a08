"""Prompts of unequal length as one array, padded on the right to one of a few lengths."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from phlox.core import DtypeError, RangeError, ShapeError, describe
from phlox.models.generation._settings import WHERE

_FIRST, _STEP = 16, 512


class Prompts(NamedTuple):
    """Tokens (batch, time) with what is no prompt on the right, and how many count, (batch,)."""

    tokens: np.ndarray
    lengths: np.ndarray


def prompts_of(tokens: Any, lengths: Any, mask: Any, vocabulary: int) -> Prompts:
    """Prompts from an array with lengths or a mask, or from lists of unequal length.

    Raises:
        ShapeError: tokens of another rank; lengths or a mask of another shape. DtypeError: no whole numbers.
        RangeError: an empty prompt, a length beyond the array, a hole in a mask, a token outside the vocabulary.
    """
    if lengths is not None and mask is not None:
        raise RangeError("lengths or a mask", got="both", fix="leave one of them out", where=WHERE)
    if isinstance(tokens, list | tuple) and tokens and not np.isscalar(tokens[0]) and mask is None and lengths is None:
        tokens, lengths = _rows(tokens)
    array = np.asarray(tokens)
    if array.ndim != 2 or 0 in array.shape:
        fix = "add a batch axis: tokens[None]" if array.ndim == 1 else "pass rows of ids"
        raise ShapeError("tokens (batch, time), at least one of each", got=describe(array), fix=fix, where=WHERE)
    if array.dtype.kind not in "iu":
        fix = "pass ids of tokens; a tokenizer makes them"
        raise DtypeError("whole numbers", got=describe(array), fix=fix, where=WHERE)
    found = Prompts(array.astype(np.int32), _lengths(lengths, array.shape))
    found = found if mask is None else _moved(array, mask)
    counts = np.arange(array.shape[1])[None] < found.lengths[:, None]
    wrong = found.tokens[counts & ((found.tokens < 0) | (found.tokens >= vocabulary))]
    if wrong.size:
        fix = "take the model's own tokenizer"
        raise RangeError(f"tokens from 0 to {vocabulary - 1}", got=str(wrong[0]), fix=fix, where=WHERE)
    return Prompts(np.where(counts, found.tokens, 0), found.lengths)


def _rows(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    arrays = [np.asarray(row) for row in rows]
    lengths = np.array([array.size for array in arrays], np.int32)
    if any(array.ndim != 1 for array in arrays) or 0 in lengths:
        fix = "pass a list of ids for each prompt, with at least one: such as that of the beginning of a text"
        raise RangeError("prompts of at least one token", got="an empty one or a nested one", fix=fix, where=WHERE)
    out = np.zeros((len(arrays), lengths.max()), np.result_type(*arrays))
    for row, array in zip(out, arrays, strict=True):
        row[: array.size] = array
    return out, lengths


def _lengths(lengths: Any, shape: tuple[int, ...]) -> np.ndarray:
    if lengths is None:
        return np.full(shape[0], shape[1], np.int32)
    found = np.asarray(lengths)
    if found.shape != shape[:1] or found.dtype.kind not in "iu":
        fix = "pass how many tokens of each prompt count"
        raise ShapeError(f"lengths ({shape[0]},), whole numbers", got=describe(found), fix=fix, where=WHERE)
    if found.min() < 1 or found.max() > shape[1]:
        wrong = found[(found < 1) | (found > shape[1])][0]
        fix = "a prompt has at least one token: such as that of the beginning of a text"
        raise RangeError(f"lengths from 1 to {shape[1]}", got=str(wrong), fix=fix, where=WHERE)
    return found.astype(np.int32)


def _moved(array: np.ndarray, mask: Any) -> Prompts:
    """Prompts that are padded on either side, moved to the left."""
    counts = np.asarray(mask).astype(bool)
    if counts.shape != array.shape:
        fix = "pass True where a token counts"
        raise ShapeError(f"a mask {array.shape}", got=describe(counts), fix=fix, where=WHERE)
    lengths, first = counts.sum(1).astype(np.int32), counts.argmax(1)
    at = first[:, None] + np.arange(array.shape[1])[None]
    moved = np.take_along_axis(counts, at % array.shape[1], 1)
    if lengths.min() < 1 or not (moved == (np.arange(array.shape[1])[None] < lengths[:, None])).all():
        fix = "pad on one side, and give each prompt at least one token"
        raise RangeError("masks without holes", got="a hole, or an empty prompt", fix=fix, where=WHERE)
    return Prompts(np.take_along_axis(array, at % array.shape[1], 1).astype(np.int32), lengths)


def bucket(size: int, most: int | None = None) -> int:
    """The next of a few sizes: 16, 32, … 512, then every 512; at most ``most``, so that few programs are compiled."""
    found = _FIRST
    while found < size:
        found += found if found < _STEP else _STEP
    return found if most is None else max(size, min(found, most))
