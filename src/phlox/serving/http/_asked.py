"""A request: its address, its headers, its model, its client, who may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

from phlox.serving._errors import InvalidRequestError, SlowRequestError, UnknownModelError
from phlox.serving._limits import Limits
from phlox.serving.http._service import Service
from phlox.serving.http._spending import Clients
from phlox.serving.recording._record import Record
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._version import Version

ROUTE_KEY = b"x-route-key"
"""The header whose requests, where they say the same, go to the same version."""
_PATIENCE = 0.05  # seconds before it is watched whether a client leaves
_LARGEST = 10**18


class ClientGoneError(Exception):
    """Whoever asked has left; nobody reads an answer."""


class Asked:
    """A request, as ASGI gives it.

    Arguments:
        scope, receive: ASGI's.
        repository: the models that there are.
        params: what stands in its address, by name.
    """

    __slots__ = (
        "body", "failed", "headers", "holder", "params", "path", "receive", "record", "repository", "scope", "span",
        "version", "watch",
    )  # fmt: skip

    def __init__(self, scope: Any, receive: Callable[[], Awaitable[Any]], repository: Repository):
        self.scope, self.receive, self.repository = scope, receive, repository
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.params: Mapping[str, str] = {}
        self.version: Version | None = None
        """The version that answers it, once that is known; for metrics and journal."""
        self.watch: Watch | None = None
        self.body: bytes = b""
        """What was sent, once it is there."""
        self.span: Any = None
        """A ``RequestSpan``, where it is traced."""
        self.record: Record | None = None
        """What is to be written down of it."""
        self.failed: Exception | None = None
        """What went wrong after the answer had begun."""
        self.holder: str | None = None
        """Whose key it has, where the server knows several."""

    @property
    def client(self) -> str:
        """Who asks: the holder of a key, else an address."""
        return self.holder or (self.scope.get("client") or ("",))[0]

    @property
    def clients(self) -> Clients:
        """What each client may take."""
        found: Clients = self.scope["phlox.clients"]
        return found

    @property
    def ready(self) -> bool:
        """Whether requests may be sent here: every model can be asked, of every worker; and nobody is leaving."""
        return self._service.ready

    @property
    def tallies(self) -> list[Any]:
        """What was counted of versions, by this process and the others."""
        return self._service.tallies

    @property
    def _service(self) -> Service:
        found: Service = self.scope["phlox.service"]
        return found

    def header(self, name: bytes) -> str | None:
        """A header by its name in small letters."""
        found = self.headers.get(name)
        return None if found is None else found.decode("latin-1")

    def choose(self) -> Version:
        """The version that its address names.

        Raises:
            UnknownModelError, UnavailableError: it cannot be asked.
        """
        named = self.params
        number = named.get("version")
        if number is not None and (not number.isdecimal() or not number.isascii() or int(number[:20]) >= _LARGEST):
            fix = "name a version by its number"
            where = named["name"][:100]
            raise UnknownModelError("a number for the version", got=repr(number)[:50], fix=fix, where=where)
        model = self.repository.find(named["name"])
        key = self.header(ROUTE_KEY)
        self.version = model.choose(None if number is None else int(number), named.get("label"), key)
        return self.version

    async def answer(self, version: Version, signature: str, inputs: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        """The outputs of a signature for inputs."""
        seconds, record = self.seconds(self.repository.limits.seconds), self.record
        if record is None:
            return await version.answer(signature, inputs, seconds)
        record.signature, record.inputs = signature, inputs
        record.outputs = await version.answer(signature, inputs, seconds)
        return record.outputs

    def seconds(self, most: float) -> float:
        """The time for the answer: what the client gives in a header, at most what the server gives."""
        told = self.headers.get(b"x-request-timeout")
        if told is None:
            return most
        try:
            seconds = float(told)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            fix = "send X-Request-Timeout: 2.5"
            raise InvalidRequestError("seconds above 0", got=repr(told)[:40], fix=fix, where="X-Request-Timeout")
        return min(seconds, most)


class Watch:
    """Cancels the task of a request whose body does not arrive, or whose client leaves.

    It costs one timer where all goes quickly: it begins to listen only where the answer takes a while.
    """

    __slots__ = ("_asked", "_limits", "_listener", "_reading", "_task", "_timer", "why")

    def __init__(self, asked: Asked, limits: Limits):
        task = asyncio.current_task()
        assert task is not None
        self._asked, self._limits, self._task, self._reading = asked, limits, task, True
        self.why: Exception | None = None
        """Why the task was cancelled, where it was by this."""
        self._listener: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(_PATIENCE, self._begin)

    def has_read(self) -> None:
        """The body is there."""
        self._reading = False
        if self._timer is not None and self._timer.when() > asyncio.get_running_loop().time() + _PATIENCE:
            self._timer.cancel()
            self._begin()

    def end(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()

    def _begin(self) -> None:
        if self._reading:
            self._timer = asyncio.get_running_loop().call_later(self._limits.arriving, self._late)
        else:
            self._listener = asyncio.ensure_future(self._listen())

    def _late(self) -> None:
        if not self._reading:  # it came at the last moment
            self._begin()
            return
        expected, fix = f"a body within {self._limits.arriving:g} s", "send smaller requests, or over a faster line"
        self.why = SlowRequestError(expected, got="a part of it", fix=fix, where=self._asked.path)
        self._task.cancel()

    async def _listen(self) -> None:
        while (await self._asked.receive())["type"] != "http.disconnect":
            pass
        self.why = ClientGoneError()
        self._task.cancel()
