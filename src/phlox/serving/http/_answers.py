"""Answers: JSON, and errors with their status."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from phlox.core import PhloxError
from phlox.serving._errors import QueueFullError, UnprocessableError, status_of

JSON = "application/json"
Headers = Sequence[tuple[bytes, bytes]]
"""Headers as ASGI has them."""
CLIENT_GONE = 499  # as nginx writes it into its log; nobody reads it
_INTERNAL = "the model failed for this request; the server's journal says why"


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    body: bytes = b""
    kind: str = JSON
    headers: Mapping[str, str] | None = None

    def start(self, more: Headers = ()) -> dict[str, Any]:
        """The first of ASGI's two messages, with more headers."""
        headers = [(b"content-type", self.kind.encode()), (b"content-length", b"%d" % len(self.body))]
        if self.headers:
            headers += [(name.encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        return {"type": "http.response.start", "status": self.status, "headers": [*headers, *more]}


@dataclass(frozen=True)
class Streamed:
    """What a request is answered with, part by part as it comes; an error before the first part is answered as all are.

    Arguments:
        parts: of the body.
        kind: of the body.
    """

    parts: AsyncGenerator[bytes, None]
    kind: str = "text/event-stream"
    status: int = 200

    def start(self, more: Headers = ()) -> dict[str, Any]:
        """The first of ASGI's messages, with more headers."""
        headers = [(b"content-type", self.kind.encode()), (b"cache-control", b"no-cache"), *more]
        return {"type": "http.response.start", "status": self.status, "headers": headers}


def answer_json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON; numbers that JSON does not have are ``NaN``, ``Infinity`` and ``-Infinity``."""
    return Answer(status, json.dumps(content).encode(), JSON, headers)


def answer_arrays(content: Any) -> Answer:
    """An answer in JSON that has arrays in it, each by ``write_array``; no other number may be infinite or NaN."""
    return Answer(200, json_of_arrays(content), JSON)


def json_of_arrays(content: Any) -> bytes:
    """The text of such an answer."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def answer_error(error: Exception) -> Answer:
    """An error as all protocols answer it: ``{"error": text}``, and ``"problems"`` of values against a schema."""
    status, _ = status_of(error)
    headers = {}
    if isinstance(error, QueueFullError):
        headers["retry-after"] = str(error.retry_after)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status in (401, 408, 413):
        headers["connection"] = "close"  # the rest of the body is not read
    told = isinstance(error, PhloxError) and (status < 500 or status in (503, 504))
    content: dict[str, Any] = {"error": str(error) if told else _INTERNAL}
    if isinstance(error, UnprocessableError):
        content["problems"] = list(error.problems)
    return answer_json(content, status, headers)
