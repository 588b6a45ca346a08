"""A request: the version that answers it, its time, and its client, who may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request

from phlox.serving._errors import InvalidRequestError, UnknownModelError
from phlox.serving.http._bodies import ClientGoneError
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._version import Version

_PATIENCE = 0.05  # seconds before it is watched whether a client leaves
_FACTS = "phlox"
_LARGEST = 10**18


def repository_of(request: Request) -> Repository:
    """The models that the server has."""
    return request.app.state.repository


def version_of(request: Request) -> Version:
    """The version that an address names; it is noted for metrics and journal.

    Raises:
        UnknownModelError, UnavailableError: it cannot be asked.
    """
    named = request.path_params
    number = named.get("version")
    if number is not None and (not number.isdecimal() or int(number[:20]) >= _LARGEST):
        fix = "name a version by its number"
        raise UnknownModelError("a number for the version", got=repr(number)[:50], fix=fix, where=named["name"][:100])
    model = repository_of(request).find(named["name"])
    found = model.choose(None if number is None else int(number), named.get("label"))
    request.scope[_FACTS] = found
    return found


def noted_version(scope: Mapping[str, Any]) -> Version | None:
    """The version that answered a request, where one did."""
    return scope.get(_FACTS)


async def answer(
    request: Request, version: Version, signature: str, inputs: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The outputs for a request, as long as its client is there.

    Raises:
        ClientGoneError: the client has left; the request is out of the queue.
    """
    task = asyncio.current_task()
    assert task is not None
    watch = _Watch(request, task)
    try:
        return await version.answer(signature, inputs, _seconds(request))
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        task.uncancel()
        raise ClientGoneError from None
    finally:
        watch.end()


class _Watch:
    """Cancels a task when the client of its request leaves; it begins only where the answer takes a while."""

    def __init__(self, request: Request, task: asyncio.Task[Any]):
        self.request, self.task, self.gone = request, task, False
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._begin)

    def _begin(self) -> None:
        self._watcher = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.task.cancel()

    def end(self) -> None:
        """Watch no more."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()


def _seconds(request: Request) -> float | None:
    """The time that a client gives for the answer, in a header; at most what the server gives."""
    told = request.headers.get("x-request-timeout")
    if told is None:
        return None
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        fix = "send X-Request-Timeout: 2.5"
        raise InvalidRequestError("seconds above 0", got=repr(told)[:40], fix=fix, where="X-Request-Timeout")
    return min(seconds, repository_of(request).limits.seconds)
