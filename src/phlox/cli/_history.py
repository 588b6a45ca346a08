"""What a run of the quickstart measured."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """What a training run measured."""

    losses: list[float] = field(default_factory=list)  # mean over each epoch
    validation: list[float] = field(default_factory=list)  # accuracy after each epoch
    compile_seconds: float = 0.0  # of the first call of each compiled function
    train_seconds: float = 0.0  # of all other calls
