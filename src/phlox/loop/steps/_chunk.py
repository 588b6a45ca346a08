"""Steps handed to the device: one compiled call for one, or for many in a loop of a length known at run time.

In a chunk of many, the batches lie in one array, as the loader gathered them or stacked here, and a ``while_loop`` runs
from any of them to any other: what lies beside is never looked at. So the program is the same for every number of
steps, and nothing is compiled again where a chunk ends early.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, aligned, eval_shape, functionalize, jit, paths, while_loop
from phlox.loop.batches._batch import Slot, alike, leading
from phlox.loop.steps._step import Others, OwnStep, Record, Step
from phlox.nn import plain_form
from phlox.optim import Optimizer

MOST = 32  # steps in one call
_ROOM = 4 << 20  # bytes that the batches of one call may take, and the weights of a model that is called small


@dataclass(frozen=True)
class Part:
    """The records of one compiled call: of ``shape ()``, or stacked, of which ``keep`` are those of whole steps."""

    record: Record
    keep: np.ndarray[Any, Any] | None  # positions; None for a single one of shape ()

    def numbers(self) -> Record:
        """On the host, each (steps,); waits for the device."""
        pick = (lambda v: np.asarray(v)[None]) if self.keep is None else (lambda v: np.asarray(v)[self.keep])
        return jax.tree.map(pick, self.record)


def _stacks(batches: Sequence[Any], slots: int) -> Iterator[tuple[Any, int, int]]:
    """Batches in arrays (slots, batch, ...), where the first of them lies there, and how many there are."""
    if isinstance(batches[0], Slot):
        for _, group in itertools.groupby(batches, lambda slot: id(slot.stack)):
            first, *others = group
            yield first.stack.arrays, first.place, 1 + len(others)
        return
    start = 0
    while start < len(batches):
        stop = start + 1
        while stop < len(batches) and stop - start < slots and alike(batches[start], batches[stop]):
            stop += 1
        yield _stacked(batches[start:stop], slots), 0, stop - start
        start = stop


def _stacked(batches: Sequence[Any], slots: int) -> Any:
    """Batches in one array: on the host where they are NumPy arrays, else on their device."""
    if not all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(batches)):
        return _stacked_on_device([*batches, *[batches[0]] * (slots - len(batches))])

    def stack(*arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        buffer = aligned((slots, *arrays[0].shape), arrays[0].dtype)
        np.stack(arrays, out=buffer[: len(arrays)])
        return buffer

    return jax.device_put(jax.tree.map(stack, *batches))


@jax.jit
def _stacked_on_device(batches: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)


class Program:
    """A step compiled alone and, where that pays, in a loop.

    Arguments:
        step: the step.
        slots: batches in one call; 1 compiles the step alone.
    """

    def __init__(self, step: Step | OwnStep, slots: int):
        self.step, self.slots = step, slots
        self.single = jit(step.__call__)
        self.many = jit(self._many)

    def __call__(
        self, model: Module, opt: Optimizer, others: Others, batches: Sequence[Any], ends: Sequence[bool] | None
    ) -> list[Part]:
        """Run the steps on these batches, in order; ``ends`` says after which ones a step of several is whole."""
        if self.slots == 1:
            return self._one_by_one(model, opt, others, batches, ends)
        parts, done = [], 0
        for stack, first, count in _stacks(batches, self.slots):
            flags = None if ends is None else np.asarray(ends[done : done + count])
            parts.append(self._together(model, opt, others, stack, first, count, flags))
            done += count
        return parts

    def _one_by_one(
        self, model: Module, opt: Optimizer, others: Others, batches: Sequence[Any], ends: Sequence[bool] | None
    ) -> list[Part]:
        parts = []
        for n, batch in enumerate(batches):
            last = None if ends is None else np.bool_(ends[n])
            record = self.single(model, opt, others, batch, last)
            if ends is None or ends[n]:
                parts.append(Part(record, None))
        return parts

    def _together(
        self, model: Module, opt: Optimizer, others: Others, stack: Any, first: int, count: int, ends: Any
    ) -> Part:
        places, flags = np.arange(first, first + count), None
        if ends is not None:
            flags = np.zeros(leading(stack), bool)
            flags[places] = ends
            places = places[ends]
        record = self.many(model, opt, others, stack, flags, np.int32(first), np.int32(first + count))
        return Part(record, places)

    def _many(
        self, model: Module, opt: Optimizer, others: Others, stack: Any, ends: Any, first: Any, stop: Any
    ) -> Record:
        at = lambda i: jax.tree.map(lambda array: array[i], (stack, ends))  # noqa: E731
        form, slots = eval_shape(self.step.__call__, model, opt, others, *at(0)), leading(stack)
        records = jax.tree.map(lambda s: jnp.zeros((slots, *s.shape), s.dtype), form)

        def body(carry: Any) -> Any:
            i, model, opt, others, records = carry
            record = self.step(model, opt, others, *at(i))
            return i + 1, model, opt, others, jax.tree.map(lambda all, one: all.at[i].set(one), records, record)

        return while_loop(lambda carry: carry[0] < stop, body, (first, model, opt, others, records))[-1]


@functools.lru_cache(maxsize=8)
def program(step: Step | OwnStep, slots: int) -> Program:
    """The program of a step; an equal step of a later ``fit`` finds what was compiled for this one."""
    return Program(step, slots)


def slots_for(
    steps: int | None, accumulate: int, step: Step | OwnStep, model: Module, opt: Optimizer, others: Others, batch: Any
) -> int:
    """How many batches one compiled call takes: those of ``steps``, by default as many as pay.

    The answer depends on shapes and the device alone, never on a clock.
    """
    if steps is None:
        size = max(1, sum(np.size(leaf) * jnp.result_type(leaf).itemsize for leaf in jax.tree.leaves(batch)))
        small = sum(v.nbytes for v in paths(model).values() if hasattr(v, "nbytes")) <= _ROOM
        slots = min(MOST, _ROOM // size) if small else 1
    else:
        slots = steps * accumulate
    if slots > 1 and slow_in_a_loop(step, model, opt, others, batch):
        return 1
    return max(1, slots)


def slow_in_a_loop(step: Step | OwnStep, model: Module, opt: Optimizer, others: Others, batch: Any) -> bool:
    """Whether it has convolutions and runs on a CPU, where XLA computes one in a loop about 20 times as slowly."""
    if jax.default_backend() != "cpu":
        return False
    last = np.bool_(True) if "sums" in others else None
    call = functionalize(step.__call__, (model, opt, others, batch, last), {}, kind="eval_shape", scalars=True)
    jaxpr = jax.make_jaxpr(lambda *xs: call.pure(*xs))(call.leaves, call.bare)
    return _has_convolution(jaxpr.jaxpr)


def _has_convolution(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        plain = plain_form(equation)
        if plain is not None and _has_convolution(plain):
            return True
        inner = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program)
        if any(_has_convolution(getattr(v, "jaxpr", v)) for v in inner if _is_program(v)):
            return True
    return False


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
