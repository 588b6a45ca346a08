"""The step that a plan looks at: that of px.fit, which the training loop, a floor above, hands down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from phlox.core import Module
from phlox.parallel._placement import Placement


@dataclass(frozen=True)
class Case:
    """What is to be trained, in shapes.

    Attributes:
        model: shapes in place of arrays.
        rule: of ``px.optim``, or a transformation of optax.
        batch: ``jax.ShapeDtypeStruct`` in place of arrays.
        loss: as for ``px.fit``.
        precision: as for ``px.fit``.
    """

    model: Module
    rule: Any
    batch: Any
    loss: Any
    precision: Any


class PlannedStep(Protocol):
    """A step of px.fit for shapes, spread over devices or not."""

    def operations(self) -> int:
        """Floating-point operations of all devices together."""
        ...

    def held(self) -> int:
        """Bytes that a device holds before the step begins; known without compiling."""
        ...

    def compiled(self) -> Any:
        """The program, as JAX compiles it."""
        ...

    def memory(self, limit: int | None) -> Any:
        """The ``px.Memory`` of a device, as the compiler tells."""
        ...


_maker: list[Callable[[Case, Placement | None, str], PlannedStep]] = []


def steps_are_made_by(maker: Callable[[Case, Placement | None, str], PlannedStep]) -> None:
    """Hand down what makes a step of px.fit, of a case, a placement and a platform to compile for."""
    _maker[:] = [maker]


def planned_step(case: Case, placement: Placement | None, platform: str) -> PlannedStep:
    """The step of px.fit for a case, over the devices of a placement."""
    if not _maker:
        import_module("phlox.loop")  # nobody has used it yet; it hands its step down as it is loaded
    return _maker[0](case, placement, platform)
