"""The memory of fit's step, checked before the first one; and the step made to fit, with the same numbers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from phlox.core import Module, RangeError, copy, describe, global_norm, jit, paths, tree_map
from phlox.loop.batches._batch import leading
from phlox.loop.preflight._report import Memory, MemoryAdvice, NotEnoughMemoryError
from phlox.loop.preflight._saving import ALL_AT_ONCE, Saving
from phlox.loop.preflight._search import Search
from phlox.loop.preflight._step import measured
from phlox.loop.steps._chunk import Program, slow_in_a_loop
from phlox.loop.steps._step import Others, OwnStep, Step, spread
from phlox.optim import Optimizer
from phlox.parallel import Pipeline

AnyStep = Step | OwnStep
_FEW = 4  # examples on which it is seen whether a batch may be split


def check_memory(memory: Any, where: str) -> None:
    """Refuse what is no setting of ``memory``."""
    mode, limit = memory if isinstance(memory, tuple) and len(memory) == 2 else (memory, None)
    known = mode in (None, "check", "auto") and (limit is None or (isinstance(limit, int) and limit > 0))
    if not known or (mode is None and limit is not None):
        raise RangeError(
            'memory as None, "check", "auto", or one of the two with a number of bytes',
            got=describe(memory) if not isinstance(memory, tuple) else repr(memory),
            fix='for example memory=("check", 8 * 2**30) for 8 GiB',
            where=where,
        )


def step_that_fits(
    memory: Any, step: AnyStep, slots: int, model: Module, opt: Optimizer, others: Others, batch: Any
) -> tuple[AnyStep, int]:
    """The step and how many batches a call takes, or with ``"auto"`` what gives the same numbers in less memory.

    Raises:
        NotEnoughMemoryError: it needs more than there is, and nothing that keeps the numbers is enough.
    """
    if memory is None:
        return step, slots
    mode, limit = memory if isinstance(memory, tuple) else (memory, None)
    fitting = _Fitting(step, slots, (model, opt, others), batch, limit)
    if fitting.found.fits:
        return step, slots
    if slots > 1:  # first of all, one batch in a call
        alone = _Fitting(step, 1, (model, opt, others), batch, limit)
        if alone.found.fits and mode == "check":
            fitting.refused([MemoryAdvice("one batch in a call", alone.found.total, True)])
        if alone.found.fits:
            return step, 1
        fitting = alone
    return fitting.chosen() if mode == "auto" and isinstance(step, Step) else fitting.refused(), 1


class _Fitting:
    """A step of fit that needs more memory than there is."""

    def __init__(
        self, step: AnyStep, slots: int, state: tuple[Module, Optimizer, Others], batch: Any, limit: int | None
    ):
        self.step, self.slots, self.state, self.batch = step, slots, state, batch
        self.found = self._measured(step, limit)
        self.reason = ""  # why the batch may not be split

    def chosen(self) -> Step:
        """The step with what makes it fit: micro-batches, else remat, else both."""
        search = self._search()
        order = [search.micro_batches, search.remat]
        if self._slow_in_parts():
            order.reverse()
        tried: list[MemoryAdvice | None] = []
        for attempt in order:
            tried.append(attempt())
            if tried[-1] is not None and tried[-1].fits:
                return self._changed(tried[-1].micro_batches, tried[-1].remat)
        again = next((a.remat for a in tried if a is not None and a.remat), ())
        both = search.micro_batches(again) if again else None
        if both is not None and both.fits:
            return self._changed(both.micro_batches, both.remat)
        return self.refused([*tried, both])

    def refused(self, tried: Sequence[MemoryAdvice | None] | None = None) -> NoReturn:
        """Raise, and say what would help."""
        if tried is None:
            search = self._search() if isinstance(self.step, Step) else None
            tried = [] if search is None else [search.micro_batches(), search.remat()]
        helps = [a for a in tried if a is not None and a.total < self.found.total]
        chosen = [
            dataclasses.replace(a, change=f'memory="auto", which takes {a.change}') if a.fits else a for a in helps
        ]
        report = dataclasses.replace(self.found, name="px.fit", advice=tuple(chosen))
        try:
            report.check()
        except NotEnoughMemoryError as error:
            if self.reason:
                error.fix = f"{error.fix} (micro-batches would change the numbers: {self.reason})"
            raise
        raise AssertionError

    def _search(self) -> Search:
        assert isinstance(self.step, Step)
        assert self.found.limit is not None
        self.reason = why_not_in_parts(self.step, self.state[0], self.state[2], self.batch)
        devices = _devices(self.step)
        return Search(self._measure, self.found.limit, leading(self.batch), devices=devices, splits=not self.reason)

    def _measure(self, n: int, again: tuple[str, ...]) -> Memory:
        return self.found if n == 1 and not again else self._measured(self._changed(n, again), self.found.limit)

    def _changed(self, n: int, again: tuple[str, ...]) -> Step:
        assert isinstance(self.step, Step)
        rows = None if n == 1 else leading(self.batch) // n
        return dataclasses.replace(self.step, saving=Saving(rows, again))

    def _measured(self, step: AnyStep, limit: int | None) -> Memory:
        program = Program(step, self.slots)
        summed = "sums" in self.state[2]
        if self.slots == 1:
            return measured(program.single, (*self.state, self.batch, np.bool_(True) if summed else None), {}, limit)
        flags = np.ones(self.slots, bool) if summed else None
        stack = jax.tree.map(functools.partial(_stacked, self.slots), self.batch)
        return measured(program.many, (*self.state, stack, flags, np.int32(0), np.int32(self.slots)), {}, limit)

    def _slow_in_parts(self) -> bool:
        assert isinstance(self.step, Step)
        model, opt, others = self.state
        return slow_in_a_loop(self.step, model, opt, others, self.batch)


def why_not_in_parts(step: Step, model: Module, others: Others, batch: Any) -> str:
    """Why a batch in parts would give other numbers than whole, or nothing: seen on its first examples.

    Loss and gradients of a few examples together must be the weighted means of theirs apart, and the forward pass must
    move no State: statistics would move more often, and keys draw other numbers.
    """
    rows, devices = leading(batch), _devices(step)
    if _goes_in_parts_already(step):
        return "a pipeline cuts the batch into micro-batches already: see its microbatches=, and accumulate="
    if rows < 2 * devices:
        return "there is one example" + (" for each device" if devices > 1 else "")
    few = 2 * devices if devices > 1 else min(_FEW, rows) // 2 * 2
    some = jax.tree.map(lambda v: v[:few] if np.ndim(v) and np.shape(v)[0] == rows else v, batch)

    @jit(donate=False)
    def compared(model: Module, others: Others, batch: Any) -> Any:
        found = []
        for saving in (ALL_AT_ONCE, Saving(rows=few // 2)):
            twin = copy(model)
            before = paths(twin)
            with spread(step.placement, batch):
                loss, _, grads = dataclasses.replace(step, saving=saving).backward(twin, copy(others), batch)
            found.append((loss, grads, [path for path, v in paths(twin).items() if v is not before[path]]))
        (loss, grads, moved), (loss_too, grads_too, _) = found
        apart = global_norm(tree_map(jnp.subtract, grads, grads_too)), jnp.abs(loss - loss_too)
        return *apart, global_norm(grads), jnp.abs(loss), _shortened(moved), str(loss.dtype)

    apart, loss_apart, size, loss_size, moved, dtype = compared(model, others, some)
    if moved:
        return f"the forward pass moves {moved}"
    near = float(jnp.finfo(step.precision.name or dtype).eps) ** 0.5
    if not (float(apart) <= near * float(size) + 1e-12 and float(loss_apart) <= near * float(loss_size) + 1e-12):
        return "the loss or a layer mixes the examples of a batch"
    return ""


def _devices(step: Step) -> int:
    """How many devices share a batch."""
    return 1 if step.placement is None else step.placement.rows


def _goes_in_parts_already(step: Step) -> bool:
    return step.placement is not None and any(isinstance(part, Pipeline) for part in step.placement.strategy.parts)


def _stacked(slots: int, leaf: Any) -> Any:
    """The form of so many arrays of a batch in one, cut over devices as they are."""
    lies = getattr(leaf, "sharding", None)
    where = NamedSharding(lies.mesh, PartitionSpec(None, *lies.spec)) if isinstance(lies, NamedSharding) else None
    return jax.ShapeDtypeStruct((slots, *np.shape(leaf)), jnp.result_type(leaf), sharding=where)


def _shortened(paths: list[str]) -> str:
    return ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
