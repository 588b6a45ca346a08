"""The thread in which models run: the page stays quick, and of several wishes of one kind the last counts."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Job = Callable[[], Any]
Done = Callable[[Any, BaseException | None], None]


class Worker:
    """Does one job after the other in a thread of its own.

    A job that waits is replaced by a later one of the same key: a slider that is dragged asks for many answers, and
    only the newest is shown.
    """

    def __init__(self, name: str = "px.interpret.explore"):
        self._waiting: OrderedDict[Any, tuple[Job, Done, Callable[[], None]]] = OrderedDict()
        self._change = threading.Condition()
        self._leaving = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, key: Any, job: Job, done: Done, dropped: Callable[[], None] = lambda: None) -> None:
        """Do a job, and give ``done`` what came of it, in the worker's thread.

        Arguments:
            dropped: called, by the thread that asks later, where the job is replaced before its turn.
        """
        with self._change:
            before = self._waiting.pop(key, None)
            self._waiting[key] = job, done, dropped
            self._change.notify()
        if before is not None:
            before[2]()

    def stop(self) -> None:
        """End when the running job is done; what waits is dropped."""
        with self._change:
            self._leaving = True
            self._waiting.clear()
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._leaving)
                if self._leaving:
                    return
                _, (job, done, _) = self._waiting.popitem(last=False)
            try:
                result, error = job(), None
            except Exception as failed:  # code of a user: whatever it raises is shown on the page
                result, error = None, failed
            done(result, error)
