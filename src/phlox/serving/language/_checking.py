"""Whether what is asked can be written: numbers in their ranges, tokens of the vocabulary, room for the whole text."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

from phlox.core import OptionError, RangeError
from phlox.serving.language._asked import Asked
from phlox.serving.language._sampling import BEST

_WHERE = "LanguageEngine.submit"
_RANGES = {
    "temperature": (0, math.inf), "top_p": (0, 1), "min_p": (0, 1), "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100), "repetition_penalty": (1e-3, 1e3),
}  # fmt: skip
_OPTIONAL = ("top_p", "min_p")


def check_asked(asked: Asked, vocabulary: int, room: int, adapters: Collection[str]) -> None:
    """Refuse what can't be written.

    Raises:
        RangeError: a number out of its range, no prompt, a token that there is not, a text that is longer than a slot.
        OptionError: an adapter that is not there.
    """
    _whole("max_new", asked.max_new, 1)
    _tokens("a prompt", asked.prompt, vocabulary)
    if len(asked.prompt) + asked.max_new > room:
        fix = f"pass max_new={max(room - len(asked.prompt), 0)} at most, or a shorter prompt"
        got = f"{len(asked.prompt)} and {asked.max_new} new"
        raise RangeError(f"texts of at most {room} tokens", got=got, fix=fix, where=_WHERE)
    for name, (low, high) in _RANGES.items():
        value = getattr(asked, name)
        if not (value is None and name in _OPTIONAL):
            _within(name, value, low, high)
    if asked.top_k is not None:
        _whole("top_k", asked.top_k, 1)
    if asked.logprobs is not None:
        _whole("logprobs", asked.logprobs, 0, BEST)
    if asked.seed is not None:
        _whole("seed", asked.seed, -(1 << 63), (1 << 63) - 1)
    for value in asked.bias.values():
        _within("a bias", value, -1e9, 1e9)
    if asked.bias:
        _tokens("a bias", tuple(asked.bias), vocabulary)
    for stop in asked.stop:
        _tokens("a stop", stop, vocabulary)
    if asked.adapter is not None and asked.adapter not in adapters:
        fix = "choose one of them, or leave it out for the model itself"
        expected = f"an adapter among {', '.join(sorted(adapters)) or 'none'}"
        raise OptionError(expected, got=repr(asked.adapter)[:60], fix=fix, where=_WHERE)


def _tokens(what: str, tokens: Any, vocabulary: int) -> None:
    if not tokens:
        raise RangeError(f"{what} of at least one token", got="none", fix="pass ids of tokens", where=_WHERE)
    for token in tokens:
        if isinstance(token, bool) or not isinstance(token, Integral) or not 0 <= int(token) < vocabulary:
            fix, got = "take the model's own tokenizer", repr(token)[:60]
            raise RangeError(f"{what} of tokens from 0 to {vocabulary - 1}", got=got, fix=fix, where=_WHERE)


def _whole(name: str, value: Any, low: int, high: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
        raise RangeError(f"{name} as a whole number {bounds}", got=repr(value)[:60], fix="choose another", where=_WHERE)


def _within(name: str, value: Any, low: float, high: float) -> None:
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not low <= number <= high or not math.isfinite(number):
        bounds = f"of at least {low}" if high == math.inf else f"from {low:g} to {high:g}"
        raise RangeError(f"{name} as a number {bounds}", got=repr(value)[:60], fix="choose another", where=_WHERE)
