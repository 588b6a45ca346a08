"""A compiled program: made for one structure of arguments, and run on living Modules with old buffers donated."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import jax

from phlox.core._compat import jaxpr_as_fun
from phlox.core._errors import StateError, lost_buffers
from phlox.core.context import _dtypes, _mode
from phlox.core.context._later import raised
from phlox.core.context._random import is_key
from phlox.core.context._trail import where as named_root
from phlox.core.module._plan import Plan, named_path
from phlox.core.module._slots import Slots
from phlox.core.transforms._functionalize import Call, Outcome, Record
from phlox.core.transforms._names import array_names, named, pure_of
from phlox.core.transforms._refused import REFUSALS, explain
from phlox.core.transforms._retrace import Retraces


def call_context() -> Any:
    """What a program depends on besides its arguments: the mode and the policy of dtypes."""
    return _mode.automatic(), _dtypes.policy()


class Program:
    """One structure of arguments, compiled by JAX once per shapes and dtypes.

    Which leaves the function overwrites is known only after a trace. The first call traces to a jaxpr,
    learns it, and compiles that jaxpr with those leaves donated; the user's code runs once.
    """

    def __init__(self, call: Call, history: Retraces, donate: bool):
        self.history = history
        self.history.note(call, call.leaves, call.bare)
        jaxpr, outcome = jax.make_jaxpr(pure_of(call), return_shape=True)(call.leaves, call.bare)
        self.first: Any = (jaxpr, outcome.record)
        # A key is eight bytes, and key_data(key) is a second name for them that no reference count shows.
        overwritten = [i for i in outcome.record.written if donate and not is_key(call.leaves[i])]
        count = len(call.leaves)
        self.donated = overwritten
        self.kept = [i for i in range(count) if i not in set(overwritten)]
        self.call = call  # for the traces that follow: what the arguments look like, without their arrays
        arrays, bare = array_names(call)
        self.names = [arrays[i] for i in (*self.donated, *self.kept)] + bare
        self.jitted = self.jitted_anew()
        call.leaves, call.bare = [], []
        del call.plan  # it knows where the first model's arrays are, and would keep them alive

    def jitted_anew(self) -> Any:
        """The program as JAX compiles it."""
        return jax.jit(named(lambda *xs: self._replayed(*xs), self.call, self.names), donate_argnums=0)

    def _replayed(self, donated: list[Any], kept: list[Any], bare: list[Any]) -> Outcome:
        leaves: list[Any] = [None] * (len(donated) + len(kept))
        for i, v in zip(self.donated, donated, strict=True):
            leaves[i] = v
        for i, v in zip(self.kept, kept, strict=True):
            leaves[i] = v
        outcome = self._from_first(leaves, bare) or self._traced(leaves, bare)
        # What was donated must come back, also where this trace left it alone.
        written = dict(zip(outcome.record.written, outcome.written, strict=True))
        back = sorted({*written, *self.donated})
        values = [written.get(i, leaves[i]) for i in back]
        return Outcome(outcome.outputs, values, (), Record(outcome.record.result, tuple(back)))

    def _from_first(self, leaves: list[Any], bare: list[Any]) -> Outcome | None:
        first, self.first = self.first, None  # in one go: another thread may ask at the same time
        if first is None:
            return None
        jaxpr, record = first
        flat = jax.tree.leaves((leaves, bare))
        values = jaxpr_as_fun(jaxpr)(*flat)
        outputs = len(values) - len(record.written)
        return Outcome(values[:outputs], values[outputs:], (), record)

    def _traced(self, leaves: list[Any], bare: list[Any]) -> Outcome:
        self.history.note(self.call, leaves, bare)
        return self.call.pure(leaves, bare)


# --- one call ----------------------------------------------------------------------------------------


def _calibrate() -> int:
    """What the reference count of an array is when its slot, and the list we gather, alone hold it."""
    slots = Slots([({"a": object()}, "a")])
    gathered = slots.gather()
    return sum(map(getrefcount, gathered))


_baseline = _calibrate()


@jax.jit
def _copied(arrays: list[Any]) -> list[Any]:
    return [jax.numpy.copy(a) for a in arrays]


class Entry:
    """A program bound to the slots of living Modules: what one call runs through."""

    __slots__ = ("context", "donated", "kept", "owners", "plan", "program", "record", "roots", "slots")

    def __init__(self, plan: Plan, program: Program, context: Any):
        self.plan, self.program, self.context = plan, program, context
        self.donated = Slots([plan.slots[i] for i in program.donated])
        self.kept = Slots([plan.slots[i] for i in program.kept])
        self.record: Record | None = None
        self.slots = Slots([])
        self.owners: list[Any] = []
        self.roots = [plan.metas[r].uid for r in plan.structure.roots]

    def run(self, bare: list[Any]) -> Any:
        """One call on the arrays as they are now. Every line here is paid at every step."""
        donated = self.donated.gather()
        if donated:
            _claim(self.plan, self.roots)
        try:
            if donated and sum(map(getrefcount, donated)) > _baseline * len(donated):
                donated = _unaliased(donated)
            outcome = self.program.jitted(donated, self.kept.gather(), bare)
            record = outcome.record
            if record is not self.record:
                self._expect(record)
            self.slots.write(outcome.written)
        except Exception as error:
            told, lost = raised(error), _lost(self.plan)
            if lost:
                raise lost_buffers(*lost) from told or error
            if told is not None:
                raise told from None
            if isinstance(error, REFUSALS):  # a tracer of another trace is noticed when this one is compiled
                explain(error, self.program.call)
            raise
        finally:
            if donated:
                _release(self.roots)
        if record.result.single:
            return outcome.outputs[0]
        return record.result.rebuild(outcome.outputs, self.plan.module)

    def _expect(self, record: Record) -> None:
        self.record = record
        self.slots = Slots([self.plan.slots[i] for i in record.written])


def _unaliased(arrays: list[Any]) -> list[Any]:
    """Copies, in one call, of the arrays that something besides their slot holds."""
    aliased = [i for i, count in enumerate(map(getrefcount, arrays)) if count > _baseline]
    copies = _copied([arrays[i] for i in aliased])
    for i, copy in zip(aliased, copies, strict=True):
        arrays[i] = copy
    return arrays


def _lost(plan: Plan) -> tuple[str, str] | None:
    """The first array of the Modules whose buffer is gone, and its root, as text; None where all live."""
    for i, x in enumerate(plan.gather()):
        if isinstance(x, jax.Array) and x.is_deleted():
            root = plan.structure.roots[plan.structure.leaf_path(i)[0]]
            return named_path(plan, plan.structure, i), named_root(plan.module(root))
    return None


_claims: dict[int, object] = {}  # root uid → the call that is stepping it; setdefault is atomic


def _claim(plan: Plan, roots: list[int]) -> None:
    """Mark Modules as being stepped; another thread stepping one of them now would lose its buffers."""
    token = object()
    for n, uid in enumerate(roots):
        if _claims.setdefault(uid, token) is not token:
            _release(roots[:n])
            raise StateError(
                "one thread at a time to change a model",
                got=f"two threads stepping {named_root(plan.module(plan.structure.roots[n]))}",
                fix="give each thread its own px.copy(model), or put a lock around the step",
                where="px.jit",
            )


def _release(roots: list[int]) -> None:
    for uid in roots:
        del _claims[uid]
