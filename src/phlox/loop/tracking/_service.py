"""What loggers of services have in common: what a run tells them, in which order, and what becomes of the rest."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from phlox.core import RangeError
from phlox.loop._warning import warn
from phlox.loop.callbacks._callback import Callback
from phlox.loop.tracking._delivery import Delivery, Entry, keep, kept
from phlox.loop.tracking._record import ending, record_of

if TYPE_CHECKING:
    from phlox.loop._run import Run


class ServiceLogger(Callback):
    """The base of loggers of services: entries in order, from a thread, kept in a file where the service is gone.

    A run has a ``key`` of its own, by which it is found again after a resume, whether the service was there or not.
    """

    order: ClassVar[int] = 50
    service: ClassVar[str]  # in the name of the file of what could not be sent
    pause: ClassVar[float] = 1.0  # seconds before the second try
    key: str
    patience: float

    def __init__(self, patience: float):
        if not patience >= 0:
            fix = "give how long the end of a training may wait for the service"
            raise RangeError("a patience of 0 s or more", got=repr(patience), fix=fix, where=type(self).__name__)
        self.patience = float(patience)
        self.key = ""
        self._delivery: Delivery | None = None
        self._error: str | None = None
        self._resumed = False
        self._run: Run | None = None

    # --- what a service says ---------------------------------------------------------------------

    def _address(self) -> dict[str, Any]:
        """To whom entries go, JSON-able: what ``_sender`` needs."""
        raise NotImplementedError

    @classmethod
    def _sender(cls, address: dict[str, Any]) -> Callable[[Sequence[Entry]], None]:
        """What hands entries over, by the address that a logger gave."""
        raise NotImplementedError

    # --- the engine's hooks ----------------------------------------------------------------------

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        self.key, self._delivery, self._error, self._resumed = uuid.uuid4().hex, None, None, False
        self._run = run

    def on_epoch_start(self, run: Run) -> None:
        self._begun(run)

    def log_scalars(self, step: int, scalars: dict[str, float]) -> None:
        if self._run is not None:
            values = {name: value for name, value in scalars.items() if name != "step"}
            self._begun(self._run).add({"kind": "numbers", "step": step, "time": time.time(), "values": values})

    def log_arrays(self, step: int, arrays: dict[str, Any]) -> None:
        if self._run is not None:
            for name, value in arrays.items():
                self._begun(self._run).add({"kind": "array", "step": step, "name": name, "value": value})

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._error = None if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"

    def on_fit_end(self, run: Run) -> None:
        delivery, self._delivery, self._run = self._delivery, None, None
        if delivery is None:
            return
        delivery.add({"kind": "end", **ending(run, self._error)})
        left = delivery.finish(self.patience)
        if left:
            self._put_away(run, left)

    def state(self) -> dict[str, Any]:
        return {"key": self.key}

    def restore(self, state: dict[str, Any]) -> None:
        self.key, self._resumed = state["key"], True

    # --- what becomes of what is logged ----------------------------------------------------------

    def _begun(self, run: Run) -> Delivery:
        """The delivery, begun by what the run is made of, and by what an earlier part of it could not send."""
        if self._delivery is None:
            self._delivery = Delivery(type(self).__name__, self._sender(self._address()), self.pause)
            for entry in self._taken_up(run):
                self._delivery.add(entry)
            self._delivery.add({"kind": "start", "resumed": self._resumed, "record": record_of(run)})
        return self._delivery

    def _taken_up(self, run: Run) -> list[Entry]:
        path = self._unsent(run)
        if not self._resumed or path is None or not path.exists():
            return []
        head, entries = kept(path)
        if head.get("key") != self.key:
            return []
        path.unlink()
        return entries

    def _unsent(self, run: Run) -> Path | None:
        return None if run.log_dir is None else run.log_dir / f"{self.service}-unsent-{self.key[:8]}.jsonl"

    def _put_away(self, run: Run, left: list[Entry]) -> None:
        path, who = self._unsent(run), type(self).__name__
        try:
            if path is None:
                raise OSError("px.fit has no log_dir")
            path.parent.mkdir(parents=True, exist_ok=True)
            keep(path, {"logger": self.service, "key": self.key, **self._address()}, left)
        except OSError as error:
            warn(f"{who}: {len(left)} entries were not sent, and are lost: {error}")
        else:
            cure = f"px.loop.catch_up({str(path)!r}) sends them"
            warn(f"{who}: {len(left)} entries were not sent, and are in a file; {cure}")
