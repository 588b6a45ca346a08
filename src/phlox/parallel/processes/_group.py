"""The processes of a training as each of them sees the others: what they tell each other, and who was lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from phlox.core import PhloxError, _compat

_LOOK = 3600.0  # seconds for which a thread waits for something to be told, at a time
_GRACE = 10.0  # seconds that a process has to end by an exception of its own, once another one is lost
OVER = "over"  # told to a thread that waits
_STATUS = 70  # of a process that is ended for that


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
        lost: processes that have given no sign of life for so long.
        broken: one has ended by an error, so that this process cannot wait for all to leave.
    """

    client: Any
    process: int
    processes: int
    timeout: float
    heartbeat: float
    broken: bool
    meetings: int

    def __init__(self, client: Any, process: int, processes: int, timeout: float, heartbeat: float):
        self.client, self.process, self.processes = client, process, processes
        self.timeout, self.heartbeat = timeout, heartbeat
        self.lost: list[int] = []
        self.broken = False
        self.meetings = 0  # so far; the next one is told from these by its number
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
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

    def watch(self) -> None:
        """Give signs of life from here on, and look for those of the others.

        JAX looks too, and ends a process without an exception; of its coordinator's loss it hears first.
        """
        looks = (self._beat, self._hear_of_losses, *((self._look,) if self.process == 0 else ()))
        self._threads = [threading.Thread(target=look, daemon=True) for look in looks]
        for thread in self._threads:
            thread.start()

    def _beat(self) -> None:
        """Say, again and again, that this process is there."""
        with contextlib.suppress(Exception):  # the coordinator has left
            for n in itertools.count():
                self.tell(f"beat/{self.process}", str(n))
                if self._over.wait(self.heartbeat / 4):
                    return

    def _look(self) -> None:
        """In process 0: tell all of those that have given no sign of life for too long."""
        seen: dict[str, tuple[str, float]] = {}
        with contextlib.suppress(Exception):
            while not self._over.wait(self.heartbeat / 4):
                now, beats = time.monotonic(), dict(self.client.key_value_dir_get("phlox/beat/"))
                for name, beat in beats.items():
                    if name not in seen or seen[name][0] != beat or beat == OVER:
                        seen[name] = beat, now
                late = [int(name.rpartition("/")[2]) for name, (_, at) in seen.items() if now - at > self.heartbeat]
                if late:
                    self.tell_all("lost", json.dumps(sorted(late)))
                    return

    def _hear_of_losses(self) -> None:
        """Wait for what process 0 tells; end soon then, whatever this process waits for."""
        with contextlib.suppress(Exception):
            while not self.lost:
                text = self.heard(f"lost/{self.process}", _LOOK)
                if text == OVER:
                    return
                self.lost = json.loads(text or "[]")
            self._noticed.set()
            if not self._left.wait(_GRACE):
                self.end_process(str(self.error_of_loss("px.parallel")))

    def leave(self) -> None:
        """At the end of the program: where the group is broken, JAX would wait for the others, and they for this."""
        self._over.set()
        with contextlib.suppress(Exception):  # a thread that is inside the coordinator's client then would not survive
            self.tell(f"lost/{self.process}", OVER)
            for thread in self._threads:
                thread.join(_GRACE)
            self.tell(f"beat/{self.process}", OVER)
        if self.broken or self.lost:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            self._let_go()
            os._exit(1)

    def _let_go(self) -> None:
        """Tell process 0 that this one is about to end; process 0 waits, as JAX ends all others without it."""
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
        os._exit(_STATUS)

    def error_of_loss(self, where: str, seconds: float = 0.0) -> ProcessError:
        """The error that says who was lost, as soon as it is known, or the time is over."""
        self._noticed.wait(seconds)
        self._left.set()
        self.broken = True
        who = listed(self.lost) if self.lost else "one of the others"
        return ProcessError(
            f"all {self.processes} processes to go on",
            got=f"no sign of life from {who}",
            fix="look at what it printed, and at its machine's memory: it ended, was killed, or cannot be reached; "
            "start all of them again",
            where=where,
        )


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
