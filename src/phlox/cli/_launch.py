"""phlox launch: a program in several processes of this machine, ended together, and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from phlox.cli._restarts import End, Restarts
from phlox.parallel import FOLDER, THREADS, cores, furthest, share_of

_GRACE = 15.0  # seconds that the others have to end by themselves, once one ended badly; then SIGTERM, then SIGKILL
_TERMINATION = 5.0  # seconds between the two
_LOOK = 0.1  # seconds between two looks, while a start is waited for, at whether a signal came
_LAST = 20  # lines of its error that are shown again


def launch(command: Sequence[str], processes: int, port: int | None = None, restarts: int = 0) -> int:
    """Run a program in so many processes until all have ended; returns the exit status.

    Each finds its place in the environment, where ``px.parallel.initialize()`` looks for it, and has its share of this
    machine's cores. Ctrl-C, SIGTERM and SIGUSR1 are handed on. Where one ends badly, the others are ended.

    Arguments:
        command: what follows ``python``.
        processes: how many.
        port: where they meet; by default a free one.
        restarts: how often all are started again where one ended badly: see ``Restarts``.

    Returns:
        That of the first process that ended badly, 128 and the number of the signal where one ended it; else 0. Of
        several starts, that of the last.
    """
    with _HandedOn() as signals, tempfile.TemporaryDirectory() as steps:
        policy = Restarts(restarts)
        while True:
            more = {FOLDER: steps, "PHLOX_RESTART": str(policy.count)} if restarts else {}
            status = _run(command, processes, port, more, signals)
            if not status or not restarts or signals.came:
                return status
            pause, told = policy.behind(End(status, _furthest(steps)))
            print(f"phlox launch: {told}", file=sys.stderr, flush=True)
            if pause is None or not _passed(pause, signals):
                return status


def _run(command: Sequence[str], processes: int, port: int | None, more: Mapping[str, str], signals: _HandedOn) -> int:
    """One start of all, to the end of all."""
    address = f"127.0.0.1:{port or _free_port()}"
    signals.go_to(())
    workers = [_started(command, number, processes, address, more) for number in range(processes)]
    signals.go_to(workers)
    return _Watch(workers).run()


def _furthest(folder: str) -> int | None:
    """The furthest step of this start; the next one begins without."""
    step = furthest(folder)
    for left in Path(folder).iterdir():
        left.unlink()
    return step


def _passed(pause: float, signals: _HandedOn) -> bool:
    """Wait; whether no signal came meanwhile."""
    until = time.monotonic() + pause
    while not signals.came and time.monotonic() < until:
        time.sleep(min(_LOOK, pause))
    return not signals.came


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class _Worker:
    """One of the processes, and the last lines that it wrote to standard error."""

    number: int
    process: subprocess.Popen[bytes]
    pumps: list[threading.Thread] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST))

    @property
    def status(self) -> int | None:
        """As a shell tells it, None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: int) -> None:
        with suppress(OSError):
            self.process.send_signal(number)


def _started(command: Sequence[str], number: int, processes: int, address: str, more: Mapping[str, str]) -> _Worker:
    mine = share_of(cores(), number, processes)
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**_environment(number, processes, address, len(mine)), **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C comes to this process alone, which hands it on
    )
    if hasattr(os, "sched_setaffinity") and mine:
        with suppress(OSError):  # it has ended already
            os.sched_setaffinity(process.pid, mine)
    worker = _Worker(number, process)
    for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
        assert stream is not None
        pump = threading.Thread(target=_passed_on, args=(stream, out, worker), daemon=True)
        pump.start()
        worker.pumps.append(pump)
    return worker


def _environment(number: int, processes: int, address: str, cores: int) -> dict[str, str]:
    mine = {
        "PHLOX_COORDINATOR": address,
        "PHLOX_PROCESSES": str(processes),
        "PHLOX_PROCESS": str(number),
        "JAX_COORDINATOR_BIND_ADDRESS": address,  # else it would listen to the whole network
        "PYTHONUNBUFFERED": "1",
    }
    chosen = {"JAX_LOCAL_DEVICE_IDS": str(number), **dict.fromkeys(THREADS, str(max(1, cores)))}
    return {**chosen, **os.environ, **mine}


def _passed_on(stream: IO[bytes], out: Any, worker: _Worker) -> None:
    """Each line that a process writes, behind its number."""
    with stream:
        for line in stream:
            text = line.decode(errors="replace")
            if out is sys.stderr:
                worker.last.append(text)
            with suppress(OSError, ValueError):  # a closed terminal ends no training
                out.write(f"[{worker.number}] {text}" if text.endswith("\n") else f"[{worker.number}] {text}\n")
                out.flush()


class _HandedOn:
    """Within the block, Ctrl-C, SIGTERM and SIGUSR1 go to all processes.

    Attributes:
        came: whether one came, after which nothing is started again.
    """

    came: bool

    def __init__(self) -> None:
        self.workers: Sequence[_Worker] = ()
        self.before: dict[int, Any] = {}
        self.came = False
        self._kept: list[int] = []  # those that came while nobody was there

    def __enter__(self) -> _HandedOn:
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", None)):
            if number is not None:
                self.before[number] = signal.signal(number, self._hand_on)
        return self

    def go_to(self, workers: Sequence[_Worker]) -> None:
        """Hand them on to these from here on, those too that came while nobody was there; to nobody is to keep them."""
        self.workers = workers
        while workers and self._kept:
            self._send(self._kept.pop(0))

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _hand_on(self, number: int, frame: Any) -> None:
        self.came = True
        if self.workers:
            self._send(number)
        else:
            self._kept.append(number)

    def _send(self, number: int) -> None:
        for worker in self.workers:
            worker.send(number)


class _Watch:
    """Waits for all processes, and ends all where one ends badly."""

    def __init__(self, workers: Sequence[_Worker]):
        self.workers = workers
        self.failed: _Worker | None = None
        self._changed = threading.Event()
        for worker in workers:
            threading.Thread(target=self._wait_for, args=(worker,), daemon=True).start()

    def _wait_for(self, worker: _Worker) -> None:
        worker.process.wait()
        if worker.status and self.failed is None:
            self.failed = worker
        self._changed.set()

    def run(self) -> int:
        """Wait; the exit status of all."""
        while self.failed is None and self._running():
            self._next()
        if self.failed is not None:
            self._end_the_others()
        for worker in self.workers:
            for pump in worker.pumps:
                pump.join(_TERMINATION)
        if self.failed is None:
            return 0
        self._tell(self.failed)
        return self.failed.status or 1

    def _running(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.process.poll() is None]

    def _next(self, seconds: float | None = None) -> None:
        """Wait until one has ended."""
        self._changed.wait(seconds)
        self._changed.clear()

    def _end_the_others(self) -> None:
        for seconds, number in ((_GRACE, signal.SIGTERM), (_TERMINATION, signal.SIGKILL)):
            until = time.monotonic() + seconds
            while self._running() and time.monotonic() < until:
                self._next(max(0.0, until - time.monotonic()))
            for worker in self._running():
                worker.send(number)
        while self._running():
            self._next(1.0)

    def _tell(self, worker: _Worker) -> None:
        code = worker.process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        lines = "".join(f"    {line}" if line.endswith("\n") else f"    {line}\n" for line in worker.last)
        told = f"; the end of its errors:\n{lines}" if lines else "\n"
        with suppress(OSError, ValueError):
            sys.stderr.write(f"phlox launch: process {worker.number} ended {how}, and so all were ended{told}")
            sys.stderr.flush()
