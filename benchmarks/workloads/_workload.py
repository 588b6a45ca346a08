"""What a workload is: a model in every framework, the batches it sees, and what Phlox is held to on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Batch = tuple[np.ndarray, np.ndarray]  # inputs, channels last; classes (…,), one for each row of logits


@dataclass(frozen=True)
class Workload:
    """One model and its batches. Training is Adam on the cross entropy of logits; inference is one forward pass."""

    name: str
    title: str
    batch: Callable[[np.random.Generator], Batch]
    models: Mapping[str, Callable[..., Any]]  # by framework: a function that imports it and builds the model
    bar: float  # how long Phlox may take at most, in times of the fastest peer
    steps: int  # in one timed block; a multiple of ``batches``
    batches: int = 4  # seen in turn; a many-step form takes all of them in one dispatch
    infers: bool = False
    tiny: bool = False  # a step is mostly overhead: many-step forms, and those that differ in it alone, take part
    space: int = 0  # spatial axes of the inputs, which some frameworks have behind the channels
    surplus: Mapping[str, int] = field(default_factory=dict)  # parameters that a framework's layer has and others not

    def data(self) -> list[Batch]:
        """The batches, the same in every process."""
        rng = np.random.default_rng(0)
        return [self.batch(rng) for _ in range(self.batches)]


def noise(*shape: int, classes: int, labels: tuple[int, ...] | None = None) -> Callable[[np.random.Generator], Batch]:
    """Batches of normal inputs of a shape, with random classes: one for each example, or of another shape."""

    def draw(rng: np.random.Generator) -> Batch:
        x = rng.normal(size=shape).astype(np.float32)
        return x, rng.integers(0, classes, shape[:1] if labels is None else labels).astype(np.int32)

    return draw


def tokens(*shape: int, vocabulary: int) -> Callable[[np.random.Generator], Batch]:
    """Batches of random tokens (batch, time); the target of each is the token after it."""

    def draw(rng: np.random.Generator) -> Batch:
        drawn = rng.integers(0, vocabulary, (shape[0], shape[1] + 1)).astype(np.int32)
        return drawn[:, :-1].copy(), drawn[:, 1:].copy()

    return draw
