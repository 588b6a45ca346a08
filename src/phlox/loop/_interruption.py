"""Ctrl-C and SIGTERM while a model trains: noted, and acted upon where the training can be saved."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Interruption:
    """Notes the first Ctrl-C or SIGTERM between ``start`` and ``end``; a second Ctrl-C acts at once.

    Only the main thread can listen to signals; in any other, nothing changes.

    Attributes:
        at_once: called by the first one, where set: while nothing changes, there is no need to wait.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.at_once: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        """Listen."""
        self.number = None
        if threading.current_thread() is threading.main_thread():
            for number in _NAMES:
                self._before[number] = signal.signal(number, self._note)

    def end(self) -> None:
        """Let signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    @property
    def name(self) -> str:
        """What came, in words; empty where nothing did."""
        return "" if self.number is None else _NAMES[signal.Signals(self.number)]

    def error(self, message: str) -> BaseException:
        """What to raise once the training is saved."""
        if self.number == signal.SIGTERM:
            return SystemExit(128 + signal.SIGTERM)
        return KeyboardInterrupt(message)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number if self.number is None else self.number
        if self.at_once is not None:
            self.at_once()
        print(f"{self.name}: saving at the end of this step; Ctrl-C again stops at once", file=sys.stderr, flush=True)
