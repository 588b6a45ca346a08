"""Bodies of requests, within limits."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from phlox.serving._errors import InvalidRequestError, SlowRequestError, TooLargeError
from phlox.serving._limits import Limits

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class ClientGoneError(Exception):
    """Whoever asked has left; nobody reads an answer."""


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        TooLargeError: it is longer than the limit; the rest is not read.
        SlowRequestError: it does not arrive in its time.
        InvalidRequestError: it is compressed, which nobody asked for.
    """
    headers = request.headers
    length, where = headers.get("content-length", ""), request.url.path
    if length.isdecimal() and int(length) > limits.body:
        raise _too_large(limits, where)
    if headers.get("content-encoding", "identity") != "identity":
        got, fix = headers["content-encoding"][:40], "send it as it is"
        raise InvalidRequestError("a body without Content-Encoding", got=got, fix=fix, where=where)
    try:
        async with asyncio.timeout(limits.arriving):
            return await _whole(request, limits, where)
    except TimeoutError as error:
        fix = "send smaller requests, or over a faster line"
        expected = f"a body within {limits.arriving:g} s"
        raise SlowRequestError(expected, got="a part of it", fix=fix, where=where) from error
    except ClientDisconnect as error:
        raise ClientGoneError from error


async def _whole(request: Request, limits: Limits, where: str) -> bytes:
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > limits.body:
            raise _too_large(limits, where)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        fix = "send one object in JSON, as UTF-8"
        raise InvalidRequestError("a body in JSON", got=str(error)[:200], fix=fix, where=where) from error
    if not isinstance(found, dict):
        got, fix = f"a {type(found).__name__}", "send one object in JSON"
        raise InvalidRequestError("an object in JSON", got=got, fix=fix, where=where)
    return found


def _shallow(text: bytes, depth: int) -> bool:
    """Whether brackets stand at most so deep in each other, or little more.

    >>> _shallow(b'{"a": [[1], "]]]"]}', 3), _shallow(b"[" * 40 + b"]" * 40, 8)
    (True, False)
    """
    return _collapses(text, depth) or _collapses(_STRING.sub(b"", text), depth)


def _collapses(text: bytes, depth: int) -> bool:
    left = text.translate(None, _NO_BRACKETS)
    for _ in range(depth):
        if not left:
            return True
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    return not left
