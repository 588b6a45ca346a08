"""Bodies of requests, within limits."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from phlox.serving._errors import InvalidRequestError, TooLargeError
from phlox.serving._limits import Limits
from phlox.serving.http._asked import Asked, ClientGoneError, Watch
from phlox.serving.repository._version import State, Version

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


async def read_request(asked: Asked) -> tuple[Version, bytes]:
    """The version that answers, and the body; the next version, where the first one left while the body came.

    Raises:
        UnknownModelError, UnavailableError: no version can be asked.
        TooLargeError, SlowRequestError, InvalidRequestError: the body cannot be taken.
    """
    version = asked.choose()
    body = await read_body(asked, version.limits)
    return version if version.state is State.AVAILABLE else asked.choose(), body


async def read_body(asked: Asked, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        TooLargeError: it is longer than the limit; the rest is not read.
        SlowRequestError: it does not arrive in its time.
        InvalidRequestError: it is compressed, which nobody asked for.
    """
    length = asked.headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > limits.body:
        raise _too_large(limits, asked.path)
    if asked.headers.get(b"content-encoding", b"identity") != b"identity":
        got, fix = repr(asked.header(b"content-encoding"))[:40], "send it as it is"
        raise InvalidRequestError("a body without Content-Encoding", got=got, fix=fix, where=asked.path)
    asked.watch = Watch(asked, limits)
    parts, size, more = list[bytes](), 0, True
    while more:
        message = await asked.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part, more = message.get("body", b""), message.get("more_body", False)
        parts.append(part)
        size += len(part)
        if size > limits.body:
            raise _too_large(limits, asked.path)
    asked.watch.has_read()
    asked.body = parts[0] if len(parts) == 1 else b"".join(parts)
    return asked.body


def _too_large(limits: Limits, where: str) -> TooLargeError:
    fix = "send fewer rows at once, or binary tensors"
    return TooLargeError(f"a body of at most {limits.body} bytes", got="a longer one", fix=fix, where=where)


def json_object(text: bytes, limits: Limits, where: str) -> dict[str, Any]:
    """A body as a JSON object; ``NaN``, ``Infinity`` and ``-Infinity`` are numbers in it.

    Raises:
        InvalidRequestError: it is none, or nested too deep.
    """
    if not _shallow(text, limits.depth):
        got, fix = "more", "send arrays of fewer axes"
        raise InvalidRequestError(f"JSON nested at most {limits.depth} deep", got=got, fix=fix, where=where)
    try:
        found = _loaded(text)
    except (ValueError, RecursionError) as error:
        fix = "send one object in JSON, as UTF-8"
        raise InvalidRequestError("a body in JSON", got=str(error)[:200], fix=fix, where=where) from error
    if not isinstance(found, dict):
        got, fix = f"a {type(found).__name__}", "send one object in JSON"
        raise InvalidRequestError("an object in JSON", got=got, fix=fix, where=where)
    return found


def _loaded(text: bytes) -> Any:
    """What a text in JSON says: by orjson, seven times as fast; what it does not take, by Python's own reader."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN and Infinity, or no JSON at all
        return json.loads(text)


def _shallow(text: bytes, depth: int) -> bool:
    """Whether brackets stand at most so deep in each other, or little more.

    >>> _shallow(b'{"a": [[1], "[[[["]}', 3), _shallow(b"[" * 40 + b"]" * 40, 8)
    (True, False)
    """
    if text.count(b"[") + text.count(b"{") <= depth:
        return True
    return not _left(text, depth) or not _left(_STRING.sub(b"", text), depth)


def _left(text: bytes, depth: int) -> bool:
    """Whether more than so many brackets are open when pairs were taken out so many times, from within."""
    left = text.translate(None, _NO_BRACKETS)
    for _ in range(depth):
        if not left:
            return False
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    return left.count(b"[") + left.count(b"{") > depth
