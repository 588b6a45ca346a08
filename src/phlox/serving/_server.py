"""The server: what it is told, and how its life begins and ends."""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from phlox.core import MissingExtraError, OptionError, RangeError, describe
from phlox.serving._keys import Keys
from phlox.serving._limits import Limits
from phlox.serving._settings import Settings
from phlox.serving.engine._opening import Opening
from phlox.serving.engine._servable import Servable
from phlox.serving.language._opening import Language
from phlox.serving.recording._recording import Recording
from phlox.serving.repository._layout import is_name
from phlox.serving.tracing._tracing import Tracing

_PACKAGES = ("uvicorn", "httptools", "orjson", "prometheus_client")


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
        recording: which requests are written into files, and what of them.
        tracing: where traces of requests go.

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

    settings: Settings
    """What it is told, but for its ports."""
    port: int
    grpc_port: int | None

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
        recording: Recording | None = None,
        tracing: Tracing | None = None,
    ):
        more = () if config is None and grpc_port is None else ("google.protobuf",)
        _require((*_PACKAGES, *(() if grpc_port is None else ("grpc",)), *more), "px.serving.Server")
        self.settings = Settings(
            source=_source(source),
            host=host,
            limits=limits or Limits(),
            how=Opening(inputs, tuple(allow), language or Language()),
            memory=memory,
            config=None if config is None else Path(config),
            poll=poll,
            keys=None if token is None else Keys([token] if isinstance(token, str) else token),
            certificate=certificate,
            key=key,
            journal=journal,
            requests=requests,
            recording=recording,
            tracing=tracing,
        )
        self.port, self.grpc_port = port, grpc_port
        for number in (port, 0 if grpc_port is None else grpc_port):
            if not isinstance(number, int) or not 0 <= number < 65536:
                fix = "0 takes a free one"
                raise RangeError("a port from 0 to 65535", got=repr(number), fix=fix, where="px.serving.Server")
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], None] | None = None
        self._failed: BaseException | None = None

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:8501``."""
        return self.settings.url(self.port)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; what has been asked by then is answered."""
        self._live(self._bound(), signals=True)

    def __enter__(self) -> Server:
        return self.start()

    def start(self) -> Server:
        """Serve in a thread beside you; gives the server, when all its models are loaded."""
        listener, started = self._bound(), threading.Event()
        self._thread = threading.Thread(
            target=self._in_thread, args=(listener, started), name="px.serving", daemon=True
        )
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

    def _in_thread(self, listener: socket.socket, started: threading.Event) -> None:
        try:
            self._live(listener, began=started.set)
        except BaseException as error:
            self._failed = error
        finally:
            started.set()

    def _live(
        self, listener: socket.socket, *, signals: bool = False, began: Callable[[], None] = lambda: None
    ) -> None:
        from phlox.serving._life import Life

        def serves() -> None:
            self.grpc_port = life.grpc_port
            began()

        def can_be_stopped(stop: Callable[[], None]) -> None:
            self._stop = stop

        life = Life(self.settings, listener, self.grpc_port, began=serves)
        life.run(signals=signals, stopper=can_be_stopped)

    def _bound(self) -> socket.socket:
        """The socket that listens; ``port`` is its port from then on."""
        made = bound(self.settings.host, self.port)
        self.port = made.getsockname()[1]
        return made


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that is bound to an address.

    Arguments:
        host, port: the address; port 0 for one that is free.
        shared: whether other processes of this user may listen there too.

    Raises:
        RangeError: it is taken.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        fix = "choose another port, or 0 for a free one"
        raise RangeError(
            f"{host}:{port} to be free", got=error.strerror or str(error), fix=fix, where="px.serving"
        ) from error
    return made


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


def _require(packages: Iterable[str], where: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            name = {"grpc": "grpcio", "google.protobuf": "protobuf"}.get(package, package.replace("_", "-"))
            raise MissingExtraError(name, got="none", fix='pip install "phlox[serve]"', where=where)
