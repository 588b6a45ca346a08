"""The queue of one version: while a batch runs in its thread, the next one piles up."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from phlox.core import PhloxError
from phlox.serving._errors import DeadlineError, ModelFailedError, QueueFullError, UnavailableError
from phlox.serving.engine._rows import bucket_of
from phlox.serving.engine._runner import Outcome, Runner
from phlox.serving.engine._servable import Arrays

_LONGEST_WAIT = 60  # seconds that a client is asked to stay away at most


class Job:
    """A request in the queue."""

    __slots__ = ("arrived", "future", "inputs", "rows", "signature", "timer")

    def __init__(self, signature: str, inputs: Arrays, rows: int, future: asyncio.Future[Any], arrived: float):
        self.signature, self.inputs, self.rows, self.future, self.arrived = signature, inputs, rows, future, arrived
        self.timer: asyncio.TimerHandle | None = None


class Batcher:
    """Requests of one version, batched greedily: no request waits for others while the thread is free.

    All methods are called from one event loop. A batch holds requests of one bucket: one signature, dtypes and sizes
    behind the first. Of several buckets the one whose first request has waited longest is next.

    Arguments:
        runner: what runs, in a thread of its own.
        most: rows that run at once.
        limit: requests that wait or run.
        watch: called with rows and seconds after each batch.
        name: of the thread, and in errors.
    """

    def __init__(
        self, runner: Runner, *, most: int, limit: int, name: str, watch: Callable[[int, float], None] | None = None
    ):
        self.runner, self.most, self.limit, self.name, self.watch = runner, most, limit, name, watch
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Any, deque[Job]] = {}
        self._held = 0
        self._running: list[Job] = []
        self._planned = False
        self._per_second = 0.0
        self._batches: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._held

    @property
    def running(self) -> int:
        """Requests in the batch that runs."""
        return len(self._running)

    def submit(self, signature: str, inputs: Arrays, rows: int, seconds: float) -> asyncio.Future[Any]:
        """Put a request into the queue; the future gives its outputs. Cancelling it takes it out.

        Raises:
            QueueFullError: there is no room.
            UnavailableError: the version is being put away.
        """
        if self.closed:
            raise UnavailableError("a version that is served", got="one that is put away", where=self.name)
        if self._held + len(self._running) >= self.limit:
            self._sweep()
            if self._held + len(self._running) >= self.limit:
                raise self._full()
        job = Job(signature, inputs, rows, self._loop.create_future(), self._loop.time())
        job.timer = self._loop.call_later(seconds, self._expire, job, seconds)
        key = (signature, *bucket_of(inputs))
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(job)
        self._held += 1
        if not self._running and not self._planned:
            self._planned = True
            self._loop.call_soon(self._next)
        return job.future

    async def drain(self) -> None:
        """Take no more, answer what is there, and end the thread."""
        self.closed = True
        while self._held or self._running:
            await asyncio.sleep(0.01)
        self._batches.put(None)
        while self._thread.is_alive():
            await asyncio.sleep(0.002)

    def _next(self) -> None:
        """Give the thread what has piled up."""
        self._planned = False
        while self._lanes and not self._running:
            key = min(self._lanes, key=lambda k: self._lanes[k][0].arrived) if len(self._lanes) > 1 else None
            lane = self._lanes[next(iter(self._lanes)) if key is None else key]
            batch, rows = [], 0
            while lane and (not batch or rows + lane[0].rows <= self.most):
                job = lane.popleft()
                self._held -= 1
                if job.future.done():
                    _let_go(job)
                else:
                    batch.append(job)
                    rows += job.rows
            if not lane:
                del self._lanes[next(iter(self._lanes)) if key is None else key]
            if batch:
                self._running = batch
                self._batches.put(batch)

    def _work(self) -> None:
        """The thread: runs one batch after the other."""
        while (batch := self._batches.get()) is not None:
            start = time.perf_counter()
            try:
                found: Sequence[Outcome] = self.runner(
                    batch[0].signature, [job.inputs for job in batch], [job.rows for job in batch]
                )
            except BaseException as error:  # not even SystemExit of a model's code ends the queue
                found = [error] * len(batch)
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._loop.call_soon_threadsafe(self._done, batch, found, time.perf_counter() - start)

    def _done(self, batch: list[Job], found: Sequence[Outcome], seconds: float) -> None:
        self._running = []
        self._per_second += 0.2 * (len(batch) / max(seconds, 1e-6) - self._per_second)
        self._next()
        for job, outcome in zip(batch, found, strict=True):
            _let_go(job)
            if job.future.done():
                continue
            if isinstance(outcome, BaseException):
                job.future.set_exception(_told(outcome, self.name))
            else:
                job.future.set_result(outcome)
        if self.watch is not None:
            self.watch(sum(job.rows for job in batch), seconds)

    def _expire(self, job: Job, seconds: float) -> None:
        if not job.future.done():
            fix = "ask again later, or for fewer rows"
            job.future.set_exception(
                DeadlineError(f"an answer within {seconds:g} s", got="none yet", fix=fix, where=self.name)
            )

    def _sweep(self) -> None:
        """Take those out of the queue who no longer wait."""
        for key in list(self._lanes):
            lane = deque(job for job in self._lanes[key] if not job.future.done())
            self._held -= len(self._lanes[key]) - len(lane)
            if lane:
                self._lanes[key] = lane
            else:
                del self._lanes[key]

    def _full(self) -> QueueFullError:
        error = QueueFullError(
            f"at most {self.limit} requests at a time", got="one more", fix="ask again later", where=self.name
        )
        seconds = self._held / self._per_second if self._per_second else 1.0
        error.retry_after = min(_LONGEST_WAIT, max(1, math.ceil(seconds)))
        return error


def _let_go(job: Job) -> None:
    if job.timer is not None:
        job.timer.cancel()


def _told(error: BaseException, where: str) -> Exception:
    """An error of ours as it is; of all else, that the model's code failed."""
    if isinstance(error, PhloxError):
        return error
    got = f"{type(error).__name__}: {str(error)[:500]}"
    made = ModelFailedError("a model that runs", got=got, fix="look at its code", where=where)
    made.__cause__ = error
    return made
