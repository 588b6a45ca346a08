"""What a worker is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phlox.serving._settings import Settings


@dataclass(frozen=True)
class Told:
    """What a worker is told over its standard input.

    Arguments:
        settings: those of the server.
        slot, count: which of how many it is.
        folder: what the workers share.
        listener: the number of the socket that it inherits.
        grpc_port: where all listen for gRPC.
        journal: whether it writes lines.
    """

    settings: Settings
    slot: int
    count: int
    folder: Path
    listener: int
    grpc_port: int | None
    journal: bool
