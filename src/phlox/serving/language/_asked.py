"""What is asked of a language model, and the pieces that are answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

Finish = Literal["stop", "length", "cancelled"]


class Constraint(Protocol):
    """What may come next in one text, such as a grammar says it; it belongs to that text alone."""

    @property
    def done(self) -> bool:
        """Whether the text is complete and ends here."""
        ...

    def mask(self) -> np.ndarray:
        """Which tokens may come next: bool, (vocabulary,)."""
        ...

    def take(self, token: int) -> None:
        """Take note of the token that came."""
        ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    r"""A text to be written on from a prompt.

    Of scores s the penalties are taken first, $s_t - p - f n_t$ with $n_t$ how often the new text has the token t, then
    the bias is added, then what a temperature and cuts make of them is as ``px.generate`` does it.

    Arguments:
        prompt: tokens, at least one.
        max_new: tokens to write at most.
        temperature: by which tokens are drawn; 0 takes the likeliest.
        top_k, top_p, min_p: which of the likeliest are drawn from.
        repetition_penalty: by which scores of tokens of the prompt and the text are divided, or multiplied below 0.
        presence_penalty, frequency_penalty: what a token of the new text loses once, and for each time.
        bias: what is added to scores of tokens.
        stop: sequences of tokens that end the text, beside the ends of the model's config; they are part of it.
        seed: of draws; equal seeds draw alike, whatever else is written. None takes another one each time.
        logprobs: how many of the likeliest tokens are told beside each chosen one; None tells no log-probability.
        adapter: by name; None asks the model itself.
        constraint: what may come next.
        client: who asks; those who wait take turns.
        deadline: seconds, by ``time.monotonic``, at which the text ends unfinished.
    """

    prompt: tuple[int, ...]
    max_new: int
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[tuple[int, ...], ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    adapter: str | None = None
    constraint: Constraint | None = None
    client: str = ""
    deadline: float | None = None


@dataclass(frozen=True)
class Piece:
    """One token of a text.

    Arguments:
        token: the token; -1 where a text ended without one more.
        logprob: its log-probability by the model, where asked for.
        best: the likeliest tokens and their log-probabilities, as many as asked for.
        finish: how the text ended, in its last piece.
    """

    token: int
    logprob: float | None = None
    best: tuple[tuple[int, float], ...] = ()
    finish: Finish | None = None
