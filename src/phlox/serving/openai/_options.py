"""How a text is to be written, as both addresses of texts say it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phlox.serving.language._asked import Asked, Constraint
from phlox.serving.language._model import LanguageModel
from phlox.serving.openai._fields import Fields, refused

MOST_CHOICES = 128
MOST_STOPS = 16
MOST_BEST = 20
_MOST_NEW = 1 << 20
_LAST_SEED = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is said of how tokens are chosen, and of the form of the answer.

    Arguments:
        stop: strings that end a text.
        n: texts for each prompt.
        stream: whether the answer comes in parts.
        usage: whether the last part of such an answer counts tokens.
        best: how many of the likeliest tokens are told; None for no log-probabilities.
        max_new: tokens at most; None for as many as there are places.
    """

    temperature: float
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    bias: Mapping[int, float]
    stop: tuple[str, ...]
    seed: int | None
    n: int
    stream: bool
    usage: bool
    best: int | None
    max_new: int | None

    def asked(
        self, prompt: list[int], max_new: int, choice: int, *, ends: tuple[int, ...], client: str, seconds: float,
        adapter: str | None = None, constraint: Constraint | None = None,
    ) -> Asked:  # fmt: skip
        """What an engine is asked for one of the texts; each draws otherwise, the first by the seed itself."""
        drawn = self.temperature > 0
        return Asked(
            prompt=tuple(prompt), max_new=max_new, temperature=self.temperature,
            top_k=self.top_k if drawn else None, top_p=self.top_p if drawn else None,
            min_p=self.min_p if drawn else None,
            repetition_penalty=self.repetition_penalty, presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty, bias=self.bias, stop=tuple((end,) for end in ends),
            seed=None if self.seed is None else min(self.seed + choice, _LAST_SEED), logprobs=self.best,
            adapter=adapter, constraint=constraint, client=client, deadline=time.monotonic() + seconds,
        )  # fmt: skip


def read_options(fields: Fields, vocabulary: int, *, best: int | None, max_new: int | None) -> Options:
    """The options of a request.

    Raises:
        InvalidRequestError: one of another form, out of its range, or not served.
    """
    stream = fields.flag("stream")
    fields.ignore("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
    fields.refuse("store", "no answer that is kept", "leave it out", False)
    fields.refuse("service_tier", "the one tier that there is", "leave it out", "auto", "default")
    top_p = fields.number("top_p", 0, 1)
    return Options(
        temperature=fields.number("temperature", 0, 2, 1.0),
        top_p=None if top_p == 1 else top_p,
        top_k=_top_k(fields),
        min_p=fields.number("min_p", 0, 1) or None,
        repetition_penalty=fields.number("repetition_penalty", 0.01, 100, 1.0),
        presence_penalty=fields.number("presence_penalty", -2, 2, 0.0),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, 0.0),
        bias=_bias(fields, vocabulary),
        stop=fields.strings("stop", MOST_STOPS),
        seed=fields.whole("seed", -_LAST_SEED - 1, _LAST_SEED),
        n=fields.whole("n", 1, MOST_CHOICES, 1),
        stream=stream,
        usage=_usage(fields, stream),
        best=best,
        max_new=max_new,
    )


def read_max_new(fields: Fields, *names: str, default: int | None = None) -> int | None:
    """Tokens at most, by whichever of some names says it."""
    found = [fields.whole(name, 1, _MOST_NEW) for name in names]
    return next((value for value in found if value is not None), default)


def _top_k(fields: Fields) -> int | None:
    """How many tokens are drawn from; 0 and -1 say all, as other servers have it."""
    found = fields.whole("top_k", -1, _MOST_NEW)
    return found if found is not None and found > 0 else None


def _usage(fields: Fields, stream: bool) -> bool:
    told = fields.inner("stream_options")
    if told is None:
        return False
    if not stream:
        raise refused("stream_options", "stream beside it", got="none", fix="send stream: true, or leave it out")
    found = told.flag("include_usage")
    told.ignore("include_obfuscation", "continuous_usage_stats")
    told.refuse_others()
    return found


def _bias(fields: Fields, vocabulary: int) -> dict[int, float]:
    told = fields.inner("logit_bias")
    found: dict[int, float] = {}
    for text in told.whole_content() if told is not None else ():
        if not text.isdecimal() or not text.isascii() or int(text[:20]) >= vocabulary:
            expected = f"tokens from 0 to {vocabulary - 1}"
            raise refused("logit_bias", expected, got=text, fix="name tokens by their numbers")
        assert told is not None
        found[int(text)] = told.number(text, -100, 100)
    return found


def room_for(language: LanguageModel, prompt: Sequence[int], options: Options, param: str, usual: int | None) -> int:
    """How many tokens one text may have.

    Arguments:
        param: the field that the prompt stands in.
        usual: as many as are written where nobody says it; None for as many as there is room for.

    Raises:
        InvalidRequestError: a prompt without a token, or there is not enough room.
    """
    room, wanted = language.longest - len(prompt), options.max_new
    if not prompt:
        raise refused(param, "a token at least", got="none", fix="send some text")
    if room < (wanted or 1):
        expected = f"at most {language.longest} tokens in all, as there is room for"
        got, fix = f"{len(prompt)} and {wanted or 1} new", "send a shorter text, or ask for fewer tokens"
        raise refused(param, expected, got=got, fix=fix, reason="context_length_exceeded")
    return min(room, room if usual is None else usual) if wanted is None else wanted
