"""The step of a private training: each example's gradient by itself, and nothing else of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp

from phlox.core import Module, StructureError, describe
from phlox.loop import Objective
from phlox.privacy.private._clipped import Clipped, clipped_sum


class Private(Protocol):
    """What the step knows of its optimiser."""

    clip: float

    def read(self, batch: tuple[Any, ...]) -> tuple[Any, Any]:
        """Examples of a batch, and which of them are real."""
        ...

    def take(self, model: Module, found: Clipped) -> None:
        """A step down the sum of clipped gradients, with noise."""
        ...


@dataclass(frozen=True)
class PrivateStep:
    """``step(model, opt, *batch)``: a step of a ``PrivateOptimizer``; gives the mean loss and ``{"clipped": share}``.

    Both are of the examples as they are, without noise: they are for the one who trains, and no part of what ε bounds.

    Arguments:
        objective: the loss of one example, given as a batch of one.
        microbatch: examples whose gradients are in memory at a time; None for all.
    """

    objective: Objective
    microbatch: int | None = None

    def __call__(self, model: Module, opt: Private, *batch: Any) -> tuple[Any, dict[str, Any]]:
        if not hasattr(opt, "take"):
            raise StructureError(
                "the PrivateOptimizer that it is a step of",
                got=describe(opt),
                fix="pass px.privacy.PrivateOptimizer(rule, model, …) as optimizer",
                where=self.objective.where,
            )
        examples, real = opt.read(batch)
        found = clipped_sum(model, self.objective, opt.clip, examples, real, self.microbatch)
        opt.take(model, found)
        count = jnp.maximum(found.count, 1)
        return found.loss / count, {"clipped": found.longer / count}
