"""How tokens are chosen, and where a text ends: numbers that are checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from phlox.core import RangeError

WHERE = "px.generate"


@dataclass(frozen=True)
class Settings:
    """How one token is chosen; a constant of the compiled step."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    adjust: Callable[..., Any] | None = None
    stops: tuple[tuple[int, ...], ...] = ()
    pad: int = 0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, and nothing is drawn."""
        return self.temperature == 0

    @property
    def window(self) -> int:
        """How many of the last tokens tell whether a text has ended."""
        return max((len(stop) for stop in self.stops), default=1)


def checked(settings: Settings) -> Settings:
    """The settings.

    Raises:
        RangeError: a number out of its range.
    """
    _within("temperature", settings.temperature, 0, math.inf)
    _within("repetition_penalty", settings.repetition_penalty, 0, math.inf, above=True)
    for name in ("top_p", "min_p"):
        if getattr(settings, name) is not None:
            _within(name, getattr(settings, name), 0, 1)
    if settings.top_k is not None:
        check_count("top_k", settings.top_k)
    cuts = [name for name in ("top_k", "top_p", "min_p") if getattr(settings, name) is not None]
    if cuts and settings.greedy:
        fix = "pass temperature=1.0, or what you like"
        raise RangeError(f"a temperature above 0 beside {cuts[0]}", got="0", fix=fix, where=WHERE)
    if settings.adjust is not None and not callable(settings.adjust):
        fix = "pass a function (scores, tokens, lengths) → scores"
        raise RangeError("adjust as a function", got=repr(settings.adjust)[:100], fix=fix, where=WHERE)
    return settings


def check_ranking(length_penalty: Any, early_stopping: Any) -> None:
    """How texts of a beam search are compared, and when it ends.

    Raises:
        RangeError: no number, or neither yes nor no.
    """
    _within("length_penalty", length_penalty, -math.inf, math.inf)
    if not isinstance(early_stopping, bool):
        got, fix = repr(early_stopping)[:60], "choose one; False searches on while a better text may be found"
        raise RangeError("early_stopping as True or False", got=got, fix=fix, where=WHERE)


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least ``least``.

    Raises:
        RangeError: another one.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        fix = f"choose {least} or more"
        raise RangeError(f"{name} as a whole number of at least {least}", got=repr(value)[:60], fix=fix, where=WHERE)
    return int(value)


def stops_of(stop: Any, config: Any) -> tuple[tuple[int, ...], ...]:
    """The ends of texts: those that are given, else the tokens that a model's config calls so.

    Raises:
        RangeError: no token and no sequence of tokens.
    """
    given = getattr(config, "eos_token_id", None) if stop is None else stop
    if given is None:
        return ()
    ends = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return tuple(_end(end) for end in ends)


def _end(end: Any) -> tuple[int, ...]:
    tokens: Any = (end,) if isinstance(end, Integral) and not isinstance(end, bool) else end
    try:
        found = tuple(int(token) for token in tokens if not isinstance(token, str))
    except (TypeError, ValueError):
        found = ()
    if not found or isinstance(tokens, str):
        fix = "pass ids: stop=[2], or sequences of them: stop=[[13, 13]]; a tokenizer makes them of text"
        raise RangeError("stop as tokens, or sequences of tokens", got=repr(end)[:60], fix=fix, where=WHERE)
    return found


def _within(name: str, value: Any, low: float, high: float, *, above: bool = False) -> None:
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not low <= number <= high or not math.isfinite(number) or (above and number == low):
        bounds = (
            "that is finite"
            if low == -math.inf
            else f"above {low}"
            if above
            else f"of at least {low}"
            if high == math.inf
            else f"from {low} to {high}"
        )
        raise RangeError(f"{name} as a number {bounds}", got=repr(value)[:60], fix="choose another", where=WHERE)
