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
from phlox.serving.http._app import REQUEST_ID, VERSION
from phlox.serving.http._asked import ROUTE_KEY
from phlox.serving.http._service import Service
from phlox.serving.repository._version import Version

_VERSION, _ROUTE_KEY, _REQUEST_ID = VERSION.decode(), ROUTE_KEY.decode(), REQUEST_ID.decode()
_INTERNAL = "the model failed for this request; the server's journal says why"


class Call:
    """A call: what it is asked of, and how long it has.

    Arguments:
        service: the models, and who looks on.
        context: gRPC's.
    """

    def __init__(self, service: Service, context: Any):
        self.repository, self.service, self._context = service.repository, service, context
        self.version: Version | None = None
        self.asks = False
        """Whether it asks for outputs."""
        self.record = service.record(self._metadata().get(_REQUEST_ID))

    @property
    def ready(self) -> bool:
        """Whether calls may be sent here: every model can be asked, of every worker; and nobody is leaving."""
        return self.service.ready

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

    @property
    def headers(self) -> dict[bytes, bytes]:
        """What the call says beside its message, as HTTP has it."""
        return {n.encode(): v.encode() for n, v in self._metadata().items() if isinstance(v, str)}

    def _metadata(self) -> dict[str, Any]:
        """What the call says beside its message."""
        return dict(self._context.invocation_metadata() or ())

    async def answer(self, version: Version, signature: str, inputs: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        """The outputs of a signature, within the time that the client gives."""
        left = self._context.time_remaining()
        most = self.repository.limits.seconds
        seconds, self.asks = most if left is None else max(0.001, min(left, most)), True
        if self.record is not None:
            self.record.signature, self.record.inputs = signature, inputs
        found = await version.answer(signature, inputs, seconds)
        if self.record is not None:
            self.record.outputs = found
        return found


Handler = Callable[[Call, Any], Awaitable[Any]]


def handled(handler: Handler, message: Any, protocol: str, service: Service) -> Callable[[Any, Any], Awaitable[Any]]:
    """A function of this room's as gRPC calls it: an error becomes a status, and everything is counted.

    Arguments:
        handler: the function.
        message: the class of what it is asked with.
        protocol: its name, where it is counted.
        service: the models, and who looks on.
    """

    async def called(text: bytes, context: Any) -> Any:
        start, call, code = time.perf_counter(), Call(service, context), 200
        span = None if service.tracer is None else service.tracer.begin(protocol, call.headers)
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
                service.journal.tell("error", {"version": str(call.version), "error": why})
            await context.abort(grpc.StatusCode[name], str(error) if told else _INTERNAL)
        finally:
            if span is not None:
                model = "" if call.version is None else call.version.name
                span.end(f"{protocol} {model}".strip(), code, {"phlox.protocol": protocol, "phlox.model": model})
            if call.version is not None:
                seconds = time.perf_counter() - start
                judged = code if call.asks else None
                service.answered(call.version, protocol, code, seconds, call.record, judged=judged)

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
