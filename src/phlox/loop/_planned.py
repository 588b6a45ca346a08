"""The step of px.fit for a model that is not there yet, on devices that are not: what px.parallel.plan looks at."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from phlox.core import Module, copy, eval_shape
from phlox.loop.preflight._report import Memory
from phlox.loop.preflight._step import Marked
from phlox.loop.steps._by_output import as_loss
from phlox.loop.steps._chunk import Program
from phlox.loop.steps._objective import Objective, check_loss
from phlox.loop.steps._precision import Precision
from phlox.loop.steps._step import Step
from phlox.nn import operations, reference_forms
from phlox.optim import Optimizer
from phlox.parallel import Case, Placement, steps_are_made_by

WHERE = "px.parallel.plan"


class StepOfFit:
    """A step as px.fit would compile it, from shapes.

    Arguments:
        case: what is trained; it stays as it is.
        placement: over which devices; None is one.
        platform: what it is compiled for.
    """

    def __init__(self, case: Case, placement: Placement | None, platform: str):
        loss = as_loss(case.loss, None, WHERE)
        check_loss(loss, WHERE)
        precision = Precision.of(case.precision, WHERE)
        model: Any = eval_shape(copy, case.model)
        precision.prepare(model, case.rule, WHERE)
        opt: Any = eval_shape(lambda model: Optimizer(case.rule, model), model)
        scale = None if precision.scale() is None else eval_shape(precision.scale)
        others: dict[str, Module] = {} if scale is None else {"guard": scale}
        batch = case.batch
        if placement is not None:
            placement.place(model, opt, *others.values())
            batch = placement.spread(batch)
        step = Step(Objective(loss, where=WHERE), precision=precision, placement=placement)
        with _forms(platform):
            self._marked = Marked(Program(step, 1).single, (model, opt, others, batch, None), {})

    def operations(self) -> int:
        """Floating-point operations of all devices together."""
        return operations(self._marked.ahead.jaxpr.jaxpr)

    def held(self) -> int:
        """Bytes that a device holds before the step begins: weights, the optimiser's state, its part of a batch."""
        return self._marked.held()

    def compiled(self) -> Any:
        """The program."""
        return self._marked.ahead.compiled

    def memory(self, limit: int | None) -> Memory:
        """What a device needs, as the compiler tells."""
        return self._marked.memory(limit)


def _forms(platform: str) -> AbstractContextManager[Any]:
    """Kernels of this machine's CPU are for programs that run on it alone."""
    return nullcontext() if platform == "cpu" else reference_forms()


steps_are_made_by(StepOfFit)
