"""Answers: JSON, and errors with their status."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from phlox.core import PhloxError
from phlox.serving._errors import QueueFullError, status_of

Answer = Response
CLIENT_GONE = 499  # as nginx writes it into its log; nobody reads it


def answer_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer in JSON; numbers that JSON does not have are ``NaN``, ``Infinity`` and ``-Infinity``."""
    return Response(json.dumps(content), status, headers, "application/json")


async def answer_error(request: Request, error: Exception) -> Answer:
    """An error as all protocols answer it: ``{"error": text}``."""
    status, _ = status_of(error)
    headers = {}
    if isinstance(error, QueueFullError):
        headers["retry-after"] = str(error.retry_after)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status in (408, 413):
        headers["connection"] = "close"  # the rest of the body is not read
    text = str(error) if (isinstance(error, PhloxError) and status < 500) or status in (503, 504) else INTERNAL
    return answer_json({"error": text}, status, headers)


INTERNAL = "the model failed for this request; the server's journal says why"


async def answer_http_error(request: Request, error: Any) -> Answer:
    """An address or a method that there is not."""
    text = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return answer_json({"error": text}, error.status_code, dict(error.headers or {}))


async def answer_nobody(request: Request, error: Exception) -> Answer:
    """Nothing, for a client who has left."""
    return Response(status_code=CLIENT_GONE)
