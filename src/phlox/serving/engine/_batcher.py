"""The queue of one version: while a batch runs in its thread, the next one piles up. Quick ones need no thread."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple, Protocol

from phlox.core import PhloxError
from phlox.serving._errors import DeadlineError, ModelFailedError, QueueFullError, UnavailableError
from phlox.serving.engine._pace import Pace
from phlox.serving.engine._rows import bucket_of
from phlox.serving.engine._runner import Outcome, Runner
from phlox.serving.engine._servable import Arrays

_LONGEST_WAIT = 60  # seconds that a client is asked to stay away at most


class Job:
    """A request in the queue."""

    __slots__ = ("arrived", "future", "inputs", "rows", "signature", "timer", "trace")

    def __init__(self, signature: str, inputs: Arrays, rows: int, future: asyncio.Future[Any], arrived: float):
        self.signature, self.inputs, self.rows, self.future, self.arrived = signature, inputs, rows, future, arrived
        self.timer: asyncio.TimerHandle | None = None
        self.trace: Any = None


class Trace(Protocol):
    """Who follows requests through the queue."""

    def asked(self) -> Any:
        """What a request that goes into the queue is found by later."""
        ...

    def running(self, name: str, asked: Sequence[Any], rows: int) -> AbstractContextManager[None]:
        """A block in which a batch of such requests runs."""
        ...


class Batch(NamedTuple):
    """Requests that run at once, and what they have in common."""

    jobs: list[Job]
    form: Any


class Batcher:
    """Requests of one version, batched greedily: no request waits for others while the thread is free.

    All methods are called from one event loop. A batch holds requests of one bucket: one signature, dtypes and sizes
    behind the first. Of several buckets the one whose first request has waited longest is next. A batch that has shown
    that it is quick runs on the event loop's thread, one in each of its rounds, as two changes of thread take longer;
    and at once where the round before had no other request either.

    Arguments:
        runner: what runs, in a thread of its own.
        most: rows that run at once.
        limit: requests that wait or run.
        watch: called with rows and seconds after each batch.
        trace: follows requests.
        name: of the thread, and in errors.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        most: int,
        limit: int,
        name: str,
        watch: Callable[[int, float], None] | None = None,
        trace: Trace | None = None,
    ):
        self.runner, self.most, self.limit, self.name, self.watch = runner, most, limit, name, watch
        self.trace = trace
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Any, deque[Job]] = {}
        self._held = 0
        self._running: list[Job] = []
        self._pace = Pace(runner)
        self._planned, self._in_round, self._alone = False, 0, True
        self._per_second = 0.0
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
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
        if self.trace is not None:
            job.trace = self.trace.asked()
        key = (signature, *bucket_of(inputs))
        self._in_round += 1
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._round)
        if self._alone and self._in_round == 1 and not self._held and not self._running:
            form = self._pace.form(key, rows)
            if self._pace.is_quick(form):
                self._here(Batch([job], form))
                return job.future
        job.timer = self._loop.call_later(seconds, self._expire, job, seconds)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(job)
        self._held += 1
        return job.future

    async def drain(self) -> None:
        """Take no more, answer what is there, and end the thread."""
        self.closed = True
        while self._held or self._running:
            await asyncio.sleep(0.01)
        self._batches.put(None)
        while self._thread.is_alive():
            await asyncio.sleep(0.002)

    def _round(self) -> None:
        """All that came in one round of the loop is there."""
        self._planned, self._in_round, self._alone = False, 0, self._in_round == 1
        self._next(True)

    def _next(self, free: bool = False) -> None:
        """Run what has piled up, in the thread or, where the loop is free for it, here."""
        while self._lanes and not self._running:
            batch = self._taken()
            if not batch.jobs:
                continue
            self._running = batch.jobs
            if not self._pace.is_quick(batch.form):
                self._batches.put(batch)
            elif free:
                self._here(batch)
                return
            else:
                self._loop.call_soon(self._here, batch)

    def _taken(self) -> Batch:
        """Take a batch out of the queue, without those who no longer wait."""
        key = next(iter(self._lanes))
        if len(self._lanes) > 1:
            key = min(self._lanes, key=lambda k: self._lanes[k][0].arrived)
        lane, jobs, rows = self._lanes[key], list[Job](), 0
        while lane and (not jobs or rows + lane[0].rows <= self.most):
            job = lane.popleft()
            self._held -= 1
            if job.future.done():
                _let_go(job)
            else:
                jobs.append(job)
                rows += job.rows
        if not lane:
            del self._lanes[key]
        return Batch(jobs, self._pace.form(key, rows))

    def _here(self, batch: Batch) -> None:
        self._done(batch, *self._run(batch), here=True)

    def _work(self) -> None:
        """The thread: runs one batch after the other."""
        while (batch := self._batches.get()) is not None:
            found = self._run(batch)
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._loop.call_soon_threadsafe(self._done, batch, *found)

    def _run(self, batch: Batch) -> tuple[Sequence[Outcome], float]:
        """What each request gives, and how long it took."""
        start, jobs = time.perf_counter(), batch.jobs
        try:
            inputs, rows = [job.inputs for job in jobs], [job.rows for job in jobs]
            with nullcontext() if self.trace is None else self.trace.running(self.name, _traces(jobs), sum(rows)):
                found: Sequence[Outcome] = self.runner(jobs[0].signature, inputs, rows)
        except BaseException as error:  # not even SystemExit of a model's code ends the queue
            found = [error] * len(jobs)
        return found, time.perf_counter() - start

    def _done(self, batch: Batch, found: Sequence[Outcome], seconds: float, *, here: bool = False) -> None:
        jobs, self._running = batch.jobs, []
        self._pace.took(batch.form, seconds, here=here)
        self._per_second += 0.2 * (len(jobs) / max(seconds, 1e-6) - self._per_second)
        self._next()
        for job, outcome in zip(jobs, found, strict=True):
            _let_go(job)
            if job.future.done():
                continue
            if isinstance(outcome, BaseException):
                job.future.set_exception(_told(outcome, self.name))
            else:
                job.future.set_result(outcome)
        if self.watch is not None:
            self.watch(sum(job.rows for job in jobs), seconds)

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


def _traces(jobs: Sequence[Job]) -> list[Any]:
    return [job.trace for job in jobs]


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
