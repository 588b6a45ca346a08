"""A file beside the model: run in its format's own runtime on every example, and refused where it differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import ExportError, Module, PhloxError, copy, is_key, jit, load_state_dict, split
from phlox.interchange._comparing import largest, tolerance_of
from phlox.interchange._forms import taken_apart
from phlox.interchange._layers import where_it_begins
from phlox.interchange._program import Program, Request, drawn_from
from phlox.interchange._report import ExportRow
from phlox.interchange._scopes import operations
from phlox.interchange.targets._target import Target
from phlox.weights import Example

_PATIENCE = 0.02  # seconds that calls are timed for, at least three of them


class Truth:
    """What the model itself gives for inputs, as ``px.jit`` runs it.

    Arguments:
        model: the model.
        request: what is asked of it.
        where: the function that speaks in errors.
    """

    def __init__(self, model: Module, request: Request, where: str):
        self.model, self.request = model, request
        self._run = jit(
            lambda model, inputs: taken_apart(request.result(model, inputs, where), where, request.inputs)[0]
        )

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name."""
        return self._run(self._keyed(inputs), dict(inputs))

    def _keyed(self, inputs: Mapping[str, Any]) -> Module:
        """The model, or a copy that draws from a key among the inputs."""
        own = [inputs[name] for name in self.request.own_keys()]
        if not own:
            return self.model
        params, state = split(self.model)
        held = drawn_from({**params, **state}, own)
        fresh = copy(self.model)
        load_state_dict(fresh, {name: x for name, x in held.items() if is_key(x)}, strict=False)
        return fresh


def proved(
    target: Target,
    program: Program,
    folder: Path,
    examples: Sequence[Example],
    truth: Truth,
    tolerance: float | None,
) -> ExportRow:
    """How a file does beside the model.

    Raises:
        ExportError: its runtime does not run it, or it differs by more than the tolerance; says at which layer that
            begins.
    """
    with _running(target, program):
        run = target.opened(program, folder)
    most = _tolerance(program) if tolerance is None else tolerance
    worst = 0.0
    for example in examples:
        with _running(target, program):
            outputs = run(example.inputs)
        found = largest(outputs, example.outputs)
        if not found <= most:
            begins = where_it_begins(target, truth.model, program, example.inputs, most)
            raise ExportError(
                f"{target.file(program.name)} to give what the model gives, to {most:.0e}",
                got=f"a difference of {found:.1e}, which begins {begins}",
                fix="nothing was written; write that layer in other operations, choose another format, or pass a "
                "tolerance that you can answer for",
                where=program.where,
            )
        worst = max(worst, found)
    first = examples[0].inputs
    return ExportRow(
        target=target.runtime,
        signature=program.name,
        file=target.file(program.name),
        size=(folder / target.file(program.name)).stat().st_size,
        error=worst,
        tolerance=most,
        seconds=_seconds(lambda: run(first)),
        model_seconds=_seconds(lambda: truth(first)),
    )


@contextmanager
def _running(target: Target, program: Program) -> Iterator[None]:
    """Say in our words that a runtime refuses a file, or breaks off."""
    try:
        yield
    except PhloxError:
        raise
    except Exception as error:
        raise ExportError(
            f"{target.file(program.name)} to run in {target.runtime}",
            got=f"{type(error).__name__}: {str(error).strip()[:400]}",
            fix="nothing was written; another version of the runtime or another format may do",
            where=program.where,
        ) from error


def _tolerance(program: Program) -> float:
    """What the least precise array of a program allows; one that is rounded to 8 bits may go to either neighbour."""
    weights = [x.dtype for x in program.weights.values()]
    rounded = [jnp.bfloat16] if _rounds(program) else []
    return tolerance_of([*weights, *(x.dtype for x in program.outputs), *rounded])


def _rounds(program: Program) -> bool:
    """Whether layers round what comes in to 8 bits, as many as the digits of bfloat16 have."""
    if not any(x.dtype in (jnp.int8, jnp.uint8) for x in program.weights.values()):
        return False
    return any(operation.name == "phlox_round" for operation in operations(program.whole.jaxpr.jaxpr))


def _seconds(call: Callable[[], Mapping[str, Any]]) -> float:
    """The time of the fastest call."""
    best, end = float("inf"), time.perf_counter() + _PATIENCE
    for n in range(1000):
        start = time.perf_counter()
        for x in call().values():
            np.asarray(x)
        best = min(best, time.perf_counter() - start)
        if n >= 2 and time.perf_counter() > end:
            break
    return best
