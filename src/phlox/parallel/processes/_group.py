"""The processes of a training as each of them sees the others: what they tell each other, and who was lost."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from phlox.core import PhloxError, _compat
from phlox.parallel.processes._pulse import Pulse, Told

_LOOK = 3600.0  # seconds for which a thread waits for something to be told, at a time
_GRACE = 10.0  # seconds that a process has to end by an exception of its own, once another one is lost
OVER = "over"  # told to a thread that waits
STATUS = 70  # of a process that ends because another one is gone, or does not go on

GONE = (
    "look at what it printed, and at its machine's memory: it ended, was killed, or cannot be reached; start all of "
    "them again"
)
STUCK = (
    "look at the lines that it printed of where it stands; start all of them again, with a larger "
    "px.parallel.initialize(hang=…) where a step, a validation or a callback takes longer"
)


class Loss(NamedTuple):
    """Processes that do not go on, as all are told of them."""

    processes: list[int]
    got: str
    fix: str


class ProcessError(PhloxError, RuntimeError):
    """Another process that did not come, was lost, or does something else than this one."""

    everywhere = False  # all processes raise it


class Group:
    """This process and the others, from ``px.parallel.initialize`` to the end.

    What one tells all can hear, by its name; JAX's coordinator keeps it.

    Attributes:
        process, processes: which this is, of how many.
        timeout: seconds to wait for the others wherever all come together.
        heartbeat: seconds without a sign of life after which a process is lost.
        pulse: where this process stands in its training.
        others: what all told of themselves when they were last listened to.
        loss: of processes that do not go on; None where all do.
        deaf: process 0 answers no more.
        slow: those that keep the others waiting, in words, by process.
        broken: one has ended by an error, so that this process cannot wait for all to leave.
    """

    client: Any
    process: int
    processes: int
    timeout: float
    heartbeat: float
    pulse: Pulse
    others: dict[int, Told]
    loss: Loss | None
    slow: dict[int, str]
    deaf: bool
    broken: bool
    meetings: int

    def __init__(self, client: Any, process: int, processes: int, timeout: float, heartbeat: float):
        self.client, self.process, self.processes = client, process, processes
        self.timeout, self.heartbeat = timeout, heartbeat
        self.pulse, self.others, self.loss, self.slow = Pulse(), {}, None, {}
        self.signs: Any = None  # the ``Signs`` of this process
        self.broken = self.deaf = False
        self.meetings = 0  # so far; the next one is told from these by its number
        self._noticed = threading.Event()
        self._left = threading.Event()  # an error of this process's own tells of the loss

    # --- told and heard --------------------------------------------------------------------------

    def tell(self, name: str, value: str) -> None:
        """Put a value where all can hear it, in place of an older one of this name."""
        self.client.key_value_set(f"phlox/{name}", value, allow_overwrite=True)

    def tell_all(self, name: str, value: str) -> None:
        """Put a value into a box of each process."""
        for n in range(self.processes):
            self.tell(f"{name}/{n}", value)

    def heard(self, name: str, seconds: float) -> str | None:
        """A value of this name as soon as somebody tells it; None where nobody does in time.

        Raises:
            ProcessError: the coordinator is lost.
        """
        try:
            return self.client.blocking_key_value_get(f"phlox/{name}", max(1, int(1000 * seconds)))
        except Exception as error:
            if "DEADLINE_EXCEEDED" in str(error) or "NOT_FOUND" in str(error):
                return None
            raise self.error_of_loss("px.parallel") from error

    def gathered(self, name: str, value: str, where: str, what: str) -> list[str]:
        """The values of all processes, in their order; each must come here.

        Arguments:
            where, what: who waits, and for what, in errors.

        Raises:
            ProcessError: some did not come in time.
        """
        self.tell(f"{name}/{self.process}", value)
        until = time.monotonic() + self.timeout
        found = [self.heard(f"{name}/{n}", until - time.monotonic()) for n in range(self.processes)]
        absent = [n for n, value in enumerate(found) if value is None]
        if absent:
            raise ProcessError(
                f"all {self.processes} processes at {what} within {self.timeout:g} s",
                got=f"nothing from {listed(absent)}",
                fix="look at what it printed: it ended, waits elsewhere, or runs another program; or give it more time "
                "by px.parallel.initialize(timeout=…)",
                where=where,
            )
        return [value for value in found if value is not None]

    def forget(self, name: str) -> None:
        """Drop what was told under this name, and under all that begin with it and a slash; everybody has heard it."""
        self.client.key_value_delete(f"phlox/{name}")

    def meeting(self) -> str:
        """The name of the next thing that all do together."""
        self.meetings += 1
        return f"meeting {self.meetings}"

    # --- lost ------------------------------------------------------------------------------------

    def named(self, process: int) -> str:
        """A process in words, with its machine and devices where it has told of them."""
        told = self.others.get(process)
        if told is None:
            return f"process {process}"
        return f"process {process} ({', '.join(part for part in (told.host, told.devices) if part)})"

    def lose(self, loss: Loss) -> None:
        """Some do not go on, so nobody can: end soon, whatever this process waits for. Called by a thread."""
        self.loss = loss
        self._noticed.set()
        if self.process in loss.processes:
            print_stack(self.process)
        if not self._left.wait(_GRACE):
            self.end_process(str(self.error_of_loss("px.parallel")))

    @property
    def lost(self) -> list[int]:
        """The processes that do not go on."""
        return [] if self.loss is None else self.loss.processes

    def leave(self) -> None:
        """At the end of the program: where the group is broken, JAX would wait for the others, and they for this."""
        if self.signs is not None and not self.deaf:
            self.signs.end()
        if self.broken or self.lost:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            self._let_go()
            os._exit(STATUS if self.lost else 1)

    def _let_go(self) -> None:
        """Tell process 0 that this one is about to end; process 0 waits, as JAX ends all others without it."""
        if self.deaf:
            return
        with contextlib.suppress(Exception):
            if self.process:
                self.tell(f"left/{self.process}", "")
                return
            until = time.monotonic() + 2 * _GRACE
            for n in range(1, self.processes):
                if n not in self.lost:
                    self.heard(f"left/{n}", until - time.monotonic())
            time.sleep(0.1)  # they say so just before

    def end_process(self, message: str) -> None:
        """End this process at once: what it waits for will not come, and no exception reaches it there."""
        with contextlib.suppress(Exception):
            print(f"ProcessError: {message}", file=sys.stderr, flush=True)
            sys.stdout.flush()
        self._let_go()
        os._exit(STATUS)

    def error_of_loss(self, where: str, seconds: float = 0.0) -> ProcessError:
        """The error that says who was lost, as soon as it is known, or the time is over."""
        self._noticed.wait(seconds)
        self._left.set()
        self.broken = True
        loss = self.loss or Loss([], "no sign of life from one of the others", GONE)
        return ProcessError(f"all {self.processes} processes to go on", got=loss.got, fix=loss.fix, where=where)


def print_stack(process: int) -> None:
    """Where the main thread stands, on standard error."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    lines = "".join(traceback.format_stack(frame)) if frame is not None else ""
    with contextlib.suppress(Exception):
        print(f"process {process} stands here, and does not go on:\n{lines}", file=sys.stderr, flush=True)


def listed(numbers: Sequence[int]) -> str:
    """Processes in words.

    >>> listed([1]), listed([1, 2, 5])
    ('process 1', 'processes 1, 2 and 5')
    """
    if len(numbers) == 1:
        return f"process {numbers[0]}"
    return f"processes {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


_here: list[Group] = []  # of this process; at most one


def group() -> Group | None:
    """The processes that this one belongs to; None where it is alone."""
    if _here:
        return _here[0]
    state = _compat.coordination()
    if state.client is None or state.num_processes == 1:
        return None
    return joined(Group(state.client, state.process_id, state.num_processes, 300.0, 100.0))  # by jax.distributed


def joined(found: Group) -> Group:
    """Keep the group of this process."""
    _here[:] = [found]
    return found
