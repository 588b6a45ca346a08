"""One line of JSON for each event, and for each request where that is asked for."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, TextIO


class JournalHandler(logging.Handler):
    """Lines that other code logs, as lines of a journal.

    Arguments:
        journal: the journal.
    """

    def __init__(self, journal: Journal):
        super().__init__(logging.WARNING)
        self.journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        told = {"logger": record.name, "level": record.levelname, "message": record.getMessage()[:2000]}
        if record.exc_info and record.exc_info[1] is not None:
            told["error"] = f"{type(record.exc_info[1]).__name__}: {str(record.exc_info[1])[:2000]}"
        self.journal.tell("log", told)


class Journal:
    """Lines of JSON into a stream.

    Arguments:
        stream: where they go; None for nowhere.
        requests: whether each request has a line.
        worker: which of several processes writes it; each line says so then.

    >>> import io
    >>> lines = io.StringIO()
    >>> Journal(lines).tell("available", {"model": "digits", "version": 3})
    >>> json.loads(lines.getvalue())["model"]
    'digits'
    """

    def __init__(self, stream: TextIO | None, *, requests: bool = False, worker: int | None = None):
        self.stream, self.requests = stream, requests and stream is not None
        self._own: dict[str, Any] = {} if worker is None else {"worker": worker}

    def tell(self, event: str, told: Mapping[str, Any]) -> None:
        """Write what happened."""
        if self.stream is None:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        line = json.dumps({"time": stamp, "event": event, **self._own, **told}, default=str)
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # full, or closed: serving goes on
            return
