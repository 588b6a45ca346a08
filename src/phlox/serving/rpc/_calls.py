"""One call of gRPC: its time, its errors, its count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from phlox.core import PhloxError
from phlox.serving._errors import InvalidRequestError, UnknownModelError, status_of
from phlox.serving.http._app import VERSION
from phlox.serving.http._asked import ROUTE_KEY
from phlox.serving.http._journal import Journal
from phlox.serving.http._metrics import Metrics
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._version import Version
from phlox.serving.workers._place import Place

_VERSION = VERSION.decode()
_ROUTE_KEY = ROUTE_KEY.decode()
_INTERNAL = "the model failed for this request; the server's journal says why"


class Call:
    """A call: what it is asked of, and how long it has.

    Arguments:
        repository: the models that there are.
        context: gRPC's.
        place: of a worker among others.
    """

    def __init__(self, repository: Repository, context: Any, place: Place | None = None):
        self.repository, self._context, self._place = repository, context, place
        self.version: Version | None = None

    @property
    def ready(self) -> bool:
        """Whether calls may be sent here: every model can be asked, of every worker; and nobody is leaving."""
        here = self.repository.ready and not self.repository.leaving
        return here and (self._place is None or self._place.ready)

    def choose(self, name: str, version: str | int | None, label: str | None = None) -> Version:
        """The version that answers.

        Raises:
            UnknownModelError, UnavailableError: it cannot be asked.
        """
        if version is not None and not str(version).isdecimal():
            fix = "leave it out for the latest"
            raise UnknownModelError("a number for the version", got=repr(version)[:50], fix=fix, where=name[:100])
        model = self.repository.find(name)
        self.version = model.choose(None if version is None else int(version), label, self._metadata().get(_ROUTE_KEY))
        self._context.set_trailing_metadata(((_VERSION, str(self.version.number)),))
        return self.version

    def _metadata(self) -> dict[str, Any]:
        """What the call says beside its message."""
        return dict(self._context.invocation_metadata() or ())

    async def answer(self, version: Version, signature: str, inputs: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        """The outputs of a signature, within the time that the client gives."""
        left = self._context.time_remaining()
        most = self.repository.limits.seconds
        return await version.answer(signature, inputs, most if left is None else max(0.001, min(left, most)))


Handler = Callable[[Call, Any], Awaitable[Any]]


def handled(
    handler: Handler,
    message: Any,
    protocol: str,
    repository: Repository,
    metrics: Metrics,
    journal: Journal,
    place: Place | None = None,
) -> Callable[[Any, Any], Awaitable[Any]]:
    """A function of this room's as gRPC calls it: an error becomes a status, and everything is counted.

    Arguments:
        handler: the function.
        message: the class of what it is asked with.
        protocol: its name, where it is counted.
        repository: the models that there are.
        metrics, journal: where calls are counted, and errors written down.
        place: of a worker among others.
    """

    async def called(text: bytes, context: Any) -> Any:
        start, call, code = time.perf_counter(), Call(repository, context, place), 200
        try:
            return await handler(call, _read(message, text))
        except asyncio.CancelledError:
            code = 499
            raise
        except Exception as error:
            code, name = status_of(error)
            told = isinstance(error, PhloxError) and (code < 500 or code in (503, 504))
            if code == 500:
                why = f"{type(error).__name__}: {str(error)[:2000]}"
                journal.tell("error", {"version": str(call.version), "error": why})
            await context.abort(grpc.StatusCode[name], str(error) if told else _INTERNAL)
        finally:
            if call.version is not None:
                seconds = time.perf_counter() - start
                metrics.answered(call.version.name, call.version.number, protocol, code, seconds)
                repository.answered(call.version, status=code, seconds=seconds)

    return called


def _read(message: Any, text: bytes) -> Any:
    """A message out of its bytes.

    Raises:
        InvalidRequestError: they are no such message.
    """
    try:
        return message.FromString(text)
    except DecodeError as error:
        name, fix = message.DESCRIPTOR.full_name, "look at the protocol's numbers"
        raise InvalidRequestError(f"the message {name}", got="other bytes", fix=fix, where="gRPC") from error
