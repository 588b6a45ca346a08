"""What a run logs on its way to a service that may be gone for a while: in order, from a thread of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from phlox.loop._warning import warn
from phlox.loop.logs._files import as_json

Entry = Mapping[str, Any]  # JSON-able, with a "kind"
_LONGEST = 60.0  # seconds between two tries
_AT_THE_END = 0.2  # seconds between two tries once training is over


class RefusedError(Exception):
    """The service is there and will not have an entry, now or later."""


class Delivery:
    """Hands entries to a service in their order; what cannot be handed over waits, and is tried again.

    The thread never warns and never raises: what it has to tell is said by ``add`` and ``finish``, once.

    Arguments:
        who: the logger that speaks.
        send: hands entries over, all of them or none that matters when they come again; raises what goes wrong.
        pause: seconds before the second try; then twice as many each time, up to a minute.
    """

    def __init__(self, who: str, send: Callable[[Sequence[Entry]], None], pause: float = 1.0):
        self.who, self._send, self._first = who, send, pause
        self._waiting: list[Entry] = []
        self._lock = threading.Condition()
        self._hurry = threading.Event()  # training is over
        self._deadline = float("inf")
        self._news: list[str] = []  # to be told
        self.told = False  # of a failure
        self._thread = threading.Thread(target=self._work, name=f"{who}'s delivery", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Have an entry delivered."""
        with self._lock:
            self._waiting.append(as_json(entry))
            self._lock.notify()
        self._tell()

    def finish(self, seconds: float) -> list[Entry]:
        """Wait, so long at most, until all is delivered; what is not, is returned."""
        with self._lock:
            self._deadline = time.monotonic() + seconds
            self._hurry.set()
            self._lock.notify()
        self._thread.join(seconds + _AT_THE_END)
        with self._lock:
            left, self._waiting = self._waiting, []
        self._tell()
        return left

    def _tell(self) -> None:
        with self._lock:
            news, self._news = self._news, []
        for text in news:
            warn(text)

    # --- in the thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        pause = self._first
        while True:
            with self._lock:
                self._lock.wait_for(lambda: bool(self._waiting) or self._hurry.is_set())
                batch = list(self._waiting)
            if not batch or time.monotonic() > self._deadline:
                return
            try:
                self._hand_over(batch)
                pause = self._first
            except Exception as error:  # whatever the service's client raises
                self._failed(error)
                self._hurry.wait(pause)
                if self._hurry.is_set():
                    time.sleep(min(_AT_THE_END, pause))
                pause = min(2 * pause, _LONGEST)

    def _hand_over(self, batch: list[Entry]) -> None:
        """Send entries together; where they are refused, one by one, without those that are."""
        try:
            self._send(batch)
        except RefusedError as error:
            if len(batch) > 1:
                for entry in batch:
                    self._hand_over([entry])
                return
            with self._lock:
                self._news.append(f"{self.who}: {batch[0]['kind']} was refused and is left out: {error}")
        with self._lock:
            del self._waiting[: len(batch)]

    def _failed(self, error: Exception) -> None:
        with self._lock:
            if not self.told:
                self.told = True
                short = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                self._news.append(
                    f"{self.who}: {short}. Training goes on; what is missing is sent as soon as that works."
                )


# --- what was not delivered, in a file ----------------------------------------------------------------


def keep(path: Path, head: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """Write entries behind those that are there already, a line of JSON each; ``head`` says to whom they go."""
    lines = [json.dumps(as_json(line)) for line in ([] if path.exists() else [head]) + [*entries]]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def kept(path: Path) -> tuple[dict[str, Any], list[Entry]]:
    """To whom entries of a file go, and these; a last line that is cut short is passed over."""
    head, *entries = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]] or [{}]
    return head, entries
