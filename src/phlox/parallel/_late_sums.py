"""Sums over a batch done as late as they may be, many in one message.

Between processes a sum costs some milliseconds whatever its size, and XLA's CPU runtime sends one for each array, those
that its compiler combined too. So a step is traced, and replayed with a difference: where it sums over the rows of a
batch, as for the gradient of a weight, each device sums its own rows, and what they found is added up when the first of
these numbers is needed: then for all of them at once, small arrays in one vector.

What is not recognised as such a sum is the partitioner's, as ever. A mistake about what is cut could cost time and no
number: ``jax.shard_map`` gives what whole arrays would.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from phlox.core import functionalize
from phlox.core._compat import Literal, run_equation
from phlox.nn import Parts, summing_kernel

PACKED = 1 << 20  # elements: of a larger array, copying into a vector costs about what a message does
_LINEAR = frozenset({"transpose", "reshape", "squeeze", "broadcast_in_dim", "neg", "reduce_sum"})  # in one array


class Sum:
    """A sum over the rows of a batch that is not done yet.

    Attributes:
        operands: whole arrays, cut along their first axes.
        part: a device's sum from its parts of the operands.
        value: the sum, once it was needed.
    """

    operands: list[Any]
    part: Callable[..., Any]
    value: Any

    def __init__(self, operands: Sequence[Any], part: Callable[..., Any]):
        self.operands, self.part, self.value = list(operands), part, None

    def then(self, more: Callable[[Any], Any]) -> Sum:
        """The sum of what a function that commutes with sums makes of each part."""
        return Sum(self.operands, lambda *parts: more(self.part(*parts)))

    def plus(self, other: Sum) -> Sum:
        """Both together."""
        count = len(self.operands)
        added = lambda *parts: self.part(*parts[:count]) + other.part(*parts[count:])  # noqa: E731
        return Sum([*self.operands, *other.operands], added)


@dataclass(frozen=True)
class Known:
    """An array of the replay, and whether its first axis is the batch's."""

    array: Any  # or a Sum
    cut: bool = False


def with_late_sums(fn: Callable[..., Any], parts: Parts, where: str) -> Callable[..., Any]:
    """The same function of Modules and a batch, in a trace, its sums over the batch done late.

    Arguments:
        fn: of its arguments, arrays that are in no Module are the batch.
        parts: how the batch is cut.
        where: who speaks in errors.
    """

    @functools.wraps(fn)
    def late(*args: Any, **kwargs: Any) -> Any:
        call = functionalize(fn, args, kwargs, kind="remat", label=where.removeprefix("px."))
        traced, form = jax.make_jaxpr(lambda *xs: call.pure(*xs), return_shape=True)(call.leaves, call.bare)
        given = [Known(v) for v in call.leaves] + [Known(v, _has_rows(v, parts)) for v in call.bare]
        replay = Replay(parts)
        found = replay.run(traced.jaxpr, [Known(v) for v in traced.consts], given)
        outputs = [replay.whole(v) for v in found]
        return call.commit(jax.tree.unflatten(jax.tree.structure(form), outputs))

    return late


class Replay:
    """Runs the equations of a traced step again, and keeps the sums that wait.

    Arguments:
        parts: how the batch is cut.
    """

    parts: Parts
    waiting: list[Sum]

    def __init__(self, parts: Parts):
        self.parts, self.waiting = parts, []

    def run(self, jaxpr: Any, consts: Sequence[Known], given: Sequence[Known]) -> list[Known]:
        """The results of a jaxpr, of which some may be sums that wait."""
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *given], strict=True))
        uses = Counter(v for e in jaxpr.eqns for v in e.invars if not isinstance(v, Literal))
        uses.update(v for v in jaxpr.outvars if not isinstance(v, Literal))
        read = lambda v: Known(v.val) if isinstance(v, Literal) else known[v]  # noqa: E731
        for equation in jaxpr.eqns:
            values = [read(v) for v in equation.invars]
            found = self._late(jaxpr, equation, values, uses) if any(uses[v] for v in equation.outvars) else None
            found = self._now(jaxpr, equation, values) if found is None else found
            known.update(zip(equation.outvars, found, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def whole(self, known: Known) -> Any:
        """An array, added up by now: with it all that wait."""
        if not isinstance(known.array, Sum):
            return known.array
        if known.array.value is None:
            if not any(s is known.array for s in self.waiting):  # it went on under another name
                self.waiting.append(known.array)
            self._add_up()
        return known.array.value

    # --- an equation ---------------------------------------------------------------------------------

    def _now(self, jaxpr: Any, equation: Any, values: Sequence[Known]) -> list[Known]:
        """The results of an equation as it stands."""
        inner = equation.params.get("jaxpr") if equation.primitive.name in ("jit", "pjit") else None
        if inner is not None and any(e.primitive.name in _SUMS for e in inner.jaxpr.eqns):
            return self.run(inner.jaxpr, [Known(v) for v in inner.consts], values)
        found = run_equation(jaxpr, equation, [self.whole(v) for v in values])
        cut = any(v.cut for v in values) and not _is_held_whole(equation)
        return [Known(v, cut and _has_rows(v, self.parts)) for v in found]

    def _late(self, jaxpr: Any, equation: Any, values: Sequence[Known], uses: Mapping[Any, int]) -> list[Known] | None:
        """The results of an equation that is a sum over rows, or goes on with sums that wait; None for others.

        Arguments:
            uses: how often each variable is read.
        """
        named = [(v, at) for v, at in zip(values, equation.invars, strict=True) if not isinstance(at, Literal)]
        sums = [v.array for v, at in named if isinstance(v.array, Sum) and v.array.value is None and uses[at] == 1]
        if sums and len(sums) == len(named):
            return self._going_on(jaxpr, equation, sums)
        if any(isinstance(v.array, Sum) for v in values):
            return None
        arrays = [v.array for v in values]
        kernel = summing_kernel(equation)
        if kernel is not None:
            return self._of_kernel(kernel, equation, arrays, uses)
        rule = _SUMS.get(equation.primitive.name)
        if rule is None or not all(v.cut for v in values) or not rule(equation.params):
            return None
        return [self._waits(Sum(arrays, lambda *parts: run_equation(jaxpr, equation, parts)[0]))]

    def _going_on(self, jaxpr: Any, equation: Any, sums: Sequence[Sum]) -> list[Known] | None:
        """What is done to sums that wait, where it may as well be done to each part."""
        name = equation.primitive.name
        if len(sums) == 2:
            if name not in ("add_any", "add") or sums[0] is sums[1]:
                return None
            after = sums[0].plus(sums[1])
        elif _is_held_whole(equation):
            after = sums[0]
        elif name in _LINEAR or _widens(equation) or _scales(equation):
            values = [v.val if isinstance(v, Literal) else None for v in equation.invars]
            at = values.index(None)
            after = sums[0].then(lambda part: run_equation(jaxpr, equation, values[:at] + [part] + values[at + 1 :])[0])
        else:
            return None
        self.waiting = [s for s in self.waiting if not any(s is used for used in sums)]
        return [self._waits(after)]

    def _of_kernel(self, kernel: Any, equation: Any, arrays: Sequence[Any], uses: Mapping[Any, int]) -> list[Known]:
        """The results of a kernel, those of its sums apart that somebody reads."""
        alone = functools.partial(kernel.primitive.bind, **{**equation.params, "over": None})
        found = equation.params["over"].apart(kernel.roles, alone)(*arrays)
        return [
            self._waits(Sum([a], lambda part: part[0])) if letter == "s" and uses[v] else Known(a, letter == "r")
            for v, a, letter in zip(equation.outvars, found, kernel.roles.outputs, strict=True)
        ]

    # --- sums ----------------------------------------------------------------------------------------

    def _waits(self, later: Sum) -> Known:
        self.waiting.append(later)
        return Known(later)

    def _add_up(self) -> None:
        """Give all that wait their values."""
        sums, self.waiting = self.waiting, []
        counts = [len(s.operands) for s in sums]
        starts = list(accumulate(counts, initial=0))

        def added(*operands: Any) -> list[Any]:
            parts = [s.part(*operands[i : i + n]) for s, i, n in zip(sums, starts, counts, strict=False)]
            return _summed(parts, self.parts.axes)

        operands = [a for s in sums for a in s.operands]
        rows, whole = PartitionSpec(self.parts.axes), PartitionSpec()
        spread = jax.shard_map(added, mesh=self.parts.mesh, in_specs=rows, out_specs=whole, check_vma=False)
        for s, value in zip(sums, spread(*operands), strict=True):
            s.value = value


def _summed(parts: Sequence[Any], axes: tuple[str, ...]) -> list[Any]:
    """The sums of arrays over devices, those that are small in one vector of each dtype."""
    found: list[Any] = list(parts)
    small = [i for i, a in enumerate(parts) if a.size <= PACKED]
    for dtype in dict.fromkeys(parts[i].dtype for i in small):
        which = [i for i in small if parts[i].dtype == dtype]
        vector = lax.psum(jnp.concatenate([parts[i].reshape(-1) for i in which]), axes)
        ends = list(accumulate(parts[i].size for i in which))
        for i, piece in zip(which, jnp.split(vector, ends[:-1]), strict=True):
            found[i] = piece.reshape(parts[i].shape)
    for i in set(range(len(parts))) - set(small):
        found[i] = lax.psum(parts[i], axes)
    return found


# --- what is recognised -------------------------------------------------------------------------------


def _has_rows(value: Any, parts: Parts) -> bool:
    """Whether an array has the rows of a batch, and the devices can share them."""
    shape = jnp.shape(value)
    return bool(shape) and shape[0] > 0 and shape[0] % parts.rows == 0 and shape[0] % parts.count == 0


def _sums_rows(params: dict[str, Any]) -> bool:
    return 0 in params["axes"]


def _multiplies_rows(params: dict[str, Any]) -> bool:
    (left, right), _ = params["dimension_numbers"]
    return (0, 0) in zip(left, right, strict=True)


_SUMS: dict[str, Callable[[dict[str, Any]], bool]] = {"reduce_sum": _sums_rows, "dot_general": _multiplies_rows}


def _is_held_whole(equation: Any) -> bool:
    """Whether an equation holds an array whole on every device."""
    held = equation.primitive.name == "sharding_constraint"
    return held and getattr(equation.params.get("sharding"), "is_fully_replicated", False)


def _scales(equation: Any) -> bool:
    """Whether an equation multiplies an array by a number that was known when it was traced."""
    name, dtype = equation.primitive.name, equation.outvars[0].aval.dtype
    by_number = name == "mul" or (name == "div" and isinstance(equation.invars[1], Literal))
    return by_number and jnp.issubdtype(dtype, jnp.inexact)


def _widens(equation: Any) -> bool:
    """Whether an equation gives numbers more digits, and nothing else."""
    if equation.primitive.name != "convert_element_type":
        return False
    before, after = equation.invars[0].aval.dtype, equation.outvars[0].aval.dtype
    floats = jnp.issubdtype(before, jnp.floating) and jnp.issubdtype(after, jnp.floating)
    return floats and jnp.finfo(after).bits >= jnp.finfo(before).bits
