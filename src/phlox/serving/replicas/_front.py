"""The front: it takes requests, has a replica answer each, and another one where that one died."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from phlox.serving.replicas._messages import Call, Start

_PAUSE = 0.05  # seconds before the second try, and twice as long before each further one
_OF_ALL = re.compile(r"/v2/repository/models/[^/]+/(load|unload)")


class Front:
    """What Ray Serve sends requests to. It has no model, so that what takes a replica down leaves it alone.

    A request is sent to another replica where the one that it was sent to died before anything was answered:
    answering twice changes nothing. Of an answer that has begun to go out in parts the rest cannot be had again.

    Arguments:
        models: Ray's handle of the replicas.
        tries: how many replicas a request is sent to at most.
        most: bytes of a body.
    """

    def __init__(self, models: Any, tries: int, most: int):
        self._models, self._tries, self._most = models.options(stream=True), tries, most

    async def __call__(self, request: Any) -> Any:
        """The answer to a request of Starlette's."""
        if _OF_ALL.fullmatch(_path(request)):
            return _told(501, "each replica looks at the folder itself; put models there, or take them away")
        body = await _body(request, self._most)
        if body is None:
            return _told(413, f"a body of at most {self._most} bytes is taken")
        client = None if request.client is None else (request.client.host, request.client.port)
        call = Call(request.method, _path(request), request.scope["query_string"], request.headers.raw, body, client)
        return await self._answered(call)

    async def _answered(self, call: Call) -> Any:
        from ray.exceptions import RayActorError  # pyright: ignore[reportMissingImports]  # an extra
        from ray.serve.exceptions import RayServeException  # pyright: ignore[reportMissingImports]

        pause = _PAUSE
        for left in reversed(range(self._tries)):
            try:
                return await self._once(call)
            except RayActorError:
                if left:
                    await asyncio.sleep(pause)
                    pause *= 2
            except RayServeException:
                break
        return _told(503, "no replica answers; try again later")

    async def _once(self, call: Call) -> Any:
        """One replica's answer, whole; or from its first part on, where it is written while it is sent."""
        from starlette.responses import (  # pyright: ignore[reportMissingImports]  # which Ray brings
            Response,
            StreamingResponse,
        )

        parts = self._models.answer.remote(call)
        start: Start = await anext(parts)
        if start.whole:
            body = b"".join([part async for part in parts])
            response = Response(body, start.status)
        else:
            first = await anext(parts, b"")
            response = StreamingResponse(_with(first, parts), start.status)
        response.raw_headers = [*start.headers]
        return response


async def _with(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in parts:
        yield part


async def _body(request: Any, most: int) -> bytes | None:
    """The body of a request; None of one that is too long, the rest of which is not read."""
    parts, size = list[bytes](), 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            return None
    return b"".join(parts)


def _path(request: Any) -> str:
    """The address, without the prefix that Ray has the application under."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "").rstrip("/")) or "/"


def _told(status: int, text: str) -> Any:
    from starlette.responses import Response  # pyright: ignore[reportMissingImports]

    headers = {"retry-after": "1"} if status == 503 else {}
    return Response(json.dumps({"error": text}), status, headers, "application/json")
