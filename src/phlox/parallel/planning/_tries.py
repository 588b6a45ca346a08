"""One strategy after the other, compiled and looked at."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from phlox.core import PhloxError, computations, copy, eval_shape, trainable_arrays
from phlox.parallel._mesh import mesh
from phlox.parallel._placement import Placement
from phlox.parallel._strategy import Strategy
from phlox.parallel.planning._report import PlanRow, cost_of
from phlox.parallel.planning._sent import Sent, sent
from phlox.parallel.planning._step import Case, PlannedStep, planned_step
from phlox.parallel.planning._strategies import with_policy
from phlox.parallel.planning._time import times
from phlox.parallel.planning._topology import Topology
from phlox.parallel.strategies._fsdp import FSDP

_USED = re.compile(r"[Uu]sed ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm")
_TEMPORARIES = re.compile(r"HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
Remat = str | bool | None


@dataclass
class Tries:
    """What is tried, on which chips.

    Arguments:
        case: what is trained.
        topology: the chips.
        limit: bytes that a device has; None where nobody knows.
        price: of a chip for an hour.
        count: tokens of a step.
        told: what hears of each that is tried.
    """

    case: Case
    topology: Topology
    limit: int | None
    price: float | None
    count: int
    told: Callable[[PlanRow], None]
    _operations: dict[Remat, int] = field(default_factory=dict)  # by policy

    def of(self, strategy: Strategy, policies: tuple[Remat, ...]) -> PlanRow:
        """A strategy with the least of recomputing with which it fits; with the most where it fits with none."""
        row = PlanRow(strategy, None)
        for policy in policies:
            row = self._row(strategy, policy)
            self.told(row)
            if row.fits or row.reason:
                break
        return row

    def operations(self, policy: Remat) -> int:
        """Floating-point operations of a step, of all devices together; with False none of them twice."""
        if policy not in self._operations:
            step = planned_step(self._with(policy), None, self.topology.chip.platform)
            self._operations[policy] = step.operations()
        return self._operations[policy]

    def _with(self, policy: Remat) -> Case:
        return replace(self.case, model=with_policy(eval_shape(copy, self.case.model), policy))

    def _row(self, strategy: Strategy, policy: Remat) -> PlanRow:
        row = PlanRow(strategy, policy, flops=self.operations(policy) / self.topology.count)
        devices = self._devices
        try:
            placement = Placement.of(strategy, mesh(strategy.axes, devices=devices))
            step = planned_step(self._with(policy), placement, self.topology.chip.platform)
        except PhloxError as error:  # a strategy that does not suit the model, the batch or the number of devices
            return replace(row, reason=str(error).splitlines()[0])
        held = step.held()
        if self.limit is not None and held > self.limit:
            return replace(row, total=held, reason="weights, the optimiser's state and the batch are too much")
        return self._looked_at(row, step, placement)

    @functools.cached_property
    def _devices(self) -> list[Any]:
        return self.topology.devices()

    def _looked_at(self, row: PlanRow, step: PlannedStep, placement: Placement) -> PlanRow:
        try:
            compiled = step.compiled()
        except Exception as error:  # of the compiler: it refuses what does not fit, and says by how much
            total = too_much(str(error), step.held())
            if total is None:
                raise
            return replace(row, total=total)
        memory = step.memory(self.limit)
        row = replace(row, memory=memory, total=memory.total, fits=memory.fits)
        collectives = sent(computations(compiled.as_text()), placement.mesh)
        if not self.topology.exact:
            collectives = tuple(map(functools.partial(_as_on_gpus, placement=placement), collectives))
        row = replace(row, sent=collectives)
        return self._timed(row, placement) if self.topology.flops else row

    def _timed(self, row: PlanRow, placement: Placement) -> PlanRow:
        memory, topology = row.memory, self.topology
        lasting = memory.parameters + memory.state + memory.optimizer
        moved = 2 * (lasting + memory.activations + memory.temporaries) + memory.inputs + memory.outputs
        found = times(row.flops, moved, row.sent, topology, placement.strategy.batch, short=is_short(self.case))
        mfu = self.operations(False) / (topology.count * topology.flops * found.step)
        cost = None if self.price is None else cost_of(found.step, topology, self.price, self.count)
        return replace(row, times=found, mfu=mfu, cost=cost)


def is_short(case: Case) -> bool:
    """Whether products are of numbers of 16 bits: by the precision, or as the weights are."""
    if case.precision is not None:
        return "16" in str(case.precision)
    return all(v.dtype.itemsize == 2 for v in trainable_arrays(case.model).values())


def too_much(refusal: str, held: int) -> int | None:
    """Bytes that a program would need, where libtpu refuses it for them; None where it refuses for other reasons.

    Arguments:
        held: by its arguments, for where the refusal tells of what the program adds alone.
    """
    used, added = _USED.search(refusal), _TEMPORARIES.search(refusal)
    if used is not None:
        return int(float(used[1]) * _UNITS[used[2]])
    return None if added is None else held + int(float(added[1]) * _UNITS[added[2]])


def _as_on_gpus(one: Sent, placement: Placement) -> Sent:
    """A collective of a CPU's program as XLA has it on GPUs: a sum of which each takes a part goes straight to it."""
    cut = {axis for part in placement.strategy.parts if isinstance(part, FSDP) for axis in part.axes}
    if one.kind == "all-reduce" and one.axes and set(one.axes) <= cut:
        return replace(one, kind="reduce-scatter")
    return one
