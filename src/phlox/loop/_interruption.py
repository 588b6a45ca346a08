"""Ctrl-C, SIGTERM and notices of a cluster: noted, and acted upon where model and optimiser are whole.

A step gives its old arrays away before it has new ones. An exception between the two would take the model with it, so
signals wait where a step is on its way, and act where nothing changes: while data is fetched, or looked at.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
if hasattr(signal, "SIGUSR1"):
    _NAMES[signal.SIGUSR1] = "SIGUSR1"  # of Slurm, some time before the end that --signal=USR1@seconds names

OPEN, BETWEEN, MOVING = 0, 1, 2
"""What a signal finds: nothing changes and it acts at once; it waits, and a second Ctrl-C acts; a step is on its way,
and not before the third one is it left half done."""


_LISTENING: list[Interruption] = []  # of this process, the innermost last


_masked = threading.local()


def _hold_signals() -> None:
    """Before a fork: what is sent to the child from its first instant on is to wait for its own handlers."""
    _masked.before = signal.pthread_sigmask(signal.SIG_BLOCK, _NAMES) if _LISTENING else None


def _release_signals() -> None:
    before = getattr(_masked, "before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _masked.before = None


def _leave_to_the_parent() -> None:
    """In a forked child: do with a signal what was done before the training, which is the parent's."""
    for interruption in reversed(_LISTENING):
        interruption.let_go()
    _LISTENING.clear()
    _release_signals()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_leave_to_the_parent)


class Interruption:
    """Notes Ctrl-C, and SIGTERM where asked for, between ``start`` and ``end``; a second Ctrl-C does not wait.

    Only the main thread can listen to signals; in any other, nothing changes. A signal that the process ignores stays
    ignored. A child that was forked meanwhile does with a signal what it would do without.

    Attributes:
        number: of the first signal, None where none came.
        terminated: SIGTERM, or a notice like it, where one came, also behind a Ctrl-C: the process is to end; else 0.
        forced: whether a further Ctrl-C acted.
        at_once: called in place of raising ``KeyboardInterrupt``, where a signal may act.
        saves: whether a checkpoint is to be made first: a signal then acts where ``at_once`` is set alone.
        asked: of the first signal too; where this is ``patient``, other processes are asked before it is ``number``.
    """

    forced: bool
    saves: bool
    terminated: int
    patient: bool

    def __init__(self) -> None:
        self.at_once: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}
        self._forget()

    def _forget(self) -> None:
        self.number: int | None = None
        self.asked: int | None = None
        self.forced = self.saves = self.patient = False
        self.terminated = 0
        self._count, self._level, self._process = 0, OPEN, os.getpid()

    # --- from when to when -----------------------------------------------------------------------

    def start(self) -> None:
        """Listen to Ctrl-C, which acts at once until ``wait``.

        Listening begins before there is something to lose: an exception out of a signal may end in some code that
        ignores exceptions, such as a finaliser, and then what was noted is what is left of the signal.
        """
        self._forget()
        self._before = {}
        _LISTENING.append(self)
        self._listen(signal.SIGINT)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """From ``start`` to ``end``; SIGTERM ends the process, also where it came behind the last step or a Ctrl-C."""
        self.start()
        try:
            yield
        finally:
            self.end()
        if self.terminated:
            raise SystemExit(128 + self.terminated)

    def wait(self) -> None:
        """Let what comes from here on wait, also where a block was left before it could put its level back."""
        self._level = BETWEEN

    def before_saving(self) -> None:
        """Listen to SIGTERM too, in a job of Slurm to SIGUSR1, and let all wait for a checkpoint."""
        self.saves = True
        self._listen(signal.SIGTERM)
        if "SLURM_JOB_ID" in os.environ and hasattr(signal, "SIGUSR1"):
            self._listen(signal.SIGUSR1)

    def _listen(self, number: int) -> None:
        if threading.current_thread() is not threading.main_thread() or number in self._before:
            return
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            self._before[number] = signal.signal(number, self._note)

    def end(self) -> None:
        """Let signals do what they did before; what ends this training ends the one around it."""
        before = dict(self._before)
        self.let_go()
        around: Any = before.get(self.number or self.asked or 0)
        if self in _LISTENING:
            _LISTENING.remove(self)
        if isinstance(getattr(around, "__self__", None), Interruption):
            around(self.number or self.asked, None)

    def let_go(self) -> None:
        """Put the handlers back that were there before."""
        with suppress(ValueError):  # of a thread that is not the main one
            for number, handler in self._before.items():
                signal.signal(number, handler)
        self._before = {}

    # --- what a signal finds ---------------------------------------------------------------------

    @contextmanager
    def at(self, level: int) -> Iterator[None]:
        """Within the block a signal finds this; one that waited acts where it may."""
        before = self._level
        self._level = level
        try:
            self.act_where_allowed()
            yield
        finally:
            self._level = before
        self.act_where_allowed()

    def moving(self) -> Any:
        """A block that gives arrays away and gets new ones: it is left whole."""
        return self.at(MOVING)

    def opened(self, source: Iterable[T], *, careful: bool = False) -> Iterator[T]:
        """Items of a source; while the next one is fetched, a signal acts at once; behind it, where that is careful."""
        iterator = iter(source)
        while True:
            with self.at(BETWEEN if careful else OPEN):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            if careful:
                with self.at(OPEN):
                    pass
            yield item

    def act_where_allowed(self) -> None:
        """Do what a noted signal asks for, where it may."""
        if self.number is not None and self._may_act():
            self._act()

    def _may_act(self) -> bool:
        if self._count > 1 and self._level <= (BETWEEN if self._count == 2 else MOVING):
            return True
        return not self.patient and self._level == OPEN and (not self.saves or self.at_once is not None)

    def _act(self) -> None:
        self.forced, self.number = self._count > 1, self.number or self.asked
        if self.at_once is not None and not self.forced:
            self.at_once()
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a child that was forked past Python
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        first = self.asked is None
        self.asked = number if first else self.asked
        if not self.patient:
            self.number = self.asked
        self._count += number == signal.SIGINT
        self.terminated = self.terminated or (number if number != signal.SIGINT else 0)
        if number != signal.SIGINT and not first:
            return
        if self._may_act():
            self._act()
        if first:
            then = "saving at the end" if self.saves else "waiting for the end"
            print(f"{self.asked_name}: {then} of this step; Ctrl-C again stops at once", file=sys.stderr, flush=True)

    # --- what came -------------------------------------------------------------------------------

    def agreed(self, number: int) -> None:
        """All processes end here, as a signal to one of them asks."""
        self.number, self.terminated = number, self.terminated or (number if number != signal.SIGINT else 0)

    @property
    def name(self) -> str:
        """What came, in words; empty where nothing did."""
        return "" if self.number is None else _NAMES[signal.Signals(self.number)]

    @property
    def asked_name(self) -> str:
        """As ``name``, of what others are asked about."""
        return "" if self.asked is None else _NAMES[signal.Signals(self.asked)]

    def error(self, message: str) -> BaseException:
        """What to raise once the training is saved."""
        if self.number is not None and self.number != signal.SIGINT:
            return SystemExit(128 + self.number)
        return KeyboardInterrupt(message)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that is run to its end; a Ctrl-C meanwhile is raised behind it. In a training, that is the training's."""
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or not plain:
        yield
        return
    came, process = 0, os.getpid()

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came += 1
        if came > 2 or os.getpid() != process:  # somebody insists, or it is a forked child's
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if came and os.getpid() == process:
            raise KeyboardInterrupt
