"""One request that is written down."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

_MOST_ID = 128  # characters of a client's own id
_MOST_ANSWER = 4 << 20  # bytes of an answer in parts that are kept


class Record:
    """What is known of a request so far; filled in while it is answered.

    Arguments:
        told_id: what the client calls it; by default it gets a name of its own.
    """

    __slots__ = (
        "answer", "body", "id", "inputs", "model", "outputs", "protocol", "seconds", "signature", "status", "time",
        "version",
    )  # fmt: skip

    def __init__(self, told_id: str | None):
        self.time, self.id = time.time_ns(), usable_id(told_id) or secrets.token_hex(8)
        self.model, self.version, self.protocol, self.signature = "", 0, "", ""
        self.status, self.seconds = 0, 0.0
        self.inputs: Mapping[str, Any] = {}
        self.outputs: Mapping[str, Any] = {}
        self.body: bytes = b""
        """Of a request for text, its JSON; the answer too."""
        self.answer: bytes = b""

    def add_part(self, part: bytes) -> None:
        """Add a part of an answer in parts."""
        if len(self.answer) < _MOST_ANSWER:
            self.answer += part

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        arrays = (x for named in (self.inputs, self.outputs) for x in named.values())
        return 512 + len(self.body) + len(self.answer) + sum(_size(x) for x in arrays)


def usable_id(text: str | None) -> str | None:
    """A client's id for a request, where it can be repeated.

    >>> usable_id("order-7"), usable_id(""), usable_id("a" * 200)
    ('order-7', None, None)
    """
    fits = text is not None and 0 < len(text) <= _MOST_ID and text.isascii() and text.isprintable()
    return text if fits else None


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        texts = value.dtype == object
        return (
            sum(len(x) + 49 if isinstance(x, str | bytes) else 64 for x in value.reshape(-1)) if texts else value.nbytes
        )
    return 64 * len(value) if isinstance(value, list) else 64
