"""A socket behind which an application answers: it stops taking connections before it stops answering."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import uvicorn

from phlox.core import RangeError
from phlox.serving._limits import Limits
from phlox.serving.http._protocol import protocol_of
from phlox.serving.workers._place import Place
from phlox.weights import file_error

SETTLING = 0.2  # seconds without a request in flight before idle connections are closed
_NOT_NOW = 0.05  # seconds before it is looked again whether this process may take connections
_NO_ROOM = 1.0  # seconds of rest where the system has no room for another connection


class Listening:
    """HTTP for an application, by uvicorn.

    Arguments:
        app: the application.
        listener: a socket that is bound.
        limits: what headers may hold, and how long a connection may be idle.
        files: certificate and key, in PEM, for TLS.
        place: of a worker, where several take connections of one socket.
    """

    def __init__(self, app: Any, listener: socket.socket, limits: Limits, files: dict[str, str], place: Place | None):
        self.listener, self.limits = listener, limits
        self._server, self._place = _uvicorn(app, limits, files), place
        self._timer: asyncio.TimerHandle | None = None
        self._coming = set[asyncio.Task[None]]()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._server.server_state.connections) + len(self._coming)

    def start(self) -> asyncio.Future[None]:
        """Take connections; what is returned is done when it ends by itself."""
        mine = [] if self._place is not None else [self.listener]
        self.serving = asyncio.ensure_future(self._server.serve(sockets=mine))
        if self._place is not None:
            self.listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self.listener, self._one_came)
        return self.serving

    async def stop_listening(self) -> None:
        """Take no new connection. One that the system has taken already is one of ours: closing would reset it."""
        spare = self.listener.dup()
        spare.setblocking(False)
        for one in getattr(self._server, "servers", ()):
            one.close()
        if self._place is not None:
            self._pause(None)
            self.listener.close()
        await asyncio.sleep(0)
        with suppress(OSError), spare:
            while True:
                connection, _ = spare.accept()
                await self._connect(connection)

    async def drain(self) -> None:
        """Answer what comes on the connections that there are, until their clients have closed them, or are quiet."""
        loop = asyncio.get_running_loop()
        end, quiet = loop.time() + self.limits.draining, loop.time()
        while loop.time() < end and loop.time() - quiet < SETTLING:
            if self._server.server_state.tasks:
                quiet = loop.time()
            await asyncio.sleep(0.01)

    def end(self) -> None:
        """Close what is left."""
        if self._place is not None:
            self._pause(None)
        self._server.should_exit = True

    def _one_came(self) -> None:
        """Take one connection, if it is this process's turn; who has more than others lets these be first."""
        assert self._place is not None
        wait = self._place.turn(self.connections)
        if wait is None:
            self._pause(_NOT_NOW)
        elif wait > 0:
            self._pause(wait, take=True)
        else:
            self._take()

    def _pause(self, seconds: float | None, *, take: bool = False) -> None:
        """Look away from the socket for a while, or for good."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.listener.fileno() >= 0:
            loop.remove_reader(self.listener)
        if seconds is not None:
            self._timer = loop.call_later(seconds, self._again, take)

    def _again(self, take: bool) -> None:
        self._timer = None
        asyncio.get_running_loop().add_reader(self.listener, self._one_came)
        if take:
            self._take()

    def _take(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was first, or the client has left
        except OSError:
            self._pause(_NO_ROOM)
            return
        task = asyncio.ensure_future(self._connect(connection))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)
        if self._place is not None:
            self._place.has(self.connections)  # before another process decides whose turn it is

    async def _connect(self, connection: socket.socket) -> None:
        """Answer on a connection that was taken by hand."""
        loop, config = asyncio.get_running_loop(), self._server.config
        state, app_state = self._server.server_state, self._server.lifespan.state

        def protocol() -> Any:
            made: Any = config.http_protocol_class
            return made(config=config, server_state=state, app_state=app_state, _loop=loop)

        connection.setblocking(False)
        with suppress(OSError):  # who connects may leave, or speak no TLS
            await loop.connect_accepted_socket(protocol, connection, ssl=config.ssl)


class _Quiet(uvicorn.Server):
    def install_signal_handlers(self) -> None:  # older uvicorn
        return

    async def serve(self, sockets: Any = None) -> None:
        await self._serve(sockets)  # without its handlers of signals: ours drain first


def _uvicorn(app: Any, limits: Limits, files: dict[str, str]) -> uvicorn.Server:
    """The server that parses HTTP.

    Raises:
        RangeError: certificate and key are none.
        FileError: they cannot be read.
    """
    config = uvicorn.Config(
        app, http=protocol_of(limits), ws="none", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, int(limits.idle)), server_header=False, backlog=2048,
        timeout_graceful_shutdown=max(1, int(limits.draining)), **files,  # type: ignore[arg-type]
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        path = files.get("ssl_certfile", "")
        if error.errno is None or "ssl" in type(error).__module__:
            fix = "give a certificate and its key in PEM"
            raise RangeError("a certificate and its key", got=str(error)[:200], fix=fix, where=str(path)) from error
        raise file_error(error, path, "px.serving") from error
    return _Quiet(config)
