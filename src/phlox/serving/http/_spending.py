"""What one client may take: requests at a time, and tokens in a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from phlox.serving._errors import QueueFullError
from phlox.serving._limits import Limits

_MINUTE = 60.0
_MOST_KNOWN = 10_000  # clients before those are forgotten who have all their tokens again


class Clients:
    """Who has asked for how much.

    Tokens are those that were read and written, counted when they are known. Who has spent those of a minute waits
    until there are some again; they come back evenly.

    Arguments:
        limits: ``client_requests`` and ``client_tokens`` of them.
        clock: seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._requests, self._tokens, self._clock = limits.client_requests, limits.client_tokens, clock
        self._running: dict[str, int] = {}
        self._left: dict[str, tuple[float, float]] = {}

    @contextmanager
    def asking(self, client: str, texts: int = 1) -> Iterator[None]:
        """Let a client in for so many texts.

        Raises:
            QueueFullError: it has as many as it may have, or has spent its tokens.
        """
        self._check_requests(client, texts)
        self._check_tokens(client)
        self._running[client] = self._running.get(client, 0) + texts
        try:
            yield
        finally:
            self._running[client] -= texts
            if not self._running[client]:
                del self._running[client]

    def spend(self, client: str, tokens: int) -> None:
        """Count tokens."""
        if self._tokens is not None:
            self._left[client] = (self._have(client) - tokens, self._clock())
            if len(self._left) > _MOST_KNOWN:
                self._forget()

    def _have(self, client: str) -> float:
        assert self._tokens is not None
        left, then = self._left.get(client, (float(self._tokens), self._clock()))
        return min(self._tokens, left + (self._clock() - then) * self._tokens / _MINUTE)

    def _forget(self) -> None:
        self._left = {c: told for c, told in self._left.items() if self._have(c) < (self._tokens or 0)}

    def _check_requests(self, client: str, texts: int) -> None:
        running = self._running.get(client, 0)
        if self._requests is not None and running + texts > self._requests:
            expected = f"at most {self._requests} texts of one client at a time"
            fix = "wait for those that run"
            raise QueueFullError(expected, got=f"{texts} beside {running}", fix=fix, where="server")

    def _check_tokens(self, client: str) -> None:
        have = math.inf if self._tokens is None else self._have(client)
        if self._tokens is not None and have < 1:
            error = QueueFullError(
                f"at most {self._tokens} tokens of one client in a minute", got="more", fix="ask again later",
                where="server",
            )  # fmt: skip
            error.retry_after = max(1, math.ceil((1 - have) * _MINUTE / self._tokens))
            raise error
