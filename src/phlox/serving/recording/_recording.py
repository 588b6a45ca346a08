"""Which requests are written down, where, and what of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phlox.core import OptionError, RangeError
from phlox.serving.recording._redaction import Redaction

_NUMBERS = (
    ("file_bytes", 1, 1 << 40), ("file_seconds", 0.05, 86400.0), ("elements", 1, 1 << 30),
    ("waiting_bytes", 1, 1 << 40),
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """A sample of a server's requests in Parquet files, ``FOLDER/MODEL/TIME-….parquet``.

    Each request is a row: when, its id, model, version, protocol, signature, status, seconds, and its inputs and
    outputs, an array as a list of its values and one of its sizes. Arrays of more than ``elements`` values have a
    summary: count, NaNs, mean, deviation, least, largest. Files are whole or not there. Where the disk is slower than
    the requests, some go unrecorded, which is counted; none waits.

    Arguments:
        folder: where; several processes may share one.
        sample: the share of the requests, above 0 to 1.
        redact: what is left out, hashed or cut.
        salt: of hashes; the same one for as long as equal values shall have equal hashes.
        file_bytes, file_seconds: after which a file is written, and the next one begun.
        elements: of an array that is written as it is.
        waiting_bytes: of requests that may wait to be written.

    Raises:
        RangeError: a number outside its bounds.
        OptionError: a hash without a salt.

    >>> import phlox as px
    >>> px.serving.Recording("requests", 0.1, [px.serving.Redaction("user*", "hash")], salt="s3cret").sample
    0.1
    """

    folder: str | os.PathLike[str]
    sample: float = 1.0
    redact: Sequence[Redaction] = ()
    salt: str | bytes = b""
    file_bytes: int = 16 << 20
    file_seconds: float = 60.0
    elements: int = 256
    waiting_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        where = "Recording"
        if not isinstance(self.sample, int | float) or not 0 < self.sample <= 1:
            fix = "write 0.1 for one request of ten"
            raise RangeError("sample above 0, to 1", got=repr(self.sample)[:50], fix=fix, where=where)
        for name, low, high in _NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
                fix = "leave it out for the usual one"
                raise RangeError(f"{name} from {low} to {high}", got=repr(value)[:50], fix=fix, where=where)
        odd = [rule for rule in self.redact if not isinstance(rule, Redaction)]
        if odd:
            fix = 'write [px.serving.Redaction("user*", "drop")]'
            raise OptionError("redact as a list of Redaction", got=repr(odd[0])[:50], fix=fix, where=where)
        if not self.salt and any(rule.action == "hash" for rule in self.redact):
            fix = "keep a secret text, and give it each time: else names could be guessed from their hashes"
            raise OptionError("a salt, where something is hashed", got="none", fix=fix, where=where)

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    @property
    def key(self) -> bytes:
        """The salt as bytes."""
        return self.salt.encode() if isinstance(self.salt, str) else self.salt
