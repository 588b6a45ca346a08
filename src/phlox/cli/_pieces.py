"""The text of tokens while they come: what may still be the half of a character, or an end, waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Ends = Sequence[Sequence[int]]
_UNFINISHED = "\ufffd"  # what bytes that are no whole character are decoded to


class Pieces:
    """An answer, token by token, as pieces of text that are never taken back.

    Arguments:
        tokenizer: what decodes it.
        ends: tokens that end an answer and are no part of its text.
    """

    def __init__(self, tokenizer: Any, ends: Ends):
        self.tokenizer = tokenizer
        self.ends = [list(end) for end in ends]
        self.tokens: list[int] = []
        self.shown = ""

    def add(self, token: int) -> str:
        """What can be shown now that there is one more token."""
        self.tokens.append(token)
        text = self._text(max((n for end in self.ends for n in range(1, len(end) + 1) if self._ends_with(end[:n])),
                              default=0)).rstrip(_UNFINISHED)  # fmt: skip
        return self._show(text) if text.startswith(self.shown) else ""

    def rest(self) -> str:
        """What is left to be shown of an answer that is over."""
        return self._show(self.text)

    @property
    def text(self) -> str:
        """All of it, without the end."""
        return self._text(max((len(end) for end in self.ends if self._ends_with(end)), default=0))

    def _show(self, text: str) -> str:
        pairs = enumerate(zip(self.shown, text, strict=False))
        known = next((n for n, (old, new) in pairs if old != new), min(len(self.shown), len(text)))
        self.shown = text
        return text[known:]

    def _text(self, held: int) -> str:
        """The text without the last tokens."""
        return self.tokenizer.decode(self.tokens[: len(self.tokens) - held])

    def _ends_with(self, tokens: list[int]) -> bool:
        return self.tokens[-len(tokens) :] == tokens
