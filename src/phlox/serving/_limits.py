"""What a server takes on, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, fields

from phlox.core import RangeError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one request may hold, how many may wait, and for how long.

    Arguments:
        batch: rows that run at once.
        queue: requests of one version that wait or run; one more is answered with 429.
        seconds: from the arrival of a request to its answer; then it is answered with 504.
        writing: seconds that a language model may write on one text.
        client_requests: texts that one client may have written at a time; one more is answered with 429. None for any
            number.
        client_tokens: tokens that one client may have read and written in a minute; None for any number.
        body: bytes of a request's body, after which it is answered with 413.
        elements: of one array, of inputs.
        rank: axes of one array.
        depth: of brackets within brackets, in JSON.
        header: bytes of a request's first line and headers.
        arriving: seconds that the headers, and again the body, may take to arrive.
        idle: seconds that a connection may wait for its next request.
        draining: seconds that requests have to be answered when the server leaves.

    Raises:
        RangeError: one that is not above zero.

    >>> Limits(batch=16).queue
    1024
    """

    batch: int = 64
    queue: int = 1024
    seconds: float = 60.0
    writing: float = 600.0
    client_requests: int | None = None
    client_tokens: int | None = None
    body: int = 64 << 20
    elements: int = 1 << 26
    rank: int = 8
    depth: int = 32
    header: int = 32 << 10
    arriving: float = 20.0
    idle: float = 75.0
    draining: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and "None" in str(field.type):
                continue
            whole = isinstance(value, int) and not isinstance(value, bool)
            fits = whole if str(field.type).startswith("int") else whole or isinstance(value, float)
            if not fits or value is None or not 0 < value < float("inf"):
                kind = "a whole number" if str(field.type).startswith("int") else "a number"
                fix = "leave it out for the usual one"
                raise RangeError(f"{field.name} as {kind} above 0", got=repr(value), fix=fix, where="Limits")
