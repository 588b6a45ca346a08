"""The server of gRPC beside that of HTTP: services, tokens, limits, TLS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from phlox.core import RangeError
from phlox.serving._keys import Keys
from phlox.serving.http._service import Service
from phlox.serving.rpc import _kserve, _tensorflow
from phlox.serving.rpc._calls import handled
from phlox.serving.rpc._messages import kserve, tensorflow

_OPEN = ("/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady")


class Rpc:
    """Both protocols on one port.

    Arguments:
        service: the models, and who looks on; workers all listen at one port.
        keys: what the metadata ``authorization`` must say; None for nothing.
    """

    def __init__(self, service: Service, keys: Keys | None):
        self.limits = limits = service.repository.limits
        gates = [] if keys is None else [_Gate(keys)]
        options = [
            ("grpc.max_receive_message_length", limits.body), ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(service.place is not None)), ("grpc.max_metadata_size", limits.header),
        ]  # fmt: skip
        self._server = grpc.aio.server(interceptors=gates, options=options)
        named = {name: (handler, f"{name}Request", f"{name}Response") for name, handler in _kserve.METHODS.items()}
        self._add(_kserve.SERVICE, named, kserve(), "kserve-grpc", service)
        self._add(_tensorflow.PREDICTION, _tensorflow.PREDICTION_METHODS, tensorflow(), "tensorflow-grpc", service)
        self._add(_tensorflow.MODEL, _tensorflow.MODEL_METHODS, tensorflow(), "tensorflow-grpc", service)

    async def start(self, address: str, certificate: bytes | None, key: bytes | None) -> int:
        """Listen; gives the port.

        Raises:
            RangeError: the address is taken.
        """
        try:
            if certificate is None or key is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
        except RuntimeError as error:
            fix = "choose another port, or 0 for a free one"
            raise RangeError(f"{address} to be free", got=str(error)[:200], fix=fix, where="px.serving") from error
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Take no more calls, and answer those that are there."""
        await self._server.stop(self.limits.draining)

    def _add(self, service: str, methods: Mapping[str, Any], messages: Any, protocol: str, told: Service) -> None:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                handled(handler, getattr(messages, request), protocol, told),
                response_serializer=getattr(messages, response).SerializeToString,
            )
            for name, (handler, request, response) in methods.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


class _Gate(grpc.aio.ServerInterceptor):
    """Refuses calls without the token; health is told without."""

    def __init__(self, keys: Keys):
        self._keys = keys

        async def refused(request: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "server expects a token, got none, or another")

        self._refusal = grpc.unary_unary_rpc_method_handler(refused)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        given = [value for name, value in handler_call_details.invocation_metadata if name == "authorization"]
        text = given[0] if len(given) == 1 else ""
        right = isinstance(text, str) and self._keys.holder(text) is not None
        open_to_all = handler_call_details.method in _OPEN
        return await continuation(handler_call_details) if right or open_to_all else self._refusal
