"""What all requests pass: the token, the address, errors as answers, the clock, the journal."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

from phlox.serving._errors import UnauthorizedError, status_of
from phlox.serving._keys import Keys
from phlox.serving.http._answers import CLIENT_GONE, Answer, Headers, Streamed, answer_error, answer_json
from phlox.serving.http._asked import Asked, ClientGoneError
from phlox.serving.http._routes import Routes
from phlox.serving.http._service import Service
from phlox.serving.http._spending import Clients
from phlox.serving.openai._faults import PATHS, answer_fault, answer_no_address
from phlox.serving.recording._record import usable_id

VERSION = b"x-model-version"
"""The header that says which version has answered."""
REQUEST_ID = b"x-request-id"
"""The header by which a client calls a request; its answer has it too."""
OPEN = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Addresses that are answered without a token."""


class App:
    """The application that uvicorn calls.

    Arguments:
        service: the models, and who looks on.
        keys: what ``Authorization: Bearer`` must say; None for nothing.
    """

    def __init__(self, service: Service, keys: Keys | None):
        self.service, self.repository, self.journal = service, service.repository, service.journal
        self._keys, self._clients, self._routes = keys, Clients(self.repository.limits), Routes()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return  # nothing else is served
        start = time.perf_counter()
        scope["phlox.metrics"], scope["phlox.clients"] = self.service.metrics, self._clients
        scope["phlox.service"] = self.service
        asked = Asked(scope, receive, self.repository)
        asked.record = self.service.record(asked.header(REQUEST_ID))
        if self.service.tracer is not None and scope["method"] == "POST":
            self._trace(asked)
        answer = await self._answered(asked, send)
        if isinstance(answer, Answer) and answer.status != CLIENT_GONE:
            await send(answer.start(self._headers(asked)))
            await send({"type": "http.response.body", "body": answer.body})
        if asked.record is not None and isinstance(answer, Answer):
            asked.record.answer = answer.body
        self._note(asked, answer.status, time.perf_counter() - start)

    async def _answered(self, asked: Asked, send: Any) -> Answer | Streamed:
        """The answer, whatever happens; one in parts is sent then."""
        try:
            answer = await self._called(asked)
            if isinstance(answer, Streamed):
                await self._stream(asked, answer, send)
            return answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if asked.watch is None or asked.watch.why is None or task is None:
                raise
            task.uncancel()
            return self._failed(asked, asked.watch.why)
        except Exception as error:
            return self._failed(asked, error)
        finally:
            if asked.watch is not None:
                asked.watch.end()

    def _headers(self, asked: Asked) -> Headers:
        """What every answer says: which version it is of, and whether the connection ends."""
        found = [] if asked.version is None else [(VERSION, b"%d" % asked.version.number)]
        if asked.span is not None:
            found.append((b"traceresponse", asked.span.response.encode()))
        name = asked.record.id if asked.record is not None else usable_id(asked.header(REQUEST_ID))
        if name is not None:
            found.append((REQUEST_ID, name.encode()))
        return [*found, (b"connection", b"close")] if self.repository.leaving else found

    async def _stream(self, asked: Asked, answer: Streamed, send: Any) -> None:
        """Send an answer part by part; what comes before the first part may still fail as others do."""
        begun = False
        async with aclosing(answer.parts) as parts:
            async for part in parts:
                if not begun:
                    await send(answer.start(self._headers(asked)))
                    begun = True
                await send({"type": "http.response.body", "body": part, "more_body": True})
                if asked.record is not None:
                    asked.record.add_part(part)
        await send({"type": "http.response.body", "body": b""})
        if asked.failed is not None:
            self._tell(asked, asked.failed)

    async def _called(self, asked: Asked) -> Answer | Streamed:
        if self._keys is not None and asked.path not in OPEN and not self._lets_in(asked, self._keys):
            fix = "send Authorization: Bearer TOKEN"
            raise UnauthorizedError("a token", got="none, or another", fix=fix, where="server")
        found = self._routes.find(asked.path)
        method = asked.scope["method"]
        for wanted, handler, params in found:
            if method == wanted or (method == "HEAD" and wanted == "GET"):
                asked.params = params
                return await handler(asked)
        if not found:
            return answer_json({"error": f"{asked.path[:200]!r} is no address of this server"}, 404)
        allowed = ", ".join(sorted({wanted for wanted, _, _ in found}))
        text = f"{asked.path[:200]} expects {allowed}, got {method}"
        if asked.path in PATHS:
            return answer_no_address(text, 405, {"allow": allowed})
        return answer_json({"error": text}, 405, {"allow": allowed})

    def _lets_in(self, asked: Asked, keys: Keys) -> bool:
        given = [value for name, value in asked.scope["headers"] if name == b"authorization"]
        holder = keys.holder(given[0].decode("latin-1")) if len(given) == 1 else None
        asked.holder = holder or None
        return holder is not None

    def _failed(self, asked: Asked, error: Exception) -> Answer:
        if isinstance(error, ClientGoneError):
            return Answer(CLIENT_GONE)
        self._tell(asked, error)
        return answer_fault(error) if asked.path in PATHS else answer_error(error)

    def _tell(self, asked: Asked, error: Exception) -> None:
        """Write down what is the server's fault; all else is what a client did, or how busy it is."""
        if status_of(error)[0] == 500:
            told = {"path": asked.path[:200], "version": str(asked.version)}
            self.journal.tell("error", {**told, "error": f"{type(error).__name__}: {str(error)[:2000]}"})

    def _trace(self, asked: Asked) -> None:
        """Begin a span, in which tokens are told too."""
        from phlox.serving.tracing._tracer import TracedMetrics

        asked.span = self.service.tracer.begin("POST", asked.headers)
        asked.scope["phlox.metrics"] = TracedMetrics(self.service.metrics, asked.span)

    def _note(self, asked: Asked, status: int, seconds: float) -> None:
        version = asked.version
        usual = {"/v1": "tensorflow", "/v2": "kserve"}.get(asked.path[:3], "plain")
        protocol = "openai" if asked.path in PATHS else usual
        if asked.span is not None:
            told = {"http.request.method": "POST", "url.path": asked.path[:200], "phlox.protocol": protocol}
            named = {} if version is None else {"phlox.model": version.name, "phlox.version": str(version)}
            asked.span.end(f"{protocol} {'' if version is None else version.name}".strip(), status, {**told, **named})
        if version is not None:
            judged = None
            if asked.scope["method"] == "POST":
                judged = 500 if asked.failed is not None else status
            if asked.record is not None and protocol == "openai":
                asked.record.body = asked.body
            self.service.answered(version, protocol, status, seconds, asked.record, judged=judged)
        if self.journal.requests:
            told = {
                "client": (asked.scope.get("client") or ("",))[0], "method": asked.scope["method"],
                "path": asked.path[:200], "status": status, "seconds": round(seconds, 6),
                "version": None if version is None else str(version),
            }  # fmt: skip
            self.journal.tell("request", told)
