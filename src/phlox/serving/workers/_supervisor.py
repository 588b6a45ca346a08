"""px.serving.Workers: several processes behind one port, started, looked after, and ended together."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from phlox.core import OptionError, RangeError, describe
from phlox.parallel import THREADS, cores, share_of
from phlox.serving._errors import UnavailableError
from phlox.serving._server import Server, bound
from phlox.serving._settings import address
from phlox.serving.http._journal import Journal
from phlox.serving.workers._board import Board, Stage
from phlox.serving.workers._files import fault_path, now_path, tally_path
from phlox.serving.workers._restarts import Restarts
from phlox.serving.workers._told import Told

_COMMAND = (sys.executable, "-c", "from phlox.serving.workers._worker import main; main()")
_LOOK = 0.02  # seconds between looks at the workers
_GRACE = 10.0  # seconds beyond those of draining, before a worker is killed
_WHERE = "px.serving.Workers"


class Workers:
    """A server in several processes behind one port, each with its models and its share of the cores.

    All take connections from one socket, who has fewer of them first. A worker that ends is started again, after a
    pause that grows where it ends again soon; one that ends again and again within a minute of its start ends all.

    Arguments:
        server: what is served, and how; it is not started itself.
        count: how many workers.
        restarts: how often in a row one of them may end within a minute of its start.

    Raises:
        OptionError: no server, or one of objects: other processes have them not.
        RangeError: a number below 1.

    >>> import tempfile, phlox as px
    >>> folder = tempfile.mkdtemp()
    >>> workers = px.serving.Workers(px.serving.Server(folder, port=0), 4)
    >>> workers.count
    4
    """

    server: Server
    count: int
    restarts: int

    def __init__(self, server: Server, count: int, *, restarts: int = 8):
        if not isinstance(server, Server) or not isinstance(server.settings.source, Path):
            got = describe(server) if not isinstance(server, Server) else "servables by name"
            fix = "export the model, and give the folder: Workers(Server(FOLDER), 4)"
            raise OptionError("a server of a folder or file", got=got, fix=fix, where=_WHERE)
        if server.settings.tracing is not None and server.settings.tracing.provider is not None:
            fix = "give the address of a collector: Tracing(URL)"
            raise OptionError("tracing by an endpoint", got="a provider of this process", fix=fix, where=_WHERE)
        for name, number in (("count", count), ("restarts", restarts)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise RangeError(f"{name} from 1", got=repr(number), fix="leave it out, or choose 2", where=_WHERE)
        self.server, self.count, self.restarts = server, count, restarts
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._workers: list[_Worker] = []

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:8501``."""
        return self.server.url

    @property
    def grpc_port(self) -> int | None:
        """Where they listen for gRPC."""
        return self.server.grpc_port

    @property
    def pids(self) -> list[int | None]:
        """The process of each worker; None for one that has ended and is to be started again."""
        return [worker.pid for worker in self._workers]

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; what has been asked by then is answered.

        Raises:
            UnavailableError: a worker ends again and again.
            PhloxError: what a worker fails with before any serves.
        """

        def leave(number: int, frame: FrameType | None) -> None:
            self._leave.set()

        before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._run(lambda: None)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> Workers:
        """Serve beside you; gives the workers, when all of them serve."""
        began = threading.Event()
        self._thread = threading.Thread(target=self._in_thread, args=(began,), name="px.serving.workers", daemon=True)
        self._thread.start()
        began.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed
        return self

    def stop(self) -> None:
        """Answer what has been asked, and end.

        Raises:
            UnavailableError: they had given up before.
        """
        self._leave.set()
        if self._thread is not None:
            self._thread.join()
            failed, self._failed = self._failed, None
            if failed is not None:
                raise failed

    def __enter__(self) -> Workers:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _in_thread(self, began: threading.Event) -> None:
        try:
            self._run(began.set)
        except BaseException as error:
            self._failed = error
        finally:
            began.set()

    def _run(self, began: Callable[[], None]) -> None:
        """Bind the ports, start all, look after them until the end."""
        self._leave.clear()
        settings, server = self.server.settings, self.server
        journal = Journal(settings.journal)
        with ExitStack() as stack:
            listener = stack.enter_context(bound(settings.host, server.port))
            listener.listen(2048)
            server.port = listener.getsockname()[1]
            if server.grpc_port is not None:
                reserved = stack.enter_context(bound(settings.host, server.grpc_port, shared=True))
                server.grpc_port = reserved.getsockname()[1]
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phlox-serving-")))
            board = Board(folder / "board", self.count)
            self._workers = [_Worker(n, self, folder, listener, board, journal) for n in range(self.count)]
            try:
                for worker in self._workers:
                    worker.start()
                self._look_after(board, journal, began)
            finally:
                journal.tell("leaving", {"url": self.url})
                listener.close()  # before theirs: who closes it last has taken all connections
                self._end()
                journal.tell("left", {"url": self.url})

    def _look_after(self, board: Board, journal: Journal, began: Callable[[], None]) -> None:
        """Start again who has ended, until it is time to leave."""
        served = False
        while not self._leave.wait(_LOOK):
            for worker in self._workers:
                worker.look(first=not served)
            if not served and len(board.serving()) == self.count:
                served = True
                host, port = self.server.settings.host, self.grpc_port
                grpc = {} if port is None else {"grpc": address(host, port)}
                journal.tell("serving", {"url": self.url, **grpc, "workers": self.count})
                began()

    def _end(self) -> None:
        """Tell all to leave, and wait; who does not leave in time is killed."""
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        end = time.monotonic() + self.server.settings.limits.draining + _GRACE
        for worker in self._workers:
            if not worker.wait(end - time.monotonic()):
                worker.send(signal.SIGKILL)
                worker.wait(_GRACE)


class _Worker:
    """One slot, and the process that is in it."""

    def __init__(
        self, slot: int, workers: Workers, folder: Path, listener: socket.socket, board: Board, journal: Journal
    ):
        self.slot, self._workers, self._folder = slot, workers, folder
        self._listener, self._board, self._journal = listener, board, journal
        self._restarts = Restarts(workers.restarts)
        self._process: subprocess.Popen[bytes] | None = None
        self._again: float | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Start a process."""
        self._again = None
        self._board.enter(self.slot, Stage.STARTING)
        self._board.started(self.slot)
        mine = share_of(cores(), self.slot, self._workers.count)
        settings, port = self._workers.server.settings, self._workers.server.grpc_port
        told = Told(
            settings.elsewhere(), self.slot, self._workers.count, self._folder, self._listener.fileno(), port,
            settings.journal is not None,
        )  # fmt: skip
        self._process = subprocess.Popen(
            _COMMAND,
            env={**dict.fromkeys(THREADS, str(max(1, len(mine)))), **os.environ, **_path()},
            stdin=subprocess.PIPE,
            pass_fds=[self._listener.fileno()],
            start_new_session=True,  # Ctrl-C comes to this process alone, which tells the workers
        )
        if hasattr(os, "sched_setaffinity") and mine:
            with suppress(OSError):  # it has ended already
                os.sched_setaffinity(self._process.pid, mine)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(pickle.dumps(told))

    def look(self, *, first: bool) -> None:
        """See whether it serves, or has ended, or is to be started again.

        Arguments:
            first: whether not all have served yet; then an error of ours ends all.

        Raises:
            PhloxError: such an error.
            UnavailableError: it has ended once too often.
        """
        if self._process is None:
            if self._again is not None and time.monotonic() >= self._again:
                self.start()
            return
        if self._board.stage(self.slot) is Stage.SERVING:
            self._restarts.serves()
        status = self._process.poll()
        if status is not None:
            self._ended(status, first)

    def send(self, number: int) -> None:
        """Send it a signal."""
        if self._process is not None:
            with suppress(OSError):
                self._process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has."""
        if self._process is not None:
            try:
                self._process.wait(max(0.0, seconds))
            except subprocess.TimeoutExpired:
                return False
        return True

    def _ended(self, status: int, first: bool) -> None:
        self._process = None
        self._board.enter(self.slot, Stage.GONE)
        for path in (now_path, tally_path):  # what it counted for good stays
            path(self._folder, self.slot).unlink(missing_ok=True)
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        fault = fault_path(self._folder, self.slot)
        if first and fault.exists():
            error: Any = pickle.loads(fault.read_bytes())  # the worker's own, in a folder of this user alone
            raise error
        pause = self._restarts.pause()
        told: dict[str, Any] = {"worker": self.slot, "how": how}
        if fault.exists():
            told["error"] = str(pickle.loads(fault.read_bytes()))
            fault.unlink()
        if pause is None:
            self._journal.tell("given up", told)
            times = self._workers.restarts
            got = f"worker {self.slot} ended {times} times in a row within a minute of its start, the last {how}"
            fix = "look at what it wrote last"
            raise UnavailableError("workers that stay", got=got, fix=fix, where=_WHERE)
        self._journal.tell("worker ended", {**told, "seconds": pause})
        self._again = time.monotonic() + pause


def _path() -> dict[str, str]:
    """Where this process found its modules: the workers find the same."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
