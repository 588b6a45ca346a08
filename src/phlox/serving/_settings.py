"""What a server is told before it starts; it travels to other processes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from phlox.core import OptionError, RangeError
from phlox.serving._keys import Keys
from phlox.serving._limits import Limits
from phlox.serving.engine._opening import Opening
from phlox.serving.engine._servable import Servable
from phlox.serving.recording._recording import Recording
from phlox.serving.tracing._tracing import Tracing


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What ``px.serving.Server`` is told, but for its ports; that says what each means.

    Raises:
        RangeError: a time that is none.
        OptionError: a certificate without a key, or a key without one.
    """

    source: Path | dict[str, Servable]
    host: str = "127.0.0.1"
    limits: Limits = field(default_factory=Limits)
    how: Opening = field(default_factory=Opening)
    memory: int | None = None
    config: Path | None = None
    poll: float = 1.0
    keys: Keys | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    journal: TextIO | None = None
    requests: bool = False
    recording: Recording | None = None
    tracing: Tracing | None = None

    def __post_init__(self) -> None:
        where = "px.serving.Server"
        if not self.poll > 0:
            raise RangeError("poll above 0", got=repr(self.poll), fix="leave it out for a second", where=where)
        if (self.certificate is None) != (self.key is None):
            fix = "give both files, in PEM"
            raise OptionError("a certificate and its key", got="one of them", fix=fix, where=where)

    def elsewhere(self) -> Settings:
        """As they are for a process that has a journal of its own."""
        return replace(self, journal=None)

    def url(self, port: int) -> str:
        """The address, such as ``http://127.0.0.1:8501``."""
        return f"{'http' if self.certificate is None else 'https'}://{address(self.host, port)}"


def address(host: str, port: int) -> str:
    """A host and a port as one text.

    >>> address("::1", 80), address("localhost", 80)
    ('[::1]:80', 'localhost:80')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
