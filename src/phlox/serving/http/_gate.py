"""What all requests pass: the token, the clock, the journal."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any

from phlox.serving._errors import UnauthorizedError
from phlox.serving.http._asked import noted_version
from phlox.serving.http._journal import Journal
from phlox.serving.http._metrics import Metrics

OPEN = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Addresses that are answered without a token."""


class Gate:
    """An ASGI application around another.

    Arguments:
        app: the other.
        token: what ``Authorization: Bearer`` must say; None for nothing.
        metrics: where answers are counted.
        journal: where they are written down.
    """

    def __init__(self, app: Any, token: str | None, metrics: Metrics, journal: Journal):
        self.app, self.metrics, self.journal = app, metrics, journal
        self.leaving = False
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return  # nothing else is served
        start, seen = time.perf_counter(), [500]

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen[0] = message["status"]
                if self.leaving:
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        if self._token is not None and scope["path"] not in OPEN and not self._lets_in(scope):
            await _refused(sending)
        else:
            await self.app(scope, receive, sending)
        self._note(scope, seen[0], time.perf_counter() - start)

    def _lets_in(self, scope: Any) -> bool:
        assert self._token is not None
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"

    def _note(self, scope: Any, status: int, seconds: float) -> None:
        version = noted_version(scope)
        if version is not None:
            self.metrics.answered(version.name, str(version.number), _protocol(scope["path"]), status, seconds)
        if self.journal.requests:
            told = {
                "client": (scope.get("client") or ("",))[0], "method": scope["method"], "path": scope["path"][:200],
                "status": status, "seconds": round(seconds, 6), "version": None if version is None else str(version),
            }  # fmt: skip
            self.journal.tell("request", told)


def _protocol(path: str) -> str:
    return {"/v1": "tensorflow", "/v2": "kserve"}.get(path[:3], "plain")


async def _refused(send: Any) -> None:
    fix = "send Authorization: Bearer TOKEN"
    text = str(UnauthorizedError("a token", got="none, or another", fix=fix, where="server"))
    body = json.dumps({"error": text}).encode()
    headers = [
        (b"content-type", b"application/json"), (b"www-authenticate", b"Bearer"),
        (b"content-length", str(len(body)).encode()), (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})
