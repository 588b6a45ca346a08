"""Texts, and numbers of tokens, in the forms that users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phlox.core import DtypeError, RangeError, ShapeError, StructureError, describe


def texts_of(texts: Any, pairs: Any, split: bool, where: str) -> list[Any]:
    """What the library encodes: texts, or pairs of texts.

    Raises:
        StructureError: what is no text. ShapeError: not as many second texts as first ones, or no text.
    """
    first = _listed(texts, split, where)
    if not first:
        fix = "leave empty batches out"
        raise ShapeError("at least one text", got="none", fix=fix, where=where)
    if pairs is None:
        return first
    second = _listed(pairs, split, where)
    if len(first) != len(second):
        got, fix = f"{len(first)} and {len(second)}", "give each text its second one"
        raise ShapeError("as many second texts as texts", got=got, fix=fix, where=where)
    return list(zip(first, second, strict=True))


def _listed(texts: Any, split: bool, where: str) -> list[Any]:
    if isinstance(texts, str):
        texts = [texts.split()] if split else [texts]
    elif split and len(texts) and all(isinstance(word, str) for word in texts):
        texts = [texts]
    found = list(texts) if isinstance(texts, (Sequence, np.ndarray)) and not isinstance(texts, bytes) else [texts]
    for number, text in enumerate(found):
        good = isinstance(text, (list, tuple)) and all(isinstance(w, str) for w in text) if split else False
        if not good and (split or not isinstance(text, str)):
            what, got = ("lists of words" if split else "texts"), f"{describe(text)} (text {number})"
            fix = "decode bytes; give split=True for lists of words, and pairs= for second texts"
            raise StructureError(what, got=got, fix=fix, where=where)
    return [list(text) for text in found] if split else [str(text) for text in found]


def is_batch(ids: Any) -> bool:
    """Whether numbers are those of several texts."""
    if isinstance(ids, (list, tuple)):
        return any(isinstance(row, (list, tuple)) or np.ndim(row) == 1 for row in ids)
    return np.ndim(ids) == 2


def numbers(ids: Any) -> list[int]:
    """Numbers of tokens as a list.

    Raises:
        DtypeError: no whole numbers. ShapeError: several axes. RangeError: a number below 0.
    """
    found = np.asarray(ids)
    if found.size and found.dtype.kind not in "iu":
        fix = "give numbers of tokens, such as logits.argmax(-1)"
        raise DtypeError("whole numbers", got=describe(found), fix=fix, where="Tokenizer.decode")
    if found.ndim > 1:
        fix = "give (time,) or (batch, time)"
        raise ShapeError("numbers of one text", got=describe(found), fix=fix, where="Tokenizer.decode")
    if found.size and found.min() < 0:
        fix = "targets hold -100 where they do not count: leave these out"
        raise RangeError("numbers from 0", got=str(found.min()), fix=fix, where="Tokenizer.decode")
    return found.reshape(-1).tolist()


def cleaned(text: str) -> str:
    """Without the spaces that WordPiece leaves before punctuation and the ends of English words."""
    for wide in (" .", " ?", " !", " ,"):
        text = text.replace(wide, wide[1:])
    text = text.replace(" ' ", "'")
    for wide in (" n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(wide, wide[1:])
    return text
