"""What the stages of a pipeline get and give: rows in micro-batches, and blocks as functions of their arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, StateError, describe, functionalize, is_key, write_arrays
from phlox.nn import RepeatedLayer


@dataclass(frozen=True)
class Rows:
    """A batch in micro-batches, each with rows of every device, so that none has to move to make them.

    A batch lies cut along the stages first, then along the other axes that it is cut along. Of a device's rows every
    M-th belongs to one micro-batch.

    Attributes:
        count: rows of the batch, with what was filled up.
        microbatches: M.
        stages: S, along which the batch is cut too.
    """

    count: int
    microbatches: int
    stages: int

    @property
    def each(self) -> int:
        """Rows of a micro-batch that one stage brings."""
        return self.count // (self.microbatches * self.stages)

    def filled(self, v: jax.Array) -> jax.Array:
        """An array with as many rows as are wanted, its own again where it has fewer."""
        return v if len(v) == self.count else v[jnp.arange(self.count) % len(v)]

    def split(self, v: jax.Array, ring: Ring) -> jax.Array:
        """All micro-batches (M, rows, ...) on every stage, of an array whose rows (count / S, ...) are here."""
        v = ring.gathered(v)  # (S, count / S, ...)
        v = v.reshape(self.stages, self.each, self.microbatches, *v.shape[2:])
        v = jnp.moveaxis(v, 0, 2).swapaxes(0, 1)  # (M, each, S, ...)
        return v.reshape(self.microbatches, self.each * self.stages, *v.shape[3:])

    def joined(self, v: jax.Array, ring: Ring) -> jax.Array:
        """The rows (count / S, ...) of this stage, of micro-batches (M, rows, ...) that are zero on all but one."""
        v = v.reshape(self.microbatches, self.each, self.stages, *v.shape[2:])
        v = ring.scattered(jnp.moveaxis(v, 2, 0))  # (M, each, ...)
        return v.swapaxes(0, 1).reshape(self.microbatches * self.each, *v.shape[2:])


@dataclass(frozen=True, eq=False)
class Ring:
    """Stages in a ring, each of which hands what it has to the next.

    Collective permutes are all that is used: what the compiler gathers or scatters along one axis of a mesh it first
    makes whole along the axes that are left to it, here at least.

    Attributes:
        at: which stage this is.
    """

    axis: str
    stages: int
    at: Any

    def passed(self, v: jax.Array) -> jax.Array:
        """What the stage before had."""
        return jax.lax.ppermute(v, self.axis, [(n, (n + 1) % self.stages) for n in range(self.stages)])

    def gathered(self, v: jax.Array) -> jax.Array:
        """What all stages have, (S, ...) in their order."""
        found = [v]
        for _ in range(self.stages - 1):
            found.append(self.passed(found[-1]))  # n steps later comes what stage at - n had
        return jnp.stack(found)[(self.at - jnp.arange(self.stages)) % self.stages]

    def scattered(self, v: jax.Array) -> jax.Array:
        """The sum over all stages of what each has for this one; ``v`` is (S, ...)."""
        total = v[(self.at - 1) % self.stages]
        for n in range(2, self.stages + 1):
            total = self.passed(total) + v[(self.at - n) % self.stages]
        return total.astype(v.dtype)


def rows_of(
    inputs: list[jax.Array], wanted: int | None, stages: int, others: int, rounds: int, *, strict: bool
) -> Rows:
    """How the first axis of what a block takes is split.

    Arguments:
        wanted: micro-batches; None is four for each stage, or fewer where the rows do not give as many.
        others: devices that share each micro-batch.
        strict: whether to refuse rows that do not split so; else a few are filled up, as training alone may not.

    Raises:
        ShapeError: rows that do not split so.
    """
    sizes = sorted({len(v) if v.ndim else 0 for v in inputs})
    if len(sizes) != 1 or not sizes[0]:
        fix = "give all that goes from block to block the batch as first axis, and what all read as further arguments"
        raise ShapeError("blocks that take rows of a batch", got=", ".join(map(describe, inputs)), fix=fix)
    step = stages if rounds > 1 else 1  # with several rounds, as many at once as there are stages
    count, unit = sizes[0], stages * others * step
    if not strict:
        return Rows(-(-count // unit) * unit, _parts(-(-count // unit) * unit, unit, step, None, stages), stages)
    parts = _parts(count, unit, step, wanted, stages)
    if parts:
        return Rows(count, parts, stages)
    what = f"{wanted or step} micro-batches, each of as many rows from {stages * others} devices"
    fix = f"choose a multiple of {stages * others * (wanted or step)} as batch_size, or other microbatches"
    if wanted is not None and wanted % step:
        what, fix = f"micro-batches in {rounds} rounds as a multiple of the {stages} stages", "choose such microbatches"
    raise ShapeError(what, got=f"{count} rows" + (f" in {wanted}" if wanted else ""), fix=fix)


def _parts(count: int, unit: int, step: int, wanted: int | None, stages: int) -> int:
    """The micro-batches that are wanted, or up to four for each stage; 0 where rows do not split so."""
    times, left = divmod(count, unit)
    able = [] if left else [step * n for n in range(1, times + 1) if times % n == 0]
    if wanted is not None:
        return wanted if wanted in able else 0
    return max((n for n in able if n <= 4 * stages), default=0)


class Blocks:
    """A block of a repeated layer as a function of arrays, and the arrays of all blocks.

    Attributes:
        form, inputs: what goes from block to block, as its tree and its arrays.
        more: the other arrays that every block reads.
        fixed, keys: the leaves that stay as they are, and those that blocks advance, as plain numbers.
    """

    def __init__(self, layer: RepeatedLayer[Any], x: Any, extra: tuple[Any, ...], named: dict[str, Any]):
        self.layer = layer
        self.call = functionalize(layer.round, (layer.block, x, *extra), named, kind="scan", label="parallel.pipeline")
        if len(self.call.structure.roots) > 1:
            fix = "leave caches and other Modules out where blocks are spread over stages"
            raise RangeError("arrays alone that every block reads", got="a Module among them", fix=fix)
        self.form = jax.tree.structure(x)
        arrays = [jnp.asarray(v) for v in self.call.bare]
        self.inputs, self.more = arrays[: self.form.num_leaves], arrays[self.form.num_leaves :]
        self.kinds = {i: jax.random.key_impl(v) for i, v in enumerate(self.call.leaves) if is_key(v)}
        self.fixed = [v for i, v in enumerate(self.call.leaves) if i not in self.kinds]
        self.keys = [jax.random.key_data(self.call.leaves[i]) for i in self.kinds]
        self.names = list(self.call.structure.names())
        self.moved: tuple[int, ...] = ()

    def run(self, fixed: list[Any], keys: list[Any], h: list[Any], more: list[Any]) -> tuple[list[Any], list[Any]]:
        """One block on one micro-batch: what it gives, and its keys afterwards."""
        rest, drawn = iter(fixed), dict(zip(self.kinds, keys, strict=True))
        wrapped = {i: jax.random.wrap_key_data(v, impl=self.kinds[i]) for i, v in drawn.items()}
        leaves = [wrapped[i] if i in wrapped else next(rest) for i in range(len(self.names))]
        outcome = self.call.pure(leaves, [*h, *more])
        self.moved = outcome.record.written
        self._check(outcome.captured)
        now = dict(zip(self.moved, outcome.written, strict=True))
        y = outcome.record.result.rebuild(outcome.outputs, self.call.plan.module)
        return self.form.flatten_up_to(y), [jax.random.key_data(now[i]) if i in now else v for i, v in drawn.items()]

    def _check(self, captured: Any) -> None:
        """Refuse what each micro-batch would move by itself."""
        moved = [self.names[i] for i in self.moved if i not in self.kinds]
        if captured or moved:
            got = f"a write to {moved[0] if moved else 'a Module that is not part of them'}"
            fix = "norm by LayerNorm, RMSNorm or GroupNorm in place of BatchNorm, or keep such layers out of the blocks"
            raise StateError("blocks that move no State but random keys, as they see one micro-batch", got=got, fix=fix)

    def keep(self, keys: list[Any]) -> None:
        """Write the keys that the blocks moved back into the layer."""
        pairs = zip(self.kinds, keys, strict=True)
        now = {self.names[i]: jax.random.wrap_key_data(v, impl=self.kinds[i]) for i, v in pairs if i in self.moved}
        write_arrays(self.layer.block, now)


def is_of_batch(v: jax.Array, inputs: list[jax.Array]) -> bool:
    """Whether an array that every block reads has a row for each of the batch, and so goes in micro-batches.

    Raises:
        ShapeError: rows as many as steps, where neither its size nor its rank tells which it has.
    """
    rows = len(inputs[0])
    if not v.ndim or len(v) != rows:
        return False
    steps = [n for x in inputs for n in (x.shape[1:-1] if x.ndim > 2 else x.shape[1:])]
    if v.ndim < 3 and rows in steps:
        got = f"{describe(v)} beside {describe(inputs[0])}"
        fix = "choose another batch_size, or give a mask all its axes: (batch, 1, queries, keys)"
        raise ShapeError("arrays for all blocks whose first axis is the batch or is not, by its size", got=got, fix=fix)
    return True
