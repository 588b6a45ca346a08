"""One line of JSON for each event, and for each request where that is asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, TextIO


class Journal:
    """Lines of JSON into a stream.

    Arguments:
        stream: where they go; None for nowhere.
        requests: whether each request has a line.

    >>> import io
    >>> lines = io.StringIO()
    >>> Journal(lines).tell("available", {"model": "digits", "version": 3})
    >>> json.loads(lines.getvalue())["model"]
    'digits'
    """

    def __init__(self, stream: TextIO | None, *, requests: bool = False):
        self.stream, self.requests = stream, requests and stream is not None

    def tell(self, event: str, told: Mapping[str, Any]) -> None:
        """Write what happened."""
        if self.stream is None:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        line = json.dumps({"time": stamp, "event": event, **told}, default=str)
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # full, or closed: serving goes on
            return
