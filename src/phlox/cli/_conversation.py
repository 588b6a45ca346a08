"""What was said, as the tokens that a model goes on from: by the tokenizer's template, or as one plain text."""

from __future__ import annotations

from typing import Any, NamedTuple

from phlox.core import RangeError
from phlox.data.text import end_of_turn, has_template

WHERE = "phlox chat"


class Turn(NamedTuple):
    """A line, and what was answered."""

    line: str
    answer: str


class Prompt(NamedTuple):
    """Tokens to go on from, how many may follow, and how many turns had to be forgotten for them."""

    tokens: list[int]
    room: int
    forgotten: int


class Conversation:
    """Turns that a model goes on from; the oldest are forgotten where it has no places left.

    Arguments:
        tokenizer: with a chat template, or without one: then an answer goes on in the text of its line.
        longest: tokens that the model has places for; None for any number.
        system: what a chat begins with.

    Raises:
        RangeError: a system message without a template that could say it.
        ChatTemplateError: a template that refuses these messages.
    """

    def __init__(self, tokenizer: Any, longest: int | None, system: str | None = None):
        self.tokenizer, self.longest = tokenizer, longest
        self.turns: list[Turn] = []
        self.by_template = has_template(tokenizer)
        if system is not None and not self.by_template:
            fix = "leave --system out, or begin with it in the first line"
            raise RangeError("a chat template beside --system", got="none in the folder", fix=fix, where=WHERE)
        self.before = [] if system is None else [{"role": "system", "content": system}]
        self.end = end_of_turn(tokenizer, self.before) if self.by_template else []

    def prompt(self, line: str, most: int) -> Prompt:
        """What a model reads before it answers a line with at most ``most`` tokens.

        At least half of the places stay for an answer that may be as long; a single line may take them all but one.

        Raises:
            RangeError: a line that there are not enough places for.
        """
        kept, tokens = list(self.turns), self._tokens(self.turns, line)
        if self.longest is None:
            return Prompt(tokens, most, 0)
        while kept and len(tokens) > self.longest - min(most, self.longest // 2):
            kept.pop(0)
            tokens = self._tokens(kept, line)
        room, forgotten = min(most, self.longest - len(tokens)), len(self.turns) - len(kept)
        if room < 1:
            expected, fix = f"at most {self.longest - 1} tokens, as the model has places", "write a shorter line"
            raise RangeError(expected, got=str(len(tokens)), fix=fix, where=WHERE)
        self.turns = kept
        return Prompt(tokens, room, forgotten)

    def add(self, line: str, answer: str) -> None:
        """Remember a turn."""
        self.turns.append(Turn(line, answer))

    def reset(self) -> None:
        """Forget all turns."""
        self.turns.clear()

    def _tokens(self, turns: list[Turn], line: str) -> list[int]:
        if not self.by_template:
            return self._plain("\n".join([*(turn.line + turn.answer for turn in turns), line]))
        said = [(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
        chat = [*self.before, *({"role": role, "content": text} for role, text in [*said, ("user", line)])]
        return self.tokenizer.encode(self.tokenizer.chat(chat), special=False)

    def _plain(self, text: str) -> list[int]:
        """Tokens of a text that is to go on: where the tokenizer says that it is over, that is left out."""
        tokens = self.tokenizer.encode(text)
        over = self.tokenizer.eos_id is not None and len(tokens) > 1 and tokens[-1] == self.tokenizer.eos_id
        return tokens[:-1] if over else tokens
