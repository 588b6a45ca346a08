"""The life of a server, from its first look at the models to the last answer; alone, or as a worker."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phlox.core import PhloxError
from phlox.serving._errors import UnavailableError
from phlox.serving._settings import Settings, address
from phlox.serving.http._app import App
from phlox.serving.http._journal import Journal, JournalHandler
from phlox.serving.http._listening import Listening
from phlox.serving.http._metrics import Metrics
from phlox.serving.http._service import Service
from phlox.serving.language._opening import is_model_folder
from phlox.serving.recording._recorder import Recorder
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._rollout import roll_back, tallies, verdicts
from phlox.serving.tracing._tracing import Tracing
from phlox.serving.workers._place import Place
from phlox.serving.workers._shared import Following, SharedRepository

_NOTING = 10  # of a worker's beats, one in so many tells of queues and memory
_LOGS = ("uvicorn.error", "opentelemetry")  # whose lines are the journal's too
_JUDGING = 0.2  # seconds between looks at versions that are tried
_ENDINGS = (signal.SIGTERM, signal.SIGINT)


class Life:
    """One server while it runs.

    Arguments:
        settings: what it is told.
        listener: a socket that is bound.
        grpc_port: where it listens for gRPC, 0 for a port that is free; None for nowhere.
        place: of a worker among others.
        began: called when it serves.
    """

    port: int
    grpc_port: int | None

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        grpc_port: int | None,
        place: Place | None = None,
        began: Callable[[], None] = lambda: None,
    ):
        self.settings, self.place, self.grpc_port = settings, place, grpc_port
        self.port = listener.getsockname()[1]
        self._listener, self._began = listener, began
        self.metrics = Metrics(place)
        self.journal = Journal(settings.journal, requests=settings.requests, worker=place and place.slot)
        slot, recording = 0 if place is None else place.slot, settings.recording
        tracer = None if settings.tracing is None else _tracer(settings.tracing, slot)
        source, limits, happened = settings.source, settings.limits, self._happened
        told = (source, limits, settings.how, settings.memory, happened, self.metrics.ran, tracer)
        self.repository = Repository(*told) if place is None else SharedRepository(place, *told)
        self.metrics.watch(self.repository)
        recorder = None if recording is None else Recorder(recording, slot, self.journal.tell, self.metrics.recorded)
        self.service = Service(self.repository, self.metrics, self.journal, place, recorder, tracer)
        self._rpc: Any = None

    def run(self, *, signals: bool = False, stopper: Callable[[Callable[[], None]], None] = lambda stop: None) -> None:
        """Serve until it is told to stop.

        Arguments:
            signals: whether SIGTERM and SIGINT stop it.
            stopper: called with what stops it, from any thread.
        """
        try:
            with _handlers_as_before(signals), asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve(signals, stopper))
        finally:
            self._listener.close()

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:8501``."""
        return self.settings.url(self.port)

    async def _serve(self, signals: bool, stopper: Callable[[Callable[[], None]], None]) -> None:
        leave, loop = asyncio.Event(), asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(leave.set)

        stopper(stop)
        for number in _ENDINGS if signals else ():
            loop.add_signal_handler(number, leave.set)
        listening = self._listening(App(self.service, self.settings.keys))
        serving = listening.start()
        beside = [asyncio.ensure_future(self._keep()), asyncio.ensure_future(self._judge())]
        lines, logs = JournalHandler(self.journal), [logging.getLogger(name) for name in _LOGS]
        for log in logs:
            log.addHandler(lines)
        try:
            if self.place is None:
                await self._start_rpc()
            else:
                beside.append(asyncio.ensure_future(self._stand(self.place, listening, leave)))
            await self._begin(serving, leave)
            await _first(asyncio.ensure_future(leave.wait()), serving)
            if serving.done():
                serving.result()  # it ends by itself where something is wrong alone
            self._tell("leaving", {"url": self.url})
            await self._leave(listening)
        finally:
            for task in beside:
                task.cancel()
            if self._rpc is not None:
                await self._rpc.stop()
            listening.end()
            await asyncio.wait([serving, *beside])
            await self.repository.close()
            for one in (self.service.recorder, self.service.tracer):
                if one is not None:
                    await loop.run_in_executor(None, one.close)
            for log in logs:
                log.removeHandler(lines)
            self._tell("left", {"url": self.url})

    def _tell(self, event: str, told: Mapping[str, Any]) -> None:
        """Write down where it stands; of a worker, so that nobody takes it for the whole."""
        self.journal.tell(event if self.place is None else f"worker {event}", told)

    def _happened(self, event: str, told: Mapping[str, Any]) -> None:
        """Take note of what happens to models."""
        self.journal.tell(event, told)
        if event == "rolled back":
            self.metrics.rolled_back(told["model"], told["to"])

    async def _leave(self, listening: Listening) -> None:
        """Take no more connections, and answer what is asked on those that there are."""
        if self.place is not None:
            self.place.leave()
        await listening.stop_listening()
        self.repository.leaving = True
        await asyncio.gather(listening.drain(), *([] if self._rpc is None else [self._rpc.stop()]))

    async def _start_rpc(self) -> None:
        if self.grpc_port is None:
            return
        from phlox.serving.rpc._server import Rpc

        told = self.settings
        self._rpc = Rpc(self.service, told.keys)
        files = [None if f is None else Path(f).read_bytes() for f in (told.certificate, told.key)]
        self.grpc_port = await self._rpc.start(address(told.host, self.grpc_port), *files)

    async def _begin(self, serving: asyncio.Future[None], leave: asyncio.Event) -> None:
        """Load what is there. Health is answered meanwhile; a source that cannot be read ends the server."""
        loading = asyncio.ensure_future(self._load())
        await _first(loading, asyncio.ensure_future(leave.wait()), serving, keep=True)
        if not loading.done():
            loading.cancel()
            return
        loading.result()
        source, models = self.settings.source, self.repository.models
        if isinstance(source, Path) and not any(m.available() for m in models.values()):
            errors = [v.error for m in models.values() for v in m.versions.values() if v.error]
            if errors and len(models) == 1 and not _is_folder_of_models(source):
                raise UnavailableError("a model that loads", got=errors[0], fix="see above", where=str(source))
        if self.place is not None:
            await self._start_rpc()  # the system gives it its share of calls from then on
            self.place.serve()
        told = {} if self.grpc_port is None else {"grpc": address(self.settings.host, self.grpc_port)}
        self._tell("serving", {"url": self.url, **told, "models": sorted(models)})
        self._began()

    async def _load(self) -> None:
        config, repository = self.settings.config, self.repository
        if config is None:
            await repository.refresh()
        else:
            from phlox.serving.rpc._config import read_config

            with suppress(UnavailableError):  # one that fails to load is told of, and leaves the others serving
                await repository.configure(read_config(config, self.settings.source))
        if isinstance(repository, SharedRepository):
            await repository.catch_up()

    async def _keep(self) -> None:
        """Look at the folder again and again."""
        while isinstance(self.settings.source, Path):
            await asyncio.sleep(self.settings.poll)
            try:
                await self.repository.refresh()
            except PhloxError as error:
                self.journal.tell("folder", {"error": str(error)})
            except OSError as error:
                self.journal.tell("folder", {"error": f"{type(error).__name__}: {error}"})

    async def _judge(self) -> None:
        """Put versions back that are worse than they may be."""
        while isinstance(self.settings.source, Path):
            await asyncio.sleep(_JUDGING)
            for model, _, why in list(verdicts(self.repository, self.service.tallies)):
                try:
                    await roll_back(self.repository, model, why)
                except (PhloxError, OSError) as error:
                    self.journal.tell("rollback", {"model": model, "why": why, "error": str(error)})

    async def _stand(self, place: Place, listening: Listening, leave: asyncio.Event) -> None:
        """Be one of several: tell the others how this one stands, and do what was ordered of one of them."""
        assert isinstance(self.repository, SharedRepository)
        async with Following(self.repository):
            for beat in itertools.count():
                place.enter(ready=self.repository.ready, connections=listening.connections)
                if beat % _NOTING == 0:
                    self.metrics.note()
                place.tell(tallies(self.repository))
                if place.is_orphan:
                    leave.set()
                await asyncio.sleep(place.BEAT)

    def _listening(self, app: App) -> Listening:
        files: dict[str, str] = {}
        if self.settings.certificate is not None and self.settings.key is not None:
            files = {"ssl_certfile": os.fspath(self.settings.certificate), "ssl_keyfile": os.fspath(self.settings.key)}
        return Listening(app, self._listener, self.settings.limits, files, self.place)


def _tracer(tracing: Tracing, slot: int) -> Any:
    from phlox.serving.tracing._tracer import Tracer

    return Tracer(tracing, slot)


async def _first(*tasks: asyncio.Future[Any], keep: bool = False) -> None:
    """Wait for the first of several; let go of those that wait for an event."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if not keep and not tasks[0].done():
        tasks[0].cancel()


def _is_folder_of_models(source: Path) -> bool:
    return source.is_dir() and not (source / "bundle.json").is_file() and not is_model_folder(source)


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
