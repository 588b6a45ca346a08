"""One trial of a study, and what may have become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DONE, PRUNED, FAILED, RUNNING = "done", "pruned", "failed", "running"


@dataclass(frozen=True)
class TrialResult:
    """One trial of a study.

    Attributes:
        number: as ``Trial.number``.
        settings: what was chosen, by name.
        value: what it came to; None where there is no number.
        state: "done", "pruned", "failed" or "running".
        curve: what it reported, by step.
        seconds: how long it took, None where it has not ended.
    """

    number: int
    settings: Mapping[str, Any]
    value: float | None
    state: str
    curve: Mapping[int, float] = field(default_factory=dict, repr=False)
    seconds: float | None = None
