"""HTTP on a connection, whose headers may be neither too long nor too slow."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from phlox.serving._limits import Limits


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol within limits, which it does not have itself."""

    limits: Limits
    _timer: asyncio.TimerHandle | None = None
    _arrived = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:
            self._arrived += len(data)
            if self._arrived > self.limits.header and not self.transport.is_closing():
                self._refuse(b"431 Request Header Fields Too Large", f"headers of at most {self.limits.header} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_headers()

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._expect_nothing()
        self._arrived = 0
        self._timer = self.loop.call_later(self.limits.arriving, self._late)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(b"408 Request Timeout", f"headers within {self.limits.arriving:g} s")

    def _refuse(self, status: bytes, expected: str) -> None:
        body = json.dumps({"error": f"HTTP expects {expected}"}).encode()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()


def protocol_of(limits: Limits) -> type[BoundedProtocol]:
    """The protocol within these limits."""
    return type("LimitedProtocol", (BoundedProtocol,), {"limits": limits})
