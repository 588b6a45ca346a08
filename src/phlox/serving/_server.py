"""The server: sockets, signals, draining."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from phlox.core import MissingExtraError, OptionError, PhloxError, RangeError, describe
from phlox.serving._errors import UnavailableError
from phlox.serving._keys import Keys
from phlox.serving._limits import Limits
from phlox.serving.engine._opening import Opening
from phlox.serving.engine._servable import Servable
from phlox.serving.language._opening import Language, is_model_folder
from phlox.serving.repository._layout import is_name
from phlox.serving.repository._repository import Repository
from phlox.weights import file_error

if TYPE_CHECKING:
    import uvicorn

_PACKAGES = ("uvicorn", "httptools", "orjson", "prometheus_client")
_ENDINGS = (signal.SIGTERM, signal.SIGINT)
_SETTLING = 0.2  # seconds without a request in flight before idle connections are closed


class Server:
    """Models behind HTTP: TensorFlow Serving's REST, KServe's version 2, OpenAI's protocol, and a plain form.

    ``run()`` serves until it is told to stop; in a ``with`` block the server runs in a thread beside it.

    Arguments:
        source: a folder of models, ``NAME/VERSION/`` each a bundle or an ONNX file; one bundle, ONNX file or file of
            ``px.save``; the folder of a model of text with its tokenizer, as the hub has it; or servables by name.
        host, port: where it listens; port 0 for one that is free.
        grpc_port: where it listens for gRPC; None for nowhere.
        limits: what it takes on.
        inputs: what a file of ``px.save`` takes, as for ``px.export``.
        allow: packages, classes and functions that a model may name, as for ``px.load``.
        language: how folders of models of text are served.
        memory: bytes of weights that may be loaded; by default what the machine has.
        config: a file of TensorFlow Serving's, ``model_config_list``: which models of the folder are served, and which
            of their versions; ``base_path`` may lead nowhere else.
        poll: seconds between looks at the folder.
        token: what a client must send as ``Authorization: Bearer``, or several of them, one for each client; health
            alone is told without.
        certificate, key: files in PEM, for TLS.
        journal: a stream for a line of JSON at each event.
        requests: a line for each request too.

    Raises:
        MissingExtraError: a package is missing.
        FileError: there is nothing at the source.
        OptionError, RangeError: something else.

    >>> import json, urllib.request, numpy as np, phlox as px
    >>> class Doubler(px.serving.Servable):
    ...     def predict(self, signature, inputs):
    ...         return {"y": 2 * inputs["x"]}
    >>> doubler = Doubler(inputs={"x": px.Spec("batch", 2)}, outputs={"y": px.Spec("batch", 2)})
    >>> with px.serving.Server({"doubler": doubler}, port=0) as server:
    ...     url = server.url + "/v1/models/doubler:predict"
    ...     json.load(urllib.request.urlopen(url, b'{"instances": [[1, 2]]}'))
    {'predictions': [[2.0, 4.0]]}
    """

    source: Path | dict[str, Servable]
    host: str
    grpc_port: Any
    limits: Limits
    how: Opening
    memory: int | None
    poll: float
    keys: Keys | None
    journal: TextIO | None
    requests: bool
    certificate: str | os.PathLike[str] | None
    key: str | os.PathLike[str] | None
    config: Path | None

    port: int

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Servable],
        *,
        host: str = "127.0.0.1",
        port: int = 8501,
        grpc_port: int | None = None,
        limits: Limits | None = None,
        inputs: Mapping[str, Any] | None = None,
        allow: Iterable[Any] = (),
        language: Language | None = None,
        memory: int | None = None,
        config: str | os.PathLike[str] | None = None,
        poll: float = 1.0,
        token: str | Sequence[str] | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        journal: TextIO | None = None,
        requests: bool = False,
    ):
        more = ("google.protobuf",) if config is not None else ()
        more = more if grpc_port is None else ("grpc", "google.protobuf")
        _require((*_PACKAGES, *more), "px.serving.Server")
        self.source = _source(source)
        self.host, self.port, self.grpc_port, self.limits = host, port, grpc_port, limits or Limits()
        self.how, self.memory, self.poll = Opening(inputs, tuple(allow), language or Language()), memory, poll
        self.keys = None if token is None else Keys([token] if isinstance(token, str) else token)
        self.journal, self.requests = journal, requests
        self.certificate, self.key = certificate, key
        self.config = None if config is None else Path(config)
        self._check()
        self._thread: threading.Thread | None = None
        self._stop: Any = None
        self._failed: BaseException | None = None

    def _check(self) -> None:
        where = "px.serving.Server"
        for port in (self.port, 0 if self.grpc_port is None else self.grpc_port):
            if not isinstance(port, int) or not 0 <= port < 65536:
                raise RangeError("a port from 0 to 65535", got=repr(port), fix="0 takes a free one", where=where)
        if not self.poll > 0:
            raise RangeError("poll above 0", got=repr(self.poll), fix="leave it out for a second", where=where)
        if (self.certificate is None) != (self.key is None):
            fix = "give both files, in PEM"
            raise OptionError("a certificate and its key", got="one of them", fix=fix, where=where)

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:8501``."""
        return f"{'http' if self.certificate is None else 'https'}://{_address(self.host, self.port)}"

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; what has been asked by then is answered."""
        self._listener = self._bound()
        self._run(signals=True)

    def __enter__(self) -> Server:
        return self.start()

    def start(self) -> Server:
        """Serve in a thread beside you; gives the server, when all its models are loaded."""
        self._listener = self._bound()
        started = threading.Event()
        self._thread = threading.Thread(target=self._in_thread, args=(started,), name="px.serving", daemon=True)
        self._thread.start()
        started.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer what has been asked, and end; waits for it where the server runs in a thread."""
        if self._stop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _in_thread(self, started: threading.Event) -> None:
        try:
            self._run(started=started)
        except BaseException as error:
            self._failed = error
        finally:
            started.set()

    def _bound(self) -> socket.socket:
        """The socket that listens; ``port`` is its port from then on."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.host, self.port))
        except OSError as error:
            made.close()
            fix = "choose another port, or 0 for a free one"
            raise RangeError(
                f"{self.host}:{self.port} to be free", got=error.strerror or str(error), fix=fix, where="px.serving"
            ) from error
        self.port = made.getsockname()[1]
        return made

    def _run(self, *, signals: bool = False, started: threading.Event | None = None) -> None:
        try:
            with _handlers_as_before(signals), asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve(signals, started))
        finally:
            self._listener.close()

    async def _serve(self, signals: bool, started: threading.Event | None) -> None:
        from phlox.serving.http._app import App
        from phlox.serving.http._journal import Journal, JournalHandler
        from phlox.serving.http._metrics import Metrics

        metrics, journal = Metrics(), Journal(self.journal, requests=self.requests)
        repository = Repository(self.source, self.limits, self.how, self.memory, journal.tell, metrics.ran)
        metrics.watch(repository)
        app = App(repository, self.keys, metrics, journal)
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(leave.set)
        if signals:
            for number in _ENDINGS:
                loop.add_signal_handler(number, leave.set)
        server = self._uvicorn(app)
        serving = asyncio.ensure_future(server.serve(sockets=[self._listener]))
        polling = asyncio.ensure_future(self._keep(repository, journal))
        lines, logs = JournalHandler(journal), logging.getLogger("uvicorn.error")
        logs.addHandler(lines)
        rpc: Any = None
        try:
            if self.grpc_port is not None:
                from phlox.serving.rpc._server import Rpc

                rpc = Rpc(repository, self.limits, self.keys, metrics, journal)
                files = [None if f is None else Path(f).read_bytes() for f in (self.certificate, self.key)]
                self.grpc_port = await rpc.start(_address(self.host, self.grpc_port), *files)
            await self._begin(repository, journal, serving, leave)
            if started is not None:
                started.set()
            await _first(asyncio.ensure_future(leave.wait()), serving)
            if serving.done():
                serving.result()  # it ends by itself where something is wrong alone
            journal.tell("leaving", {"url": self.url})
            await self._stop_listening(server)
            repository.leaving = True
            await asyncio.gather(self._drain(server), *([] if rpc is None else [rpc.stop()]))
        finally:
            polling.cancel()
            if rpc is not None:
                await rpc.stop()
            server.should_exit = True
            await asyncio.wait([serving, polling])
            await repository.close()
            logs.removeHandler(lines)
            journal.tell("left", {"url": self.url})

    async def _begin(self, repository: Repository, journal: Any, serving: Any, leave: asyncio.Event) -> None:
        """Load what is there. Health is answered meanwhile; a source that cannot be read ends the server."""
        loading = asyncio.ensure_future(self._load(repository))
        await _first(loading, asyncio.ensure_future(leave.wait()), serving, keep=True)
        if loading.done():
            loading.result()
        else:
            loading.cancel()
            return
        if isinstance(self.source, Path) and not any(m.available() for m in repository.models.values()):
            errors = [v.error for m in repository.models.values() for v in m.versions.values() if v.error]
            if errors and len(repository.models) == 1 and not _is_folder_of_models(self.source):
                raise UnavailableError("a model that loads", got=errors[0], fix="see above", where=str(self.source))
        told = {} if self.grpc_port is None else {"grpc": _address(self.host, self.grpc_port)}
        journal.tell("serving", {"url": self.url, **told, "models": sorted(repository.models)})

    async def _load(self, repository: Repository) -> None:
        if self.config is None:
            await repository.refresh()
            return
        from phlox.serving.rpc._config import read_config

        with suppress(UnavailableError):  # one that fails to load is told of, and leaves the others serving
            await repository.configure(read_config(self.config, self.source))

    async def _keep(self, repository: Repository, journal: Any) -> None:
        """Look at the folder again and again."""
        while isinstance(self.source, Path):
            await asyncio.sleep(self.poll)
            try:
                await repository.refresh()
            except PhloxError as error:
                journal.tell("folder", {"error": str(error)})
            except OSError as error:
                journal.tell("folder", {"error": f"{type(error).__name__}: {error}"})

    async def _stop_listening(self, server: uvicorn.Server) -> None:
        """Take no new connection. One that the system has taken already is one of ours: closing would reset it."""
        loop, config = asyncio.get_running_loop(), server.config
        spare = self._listener.dup()
        spare.setblocking(False)
        for one in getattr(server, "servers", ()):
            one.close()
        await asyncio.sleep(0)
        state = server.lifespan.state

        def protocol() -> Any:
            made: Any = config.http_protocol_class
            return made(config=config, server_state=server.server_state, app_state=state, _loop=loop)

        with suppress(OSError), spare:
            while True:
                connection, _ = spare.accept()
                await loop.connect_accepted_socket(protocol, connection, ssl=config.ssl)

    async def _drain(self, server: uvicorn.Server) -> None:
        """Answer what comes on the connections that there are, until their clients have closed them, or are quiet."""
        loop = asyncio.get_running_loop()
        end, quiet = loop.time() + self.limits.draining, loop.time()
        while loop.time() < end and loop.time() - quiet < _SETTLING:
            if server.server_state.tasks:
                quiet = loop.time()
            await asyncio.sleep(0.01)

    def _uvicorn(self, app: Any) -> uvicorn.Server:
        import uvicorn

        from phlox.serving.http._protocol import protocol_of

        files: dict[str, Any] = {}
        if self.certificate is not None and self.key is not None:
            files = {"ssl_certfile": os.fspath(self.certificate), "ssl_keyfile": os.fspath(self.key)}
        config = uvicorn.Config(
            app, http=protocol_of(self.limits), ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, int(self.limits.idle)), server_header=False, backlog=2048,
            timeout_graceful_shutdown=max(1, int(self.limits.draining)), **files,
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            path = self.certificate or ""
            if error.errno is None or "ssl" in type(error).__module__:
                fix = "give a certificate and its key in PEM"
                raise RangeError("a certificate and its key", got=str(error)[:200], fix=fix, where=str(path)) from error
            raise file_error(error, path, "px.serving") from error

        class Quiet(uvicorn.Server):
            def install_signal_handlers(self) -> None:  # older uvicorn
                return

            async def serve(self, sockets: Any = None) -> None:
                await self._serve(sockets)  # without its handlers of signals: ours drain first

        return Quiet(config)


async def _first(*tasks: asyncio.Future[Any], keep: bool = False) -> None:
    """Wait for the first of several; let go of those that wait for an event."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if not keep and not tasks[0].done():
        tasks[0].cancel()


def _source(source: Any) -> Path | dict[str, Servable]:
    if isinstance(source, Mapping):
        for name, one in source.items():
            if not isinstance(name, str) or not isinstance(one, Servable):
                fix = "derive a class from px.serving.Servable; or export the model, and give the folder"
                raise OptionError("servables by name", got=f"{name!r}: {describe(one)}", fix=fix, where="px.serving")
            if not is_name(name):
                fix = "use letters, digits, _, - and ., at most 128 of them"
                raise RangeError("names that stand in an address", got=repr(name)[:150], fix=fix, where="px.serving")
        return dict(source)
    if not isinstance(source, str | os.PathLike):
        fix = "export the model, and give the folder; or derive a class from px.serving.Servable"
        raise OptionError("a path, or servables by name", got=describe(source), fix=fix, where="px.serving")
    return Path(source)


def _is_folder_of_models(source: Path) -> bool:
    return source.is_dir() and not (source / "bundle.json").is_file() and not is_model_folder(source)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _require(packages: Iterable[str], where: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            name = {"grpc": "grpcio", "google.protobuf": "protobuf"}.get(package, package.replace("_", "-"))
            raise MissingExtraError(name, got="none", fix='pip install "phlox[serve]"', where=where)


@contextmanager
def _handlers_as_before(signals: bool) -> Iterator[None]:
    """Behind the block signals go where they went before it; a loop of uvloop that is closed keeps its own."""
    before = {number: signal.getsignal(number) for number in _ENDINGS} if signals else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop_factory() -> Any:
    """uvloop's loop, where it is installed."""
    if sys.platform != "win32" and importlib.util.find_spec("uvloop") is not None:
        import uvloop

        return uvloop.new_event_loop
    return None
