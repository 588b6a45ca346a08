"""Where things lie in the folder that workers share."""

from __future__ import annotations

from pathlib import Path


def fault_path(folder: Path, slot: int) -> Path:
    """Where a worker leaves its error."""
    return folder / f"fault-{slot}"


def tally_path(folder: Path, slot: int) -> Path:
    """Where a worker writes down what it counted of versions."""
    return folder / f"tally-{slot}.json"


def now_path(folder: Path, slot: int) -> Path:
    """Where a worker writes down what is so now."""
    return folder / f"now-{slot}.json"
