"""Blocks over stages: each stage runs its own on one micro-batch after another, and hands on what they give.

All stages run one program (``jax.shard_map`` over their axis; other axes stay the compiler's). At every tick each runs
its blocks on what came in and passes the result to the next by a collective permute. Where a stage idles it
computes all the same, on rows that it has, and what comes of that is dropped: zeros might give NaN in a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from phlox.core import Module, is_key, python_control_flow, tapped
from phlox.nn import RepeatedLayer
from phlox.parallel.strategies.pipelining._arrays import Blocks, Ring, Rows, is_of_batch, rows_of
from phlox.parallel.strategies.pipelining._timetable import Timetable

# What is worked out again for the gradient at no cost: it may be weights, picked or in another dtype, and every tick
# would keep a copy of them.
LIGHT = {"broadcast_in_dim", "convert_element_type", "dynamic_slice", "reshape", "squeeze", "transpose"}


@dataclass(frozen=True)
class Stages:
    """The way "repeated": a ``RepeatedLayer`` whose blocks lie cut along an axis of the mesh.

    Attributes:
        axis: the axis of the stages.
        rows: the other axes that a batch is cut along.
        microbatches: how many; None is what suits the batch.
        interleaved: whether the layer repeats one that is cut, so that micro-batches go round several times.
        remat: whether a stage keeps what comes in alone, and computes the rest again for the gradient.
    """

    mesh: Mesh
    axis: str
    rows: tuple[str, ...]
    microbatches: int | None
    interleaved: bool
    remat: bool

    def __call__(self, layer: RepeatedLayer[Any], x: Any, extra: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the layer gives, or None where it is to compute as ever: line by line, or within a stage."""
        if python_control_flow() or self.axis in jax.sharding.get_abstract_mesh().manual_axes:
            return None
        rounds = layer.repeats if self.interleaved else 1
        stages = self.mesh.shape[self.axis]
        others = math.prod(self.mesh.shape[name] for name in self.rows)
        blocks = Blocks(layer.block if self.interleaved else layer, x, extra, named)
        rows = rows_of(blocks.inputs, self.microbatches, stages, others, rounds, strict=layer.training)
        again = self.remat or bool(self.interleaved and layer.remat)
        run = Run(self, blocks, rows, Timetable(stages, rows.microbatches, rounds), again)
        y, keys = run.spread()
        blocks.keep(keys)
        return jax.tree.unflatten(blocks.form, y)


@dataclass(frozen=True, eq=False)
class Run:
    """One call of a layer over stages."""

    way: Stages
    blocks: Blocks
    rows: Rows
    times: Timetable
    remat: bool

    def spread(self) -> tuple[list[Any], list[Any]]:
        """What the last block gives, and the keys of all blocks afterwards."""
        axis, blocks = self.way.axis, self.blocks
        stacked = PartitionSpec(None, axis) if self.way.interleaved else PartitionSpec(axis)
        cut = [is_of_batch(v, blocks.inputs) for v in blocks.more]
        filled = [self.rows.filled(v) for v in blocks.inputs]
        more = [self.rows.filled(v) if c else v for v, c in zip(blocks.more, cut, strict=True)]
        along, whole = PartitionSpec(axis), PartitionSpec()
        run = jax.shard_map(
            partial(self._stage, cut),
            mesh=self.way.mesh,
            in_specs=(along, stacked, stacked, along, [along if c else whole for c in cut]),
            out_specs=(along, stacked),
            axis_names={axis},
            check_vma=False,
        )
        # State lies whole between steps; a loop over steps would else carry keys as the stages take them
        keys = jax.lax.with_sharding_constraint(blocks.keys, NamedSharding(self.way.mesh, whole))
        y, keys = run(jnp.arange(self.times.stages), blocks.fixed, keys, filled, more)
        return [v[: len(x)] for v, x in zip(y, blocks.inputs, strict=True)], keys

    def _stage(self, cut: list[bool], at: Any, fixed: Any, keys: Any, x: Any, more: Any) -> tuple[list[Any], list[Any]]:
        """What one stage does: ``at`` is which, the rest are its blocks, its rows, and what all blocks read."""
        ring = Ring(self.way.axis, self.times.stages, at[0])
        x = [self.rows.split(v, ring) for v in x]
        more = [self.rows.split(v, ring) if c else v for v, c in zip(more, cut, strict=True)]
        here = Here(self, ring.at, fixed, x, more, cut)
        work = self._saving(here.work)

        def tick(carry: Any, now: Any) -> Any:
            arrived, given, keys = carry
            item = jnp.clip(now - here.at, 0, self.times.items - 1)
            works, (part, turn) = item == now - here.at, self.times.item(item)
            y, moved = work(arrived, keys, part, turn)
            keys = [jnp.where(works, new, old) for new, old in zip(moved, keys, strict=True)]
            given = [out.at[part].set(v) for out, v in zip(given, y, strict=True)]  # last when it works
            return ([ring.passed(v) for v in y], given, keys), None

        start = [v[0] for v in x], [jnp.zeros_like(v) for v in x], keys
        (_, given, keys), _ = jax.lax.scan(tick, start, jnp.arange(self.times.ticks))
        is_last = here.at == self.times.stages - 1
        return [self.rows.joined(jnp.where(is_last, v, jnp.zeros_like(v)), ring) for v in given], keys

    def _saving(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """A tick's work that keeps for the gradient what it should: its inputs alone, or never copies of weights."""
        policy = None if self.remat else lambda primitive, *_, **__: primitive.name not in LIGHT
        return jax.checkpoint(compute, prevent_cse=False, policy=policy)


@dataclass(frozen=True, eq=False)
class Here:
    """What one stage has, and its work of a tick.

    Attributes:
        at: which stage it is.
        fixed: the arrays of its blocks, (rounds,) blocks, ...; keys go from tick to tick.
        x: all micro-batches (M, rows, ...) as the first block takes them.
        more: what every block reads, in micro-batches where ``cut`` says so.
    """

    run: Run
    at: Any
    fixed: list[Any]
    x: list[Any]
    more: list[Any]
    cut: list[bool]

    def work(self, arrived: list[Any], keys: list[Any], part: Any, turn: Any) -> tuple[list[Any], list[Any]]:
        """The blocks of one round on one micro-batch: what they give, and all keys afterwards."""
        first = (self.at == 0) & (turn == 0)
        h = [jnp.where(first, v[part], a) for v, a in zip(self.x, arrived, strict=True)]
        more = [v[part] if c else v for v, c in zip(self.more, self.cut, strict=True)]
        if self.run.times.rounds == 1:
            return self._through(self.fixed, lambda v: v, keys, h, more)
        mine, count = [v[turn] for v in keys], self.run.blocks.layer.repeats // self.run.times.stages
        y, moved = self._through(jnp.arange(count), partial(self._picked, turn), mine, h, more)
        return y, [v.at[turn].set(new) for v, new in zip(keys, moved, strict=True)]

    def _picked(self, turn: Any, block: Any) -> list[jax.Array]:
        """The arrays of one block of a round; picked within the loop over them, so that no tick keeps a copy."""
        return [v[turn, block] for v in self.fixed]

    def _through(self, blocks: Any, pick: Any, keys: Any, h: Any, more: Any) -> tuple[list[Any], list[Any]]:
        """Blocks one after another: ``pick`` gives the arrays of one of them."""
        all_of_them = self.run.blocks

        def body(h: Any, block: Any) -> Any:
            with tapped(self._held):
                y, moved = all_of_them.run(pick(block[0]), block[1], h, more)
            return [self._along_rows(v) for v in y], moved

        start = [self._along_rows(v) for v in h]
        return jax.lax.scan(body, start, (blocks, keys), unroll=all_of_them.layer.unroll)

    def _held(self, module: Module, y: Any) -> Any:
        """Results of layers within blocks, cut along rows as the batch is, so that weights move to them."""
        del module
        return jax.tree.map(self._along_rows, y)

    def _along_rows(self, v: Any) -> Any:
        """An array of a micro-batch, as the axes of the mesh that stay the compiler's cut its rows."""
        rows, names = self.run.rows, self.run.way.rows
        if not names or is_key(v) or not getattr(v, "ndim", 0) or v.shape[0] != rows.each * rows.stages:
            return v
        free = (PartitionSpec.UNCONSTRAINED,) * (v.ndim - 1)
        return jax.lax.with_sharding_constraint(v, PartitionSpec(names, *free))
