"""A Bokeh server in a thread, which answers a browser of its own machine alone."""

from __future__ import annotations

import asyncio
import importlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from phlox.core import MissingExtraError, RangeError

_WHERE = "px.interpret.explore"
_WIDEST = 100 << 20  # bytes of one message of the page
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def require_bokeh(where: str) -> None:
    """Find out before any work whether a page can be made.

    Raises:
        MissingExtraError: Bokeh is not installed.
    """
    try:
        importlib.import_module("bokeh.server.server")
    except ImportError as error:
        fix = 'pip install "phlox[explore]"'
        raise MissingExtraError("bokeh", got=str(error), fix=fix, where=where) from error


class PageServer:
    """A page for each visitor, made by a function of a Bokeh document.

    What asks by another name than the server's own is refused, and so is a connection that another site's page opens:
    a site that a person visits cannot reach the page, not even by a name that leads to this machine.

    Arguments:
        make: fills a document.
        host, port: where it listens; port 0 for one that is free.
        hosts: further names by which it may be asked.
    """

    def __init__(self, make: Callable[[Any], None], host: str, port: int, hosts: Sequence[str]):
        self._make = make
        self._socket = _bound(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        names = dict.fromkeys([*_LOCAL, _bracketed(host), *hosts])
        self.allowed = [name if name.rpartition(":")[2].isdecimal() else f"{name}:{self.port}" for name in names]
        self._failed: BaseException | None = None
        self._loop: Any = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="px.interpret.explore page", daemon=True)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{'127.0.0.1' if self.host in ('', '0.0.0.0') else _bracketed(self.host)}:{self.port}"

    def start(self) -> None:
        """Answer, from a thread."""
        started = threading.Event()
        self._started = started
        self._thread.start()
        started.wait()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Answer no more."""
        if self._loop is not None:
            self._loop.add_callback(self._loop.stop)
        self._thread.join()

    def wait(self) -> None:
        """Wait until it is stopped."""
        self._ended.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            self._serve()
        except BaseException as error:
            self._failed = error
        finally:
            self._started.set()
            self._ended.set()

    def _serve(self) -> None:
        from bokeh.application import Application
        from bokeh.application.handlers.function import FunctionHandler
        from bokeh.server.server import BaseServer
        from bokeh.server.tornado import BokehTornado
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import IOLoop

        self._loop = IOLoop.current()
        page = BokehTornado(
            {"/": Application(FunctionHandler(self._make))}, extra_websocket_origins=self.allowed,
            websocket_max_message_size_bytes=_WIDEST,
        )  # fmt: skip
        http = HTTPServer(_only(self.allowed, page))
        http.add_sockets([self._socket])
        server = BaseServer(self._loop, page, http)
        server.start()
        self._started.set()
        self._loop.start()
        server.stop(wait=False)
        self._loop.run_sync(http.close_all_connections)
        self._loop.close()


def _only(allowed: Sequence[str], page: Any) -> Any:
    """The page for requests by its own names, a refusal for all others."""
    from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter
    from tornado.web import Application, RequestHandler

    class OwnName(Matcher):
        def match(self, request: Any) -> dict[str, Any] | None:
            return {} if request.host.lower() in allowed else None

    class Refusal(RequestHandler):
        def prepare(self) -> None:
            self.set_status(403)
            self.finish(f"This page is at {' or '.join(allowed)}, and answers by no other name.\n")

    return RuleRouter([Rule(OwnName(), page), Rule(AnyMatches(), Application([(r".*", Refusal)]))])


def _bound(host: str, port: int) -> socket.socket:
    if not isinstance(port, int) or not 0 <= port < 65536:
        raise RangeError("a port from 0 to 65535", got=repr(port), fix="0 takes a free one", where=_WHERE)
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
        made.setblocking(False)
    except OSError as error:
        made.close()
        fix = "choose another port, or 0 for a free one"
        got = error.strerror or str(error)
        raise RangeError(f"{host}:{port} to be free", got=got, fix=fix, where=_WHERE) from error
    return made


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
