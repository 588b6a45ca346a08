"""Where a process stands in its training, as it tells the others with every sign of life."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

WINDOW = 20  # steps whose times are averaged


class Told(NamedTuple):
    """What a process tells of itself.

    Attributes:
        host, devices: where it runs, and on what.
        training: which of its trainings it is in, from 1; 0 outside of any.
        marks: how many places of this training it has come by; the same in all processes that stand at one place.
        step: how many steps it has handed over.
        doing: what it does now, in words.
        idle: seconds since the last of these places.
        own: seconds between two steps that it needs for itself, on average over the window; None where there are fewer.
        whole: seconds from one step to the next.
    """

    host: str
    devices: str
    training: int
    marks: int
    step: int
    doing: str
    idle: float
    own: float | None
    whole: float | None

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return self.doing if self.marks == 1 else f"{self.doing} behind step {self.step}"


class Pulse:
    """Kept by the training as it goes from place to place, read by the thread that gives signs of life.

    Each process needs the time between two steps for its data and callbacks; what it waits for the device in it is not
    its own, since it may wait for the others there.

    Arguments:
        clock: seconds that never go back.
    """

    clock: Callable[[], float]
    host: str
    devices: str

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.host, self.devices = clock, socket.gethostname(), ""
        self._lock = threading.Lock()
        self._forget(0)

    def _forget(self, training: int) -> None:
        self._training, self._marks, self._step = training, 0, 0
        self._doing, self._since = "", self.clock()
        self._own: deque[float] = deque(maxlen=WINDOW)
        self._whole: deque[float] = deque(maxlen=WINDOW)
        self._entered: float | None = None  # when the last step was
        self._behind: float | None = None  # when the last one was handed over
        self._compiling = False  # the last one was the first, which waits for the compiler
        self._waited = 0.0  # seconds since the last one was handed over that were not its own

    # --- by the training -------------------------------------------------------------------------

    def begin(self, training: int, devices: str) -> None:
        """A training begins."""
        with self._lock:
            self._forget(training)
            self.devices = devices
            self._mark("before its first step")

    def end(self) -> None:
        """The training is over."""
        with self._lock:
            self._forget(0)

    def enter(self, step: int) -> None:
        """Behind so many steps, another one is about to be handed over."""
        with self._lock:
            now = self.clock()
            if self._entered is not None and self._behind is not None and not self._compiling:
                self._own.append(now - self._behind - self._waited)
                self._whole.append(now - self._entered)
            self._compiling = self._entered is None
            self._entered, self._step = now, step
            self._mark("in the step")

    def after(self, step: int) -> None:
        """So many steps were handed over."""
        with self._lock:
            self._step, self._behind, self._waited = step, self.clock(), 0.0
            self._mark("in its callbacks")

    def at(self, doing: str) -> None:
        """Another place of the training."""
        with self._lock:
            self._mark(doing)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that waits for the device."""
        before = self.clock()
        try:
            yield
        finally:
            self._waited += self.clock() - before

    def _mark(self, doing: str) -> None:
        self._doing, self._since, self._marks = doing, self.clock(), self._marks + 1

    # --- by the thread that tells ----------------------------------------------------------------

    def told(self) -> Told:
        """What the others are to know now."""
        with self._lock:
            known = len(self._own) == WINDOW
            own, whole = (sum(times) / WINDOW if known else None for times in (self._own, self._whole))
            return Told(
                self.host,
                self.devices,
                self._training,
                self._marks,
                self._step,
                self._doing,
                self.clock() - self._since,
                own,
                whole,
            )
