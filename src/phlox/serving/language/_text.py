"""A text while it waits and is written."""

from __future__ import annotations

from typing import Any

from phlox.serving.language._asked import Asked, Finish


class Text:
    """What is known of a text: its tokens, and how many of them a slot has.

    Arguments:
        asked: what was asked.
        ends: sequences of tokens that end it.
        owner: whom its tokens are for.
    """

    __slots__ = ("asked", "began", "ends", "fed_at", "filled", "finish", "owner", "slot", "tokens")

    def __init__(self, asked: Asked, ends: tuple[tuple[int, ...], ...] = (), owner: Any = None):
        self.asked, self.ends, self.owner = asked, ends, owner
        self.tokens: list[int] = list(asked.prompt)
        self.slot: int | None = None
        self.filled = 0
        self.finish: Finish | None = None
        self.began = self.fed_at = -1
        """When it got its slot, by a clock, and in which round it was last computed."""

    @property
    def written(self) -> int:
        """New tokens."""
        return len(self.tokens) - len(self.asked.prompt)

    @property
    def behind(self) -> int:
        """Tokens that its slot has not seen; one of them is what the next follows from."""
        return len(self.tokens) - self.filled

    def add(self, token: int, *, complete: bool = False) -> Finish | None:
        """Add a token, and tell how the text ends with it, if it does."""
        self.tokens.append(token)
        new = len(self.asked.prompt)
        if complete or any(self.written >= len(end) and self._ends_with(end) for end in self.ends):
            return "stop"
        return "length" if len(self.tokens) - new >= self.asked.max_new else None

    def _ends_with(self, end: tuple[int, ...]) -> bool:
        return tuple(self.tokens[len(self.tokens) - len(end) :]) == end
