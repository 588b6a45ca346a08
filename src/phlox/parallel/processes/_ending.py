"""Ends that processes which compute together take at one step, and failures that none of them outlives alone.

A step that some take and others do not is waited for without end. So a process that is to stop, by Ctrl-C or by its
clock, asks; each answers up to which step it is bound to go, by a thread of its own while it computes; and all stop
behind the step after the latest of these. Nobody waits while nobody asks. JAX's own service for preemption, where it
runs, does the same for its notices.
"""

from __future__ import annotations

import json
import signal
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from phlox.core import _compat
from phlox.parallel.processes._agreement import failure
from phlox.parallel.processes._group import _GRACE, _LOOK, OVER, Group, ProcessError


class Asked(NamedTuple):
    """A stop that a process asked for."""

    process: int
    signal: int | None  # by which; None for a stop that a callback asked for
    reason: str


class Ending:
    """How the processes of one training end together.

    Arguments:
        group: the processes.
        name: of the meeting that this training is.
        where: who speaks in errors.
    """

    group: Group
    name: str
    where: str

    def __init__(self, group: Group, name: str, where: str):
        self.group, self.name, self.where = group, name, where
        self.asked: Asked | None = None
        self.last: int | None = None  # the step behind which all stop
        self.broken: tuple[int, str] | None = None  # which process ended by an error, and its words
        self._bound = 0  # the step up to which this process goes whatever comes
        self._own = False  # this process has asked
        self._lock, self._agreed, self._over = threading.Lock(), threading.Event(), threading.Event()
        acts = {"stop": self._stop, "failed": self._fail}
        self._threads = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in acts.items()]
        for thread in self._threads:
            thread.start()

    # --- by the training -------------------------------------------------------------------------

    def enter(self, step: int) -> None:
        """The training is about to take this step: once it has, it goes that far.

        Raises:
            ProcessError: another one has ended by an error, or does not answer.
        """
        if self.broken is not None:
            raise self.error()
        with self._lock:
            if self.asked is None:
                self._bound = step
                return
        if not self._agreed.wait(self.group.timeout):
            what = f"all {self.group.processes} processes to say where they are within {self.group.timeout:g} s"
            fix = "look at what the others printed"
            raise ProcessError(what, got="some that do not", fix=fix, where=self.where)

    def ask(self, signal: int | None, reason: str) -> None:
        """Ask all to stop soon."""
        if not self._own:
            self._own = True
            self.group.tell_all(f"{self.name}/stop", json.dumps(Asked(self.group.process, signal, reason)))

    def reached(self, step: int) -> Asked | None:
        """Who asked for the stop behind this step, where it is the one."""
        if _compat.preempted(step):
            self.asked, self.last = Asked(self.group.process, signal.SIGTERM, "a notice of preemption"), step
        return self.asked if self.last is not None and step >= self.last else None

    def failed(self, error: BaseException) -> None:
        """This process ends by an error: tell the others, who wait for it."""
        told = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        self.group.tell_all(f"{self.name}/failed", json.dumps([self.group.process, told]))

    def over(self) -> None:
        """The training is over here."""
        self._over.set()
        with suppress(Exception):  # the coordinator may be lost
            for box in ("stop", "failed"):
                self.group.tell(f"{self.name}/{box}/{self.group.process}", OVER)
            for thread in self._threads:
                thread.join(_GRACE)

    def error(self) -> ProcessError:
        """The error of this process where another one has ended by one."""
        assert self.broken is not None
        return failure(self.group, *self.broken, self.where)

    # --- by threads ------------------------------------------------------------------------------

    def _read(self, box: str, act: Any) -> None:
        """Wait for a letter in this process's box, and do what it says."""
        try:
            while not self._over.is_set():
                text = self.group.heard(f"{self.name}/{box}/{self.group.process}", _LOOK)
                if text is not None:
                    return None if text == OVER else act(json.loads(text))
        except Exception:  # the coordinator is lost, which the group sees itself
            return None

    def _stop(self, letter: list[Any]) -> None:
        group = self.group
        with self._lock:
            self.asked = Asked(*letter)
            bound = self._bound
        group.tell(f"{self.name}/bound/{group.process}", str(bound))
        bounds = [group.heard(f"{self.name}/bound/{n}", group.timeout) for n in range(group.processes)]
        if None not in bounds:
            self.last = max(int(b) for b in bounds if b is not None) + 1
            self._agreed.set()

    def _fail(self, letter: list[Any]) -> None:
        """Another process will not come to the next sum: where this one waits for it, no exception gets through."""
        self.broken = (letter[0], letter[1])
        if not self._over.wait(_GRACE):
            self.group.end_process(str(self.error()))
