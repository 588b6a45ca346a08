"""A replica: the models of a source in one process, with batches of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from phlox.core import PhloxError
from phlox.serving._errors import UnavailableError
from phlox.serving._server import Server
from phlox.serving.replicas._messages import Call, Start
from phlox.serving.repository._repository import Repository


class Replica:
    """Models that answer requests as ``px.serving.Server`` does, without a socket of their own.

    All methods are called from one event loop. The models are loaded by the first call, which Ray makes to see
    whether the replica is well, before it is sent any request.

    Arguments:
        source: as for ``px.serving.Server``; or a function of nothing that gives servables by name.
        options: others of ``px.serving.Server``.
    """

    def __init__(self, source: Any, options: Mapping[str, Any]):
        from phlox.serving.http._app import App  # which needs packages that not everybody has
        from phlox.serving.http._journal import Journal
        from phlox.serving.http._metrics import Metrics
        from phlox.serving.http._service import Service

        found: Any = source() if callable(source) else source
        told = Server(found, **options).settings
        metrics, self._journal = Metrics(), Journal(sys.stderr, requests=told.requests)
        self._repository = Repository(told.source, told.limits, told.how, told.memory, self._journal.tell, metrics.ran)
        metrics.watch(self._repository)
        self._app, self._poll = App(Service(self._repository, metrics, self._journal), told.keys), told.poll
        self._opening: asyncio.Future[None] | None = None
        self._looking: asyncio.Future[None] | None = None

    async def check_health(self) -> None:
        """Whether it can go on: Ray starts another one in its place where this fails again and again.

        Raises:
            UnavailableError: no model can be asked; says why the first one cannot.
        """
        await self._opened()
        models = self._repository.models.values()
        if not any(model.available() for model in models):
            errors = [version.error for model in models for version in model.versions.values() if version.error]
            fix = "look at the folder, and at the lines of this replica"
            got = errors[0] if errors else "none"
            raise UnavailableError("a model that can be asked", got=got, fix=fix, where="px.serving.ray")

    async def answer(self, call: Call) -> AsyncIterator[Start | bytes]:
        """The answer to a request: how it begins, then parts of its body."""
        await self._opened()
        messages = asyncio.Queue[Mapping[str, Any] | None]()
        answering = asyncio.ensure_future(self._app(_scope(call), _Given(call.body), messages.put))
        answering.add_done_callback(lambda _: messages.put_nowait(None))
        try:
            while (message := await messages.get()) is not None:
                if message["type"] == "http.response.start":
                    yield Start(message["status"], message["headers"])
                elif message.get("body"):
                    yield message["body"]
            answering.result()
        finally:
            answering.cancel()  # whoever asked has left

    async def _opened(self) -> None:
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._repository.refresh())
            if isinstance(self._repository.source, Path):
                self._looking = asyncio.ensure_future(self._look())
        await asyncio.shield(self._opening)

    async def _look(self) -> None:
        """Look at the folder again and again."""
        while True:
            await asyncio.sleep(self._poll)
            try:
                await self._repository.refresh()
            except (PhloxError, OSError) as error:
                self._journal.tell("folder", {"error": f"{type(error).__name__}: {error}"})


class _Given:
    """ASGI's ``receive`` of a body that is there; after it nothing comes."""

    def __init__(self, body: bytes):
        self._body: bytes | None = body

    async def __call__(self) -> dict[str, Any]:
        body, self._body = self._body, None
        if body is None:
            await asyncio.Event().wait()  # who leaves cancels the call
        return {"type": "http.request", "body": body, "more_body": False}


def _scope(call: Call) -> dict[str, Any]:
    return {
        "type": "http", "method": call.method, "path": call.path, "query_string": call.query,
        "headers": list(call.headers), "client": call.client,
    }  # fmt: skip
