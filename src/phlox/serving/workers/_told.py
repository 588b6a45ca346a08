"""What a worker is told when it starts, and what it leaves for who started it."""

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


def fault_path(folder: Path, slot: int) -> Path:
    """Where a worker leaves its error."""
    return folder / f"fault-{slot}"


def now_path(folder: Path, slot: int) -> Path:
    """Where a worker writes down what is so now."""
    return folder / f"now-{slot}.json"
