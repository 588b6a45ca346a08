"""What goes between the front and a replica: pickled, and nothing of Ray's or of JAX's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Headers = Sequence[tuple[bytes, bytes]]


class Call(NamedTuple):
    """A request over HTTP, whole."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    client: tuple[str, int] | None


class Start(NamedTuple):
    """How an answer begins; parts of its body follow."""

    status: int
    headers: Headers

    @property
    def whole(self) -> bool:
        """Whether the answer is known as a whole, and not written while it is sent."""
        return any(name.lower() == b"content-length" for name, _ in self.headers)
