"""A text while it is written: tokens in, pieces of text out, up to its end or the string that ends it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from phlox.data.text import TextStream
from phlox.serving._errors import DeadlineError
from phlox.serving.language._asked import Asked, Piece
from phlox.serving.language._model import LanguageModel
from phlox.serving.openai._stopping import StopStrings


@dataclass(frozen=True)
class Token:
    """A token that was written, and where its text begins.

    Arguments:
        piece: what the engine said of it.
        start: the character of the text.
    """

    piece: Piece
    start: int


@dataclass(frozen=True)
class Said:
    """More of a text.

    Arguments:
        text: what comes next.
        tokens: those that it is made of, where their log-probabilities are asked for.
        finish: why the text is over; None while it is not.
        stop: the string or the token that ended it.
    """

    text: str = ""
    tokens: tuple[Token, ...] = ()
    finish: Literal["stop", "length"] | None = None
    stop: str | int | None = None


class Writing:
    """One text while it is written; to be read once.

    Arguments:
        language: what writes it.
        asked: what it is asked; this asks.
        stops: strings that end the text, and are no part of it.
        before: tokens that the text goes on from, where its first blank counts.

    Raises:
        ServingError: the engine does not take it.
    """

    count: int
    """How many tokens were written, those that ended it included."""

    def __init__(self, language: LanguageModel, asked: Asked, stops: Sequence[str], before: Sequence[int] = ()):
        self.count = 0
        self._asked, self._ends = asked, {end[0] for end in asked.stop}
        self._stream, self._stops = TextStream(language.tokenizer, before), StopStrings(stops)
        self._waiting = deque[Token]()
        self._fed = self._shown = 0
        self._running = language.engine.submit(asked)

    def cancel(self) -> None:
        """Write no more of it."""
        self._running.cancel()

    async def __aiter__(self) -> AsyncGenerator[Said, None]:
        try:
            async for piece in self._running:
                said = self.take(piece)
                if said.text or said.tokens or said.finish is not None:
                    yield said
                if said.finish is not None:
                    return
        finally:
            self.cancel()

    def take(self, piece: Piece) -> Said:
        """What one more piece of the engine's says.

        Raises:
            DeadlineError: the time is over.
        """
        if piece.finish == "cancelled":
            fix = "ask for fewer tokens, or for more time with X-Request-Timeout"
            got = f"{self.count} tokens by then"
            raise DeadlineError("a text that is written in its time", got=got, fix=fix, where="engine")
        by_token = piece.finish == "stop" and piece.token in self._ends
        text = ""
        if piece.token >= 0:
            self.count += 1
            if not by_token:
                self._waiting.append(Token(piece, self._fed))
                text = self._stream.add(piece.token)
        if piece.finish is not None:
            text += self._stream.rest()
        self._fed += len(text)
        out = self._stops.add(text)
        found = self._stops.found
        if piece.finish is not None and found is None:
            out += self._stops.rest()
        self._shown += len(out)
        finish = "stop" if found is not None else piece.finish
        tokens = self._told(found is not None, piece.finish is not None)
        return Said(out, tokens, finish, found if found is not None else piece.token if by_token else None)

    def _told(self, cut: bool, over: bool) -> tuple[Token, ...]:
        """The tokens whose text is out; those of a string that ends the text are none of it."""
        found = []
        while self._waiting:
            end = self._waiting[1].start if len(self._waiting) > 1 else self._fed
            if cut and self._waiting[0].start >= self._shown:
                self._waiting.clear()
            elif cut or over or end <= self._shown:
                found.append(self._waiting.popleft())
            else:
                break
        return tuple(found) if self._asked.logprobs is not None else ()


async def merged(writings: Sequence[Writing]) -> AsyncIterator[tuple[int, Said]]:
    """What several texts say, as it comes, each with the number of its text."""
    if len(writings) == 1:
        async with aclosing(writings[0].__aiter__()) as only:
            async for said in only:
                yield 0, said
        return
    queue = asyncio.Queue[tuple[int, Said] | BaseException | None]()

    async def pump(number: int, writing: Writing) -> None:
        try:
            async for said in writing:
                queue.put_nowait((number, said))
            queue.put_nowait(None)
        except Exception as error:
            queue.put_nowait(error)

    tasks = [asyncio.ensure_future(pump(*each)) for each in enumerate(writings)]
    try:
        left = len(tasks)
        while left:
            found = await queue.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for writing, task in zip(writings, tasks, strict=True):
            task.cancel()
            writing.cancel()
