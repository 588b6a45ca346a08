"""Answers: texts begun, followed and counted; whole, or in parts as server-sent events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from phlox.serving.http._answers import Answer, Streamed, answer_arrays, json_of_arrays
from phlox.serving.http._asked import Asked
from phlox.serving.http._health import phlox_version
from phlox.serving.language._asked import Asked as Text
from phlox.serving.openai._faults import fault
from phlox.serving.openai._finding import Entry
from phlox.serving.openai._writing import Said, Token, Writing, merged

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Order:
    """What is to be written for one request.

    Arguments:
        entry: the model.
        texts: what is asked for each choice.
        prompts: tokens of each different prompt, for the count.
        stops: strings that end the texts.
        goes_on: whether a text is read on from its prompt, blanks included.
        usage: whether an answer in parts counts tokens in the end.
    """

    entry: Entry
    texts: Sequence[Text]
    prompts: Sequence[int]
    stops: Sequence[str]
    goes_on: bool
    usage: bool


@dataclass
class Whole:
    """A text that is over."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: str = "stop"
    stop: str | int | None = None

    def add(self, said: Said) -> None:
        """Add what comes next."""
        self.text += said.text
        self.tokens += said.tokens
        self.finish, self.stop = said.finish or self.finish, said.stop


Part = Callable[[int, Said], Iterable[Mapping[str, Any]]]
"""What more of a text gives: choices of the next parts."""


class Answering:
    """One request that is answered: its name, and the heads of what is answered.

    Arguments:
        kind: of the object, such as ``text_completion``.
        prefix: of its name.
        order: what is written.
    """

    def __init__(self, kind: str, prefix: str, order: Order):
        self.order = order
        self._head = {
            "id": f"{prefix}-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()),
            "model": order.entry.name, "system_fingerprint": f"phlox-{phlox_version()}",
        }  # fmt: skip

    async def whole(self, asked: Asked, choice: Callable[[int, Whole], Mapping[str, Any]]) -> Answer:
        """The answer at once."""
        found = [Whole() for _ in self.order.texts]
        with _begun(asked, self.order) as writings:
            async for number, said in _followed(asked, self.order, writings):
                found[number].add(said)
            choices = [choice(number, whole) for number, whole in enumerate(found)]
            return answer_arrays({**self._head, "choices": choices, "usage": _usage(self.order, writings)})

    def parts(self, asked: Asked, opening: Iterable[Mapping[str, Any]], part: Part) -> Streamed:
        """The answer in parts."""
        return Streamed(self._events(asked, list(opening), part))

    async def _events(self, asked: Asked, opening: Sequence[Any], part: Part) -> AsyncGenerator[bytes, None]:
        with _begun(asked, self.order) as writings:
            for choice in opening:
                yield self._part(choice)
            try:
                async for number, said in _followed(asked, self.order, writings):
                    for choice in part(number, said):
                        yield self._part(choice)
            except Exception as error:  # the status is sent already: what is wrong can be told in a part alone
                asked.failed = error
                yield _event(fault(error))
                return
            if self.order.usage:
                yield _event({**self._head, "choices": [], "usage": _usage(self.order, writings)})
        yield _DONE

    def _part(self, choice: Any) -> bytes:
        return _event({**self._head, "choices": [choice], **({"usage": None} if self.order.usage else {})})


def _event(content: Any) -> bytes:
    return b"data: " + json_of_arrays(content) + b"\n\n"


@contextmanager
def _begun(asked: Asked, order: Order) -> Iterator[list[Writing]]:
    """Texts that are being written; what they took is counted when they are left, whole or not."""
    entry, writings = order.entry, list[Writing]()
    with entry.version.used(), asked.clients.asking(asked.client, len(order.texts)):
        try:
            for text in order.texts:
                before = text.prompt if order.goes_on else ()
                writings.append(Writing(entry.language, text, order.stops, before))
            yield writings
        finally:
            for writing in writings:
                writing.cancel()
            read, written = sum(order.prompts), sum(writing.count for writing in writings)
            asked.clients.spend(asked.client, read + written)
            asked.scope["phlox.metrics"].wrote(entry.version.name, entry.version.number, read, written)


async def _followed(asked: Asked, order: Order, writings: Sequence[Writing]) -> AsyncIterator[tuple[int, Said]]:
    """What the texts say; how long the first token took is counted."""
    start, first = time.perf_counter(), True
    version = order.entry.version
    async for found in merged(writings):
        if first:
            seconds, first = time.perf_counter() - start, False
            asked.scope["phlox.metrics"].began(version.name, version.number, seconds)
        yield found


def _usage(order: Order, writings: Sequence[Writing]) -> dict[str, int]:
    read, written = sum(order.prompts), sum(writing.count for writing in writings)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
