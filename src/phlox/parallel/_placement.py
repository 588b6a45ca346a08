"""A strategy on a mesh: where each array of a model lies, and how a step keeps it there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from phlox.core import Module, RangeError, ShapeError, describe, is_key, owners, paths, tapped, ways, write_arrays
from phlox.parallel._mesh import mesh
from phlox.parallel._strategy import Cut, Place, Strategy
from phlox.parallel.processes._rows import assembled, parts_here

Cuts = Mapping[str, PartitionSpec]


@dataclass(frozen=True)
class Placement:
    """A strategy on the devices of a mesh; ``px.fit(…, parallel=)`` and ``px.parallel.shard`` take it.

    Attributes:
        strategy: how arrays and batches are spread.
        mesh: the devices along named axes.
    """

    strategy: Strategy
    mesh: Mesh

    @classmethod
    def of(cls, strategy: Strategy | Placement, where: Mesh | None = None) -> Placement:
        """A strategy on a mesh; by default on one of the axes that it needs, over its devices or all.

        Raises:
            RangeError: a mesh without an axis that it goes by; fewer devices than it asks for.
        """
        if isinstance(strategy, Placement):
            return strategy
        if where is None:
            where = mesh(strategy.axes, devices=_devices(strategy))
        missing = [name for name in strategy.axes if name not in where.shape]
        if missing:
            got = f"a mesh of {', '.join(map(repr, where.axis_names))}"
            fix = f"make one with px.parallel.mesh({missing[0]}=…), or leave it out"
            raise RangeError(f"a mesh with an axis {missing[0]!r}", got=got, fix=fix, where=repr(strategy))
        return cls(strategy, where)

    @property
    def count(self) -> int:
        """How many devices there are."""
        return self.mesh.size

    @property
    def sizes(self) -> dict[str, int]:
        """Devices along each axis of the mesh."""
        return dict(self.mesh.shape)

    @property
    def rows(self) -> int:
        """In how many parts a batch is cut."""
        return math.prod(self.sizes[name] for name in self.strategy.batch)

    @property
    def several(self) -> bool:
        """Whether devices of other processes are among its own."""
        return any(device.process_index != jax.process_index() for device in self.mesh.devices.flat)

    @cached_property
    def parts(self) -> tuple[tuple[int, ...], int]:
        """Which of the equal parts of a batch this process gives, and how many parts there are."""
        return parts_here(self.mesh, self.strategy.batch)

    # --- where arrays lie ---------------------------------------------------------------------------

    def cuts(self, model: Module) -> dict[str, PartitionSpec]:
        """How each array of a model is cut, by path; State lies whole on every device.

        Raises:
            PhloxError: a model that the strategy cannot spread.
        """
        self.strategy.check(model, self.sizes)
        found = {path: PartitionSpec() for path in paths(model)}
        for path, value, ways_to in owners(model):
            found[path] = self._cut(path, value, ways_to)
        return found

    def _cut(self, path: str, value: Any, ways_to: Any) -> PartitionSpec:
        """How one array is cut: as the first of its owners that cuts it at all says."""
        whole: Cut = (None,) * value.ndim
        for above, _ in ways_to:
            place = Place(path, tuple(value.shape), value.dtype, tuple((m, head) for m, head in above))
            cut = self.strategy.cut(place, whole, self.sizes)
            if cut != whole:
                return PartitionSpec(*cut)
        return PartitionSpec()

    def place(self, model: Module, *others: Module) -> None:
        """Put the arrays of a model where they belong, in place, and those of others that go with it.

        What another Module, an optimiser or an average of weights, keeps for an array of the model lies as that array
        does: it has its path at the end of its own, and its shape. The rest lies whole on every device.
        """
        cuts = self.cuts(model)
        for module in (model, *others):
            mine = cuts if module is model else like(cuts, paths(model), paths(module))
            write_arrays(module, {path: self.put(v, mine[path]) for path, v in paths(module).items()})

    def put(self, value: Any, cut: PartitionSpec) -> jax.Array:
        """An array, the same in every process, spread over the mesh."""
        where = NamedSharding(self.mesh, cut)
        if isinstance(value, jax.Array) and value.sharding.is_equivalent_to(where, value.ndim):
            return value
        if where.is_fully_addressable:
            return jax.device_put(value, where)
        if is_key(value):
            return jax.random.wrap_key_data(self.put(jax.random.key_data(value), cut), impl=jax.random.key_impl(value))
        host = np.asarray(value)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    def spread(self, batch: Any) -> Any:
        """A batch cut along the axes that the strategy has for it; scalars go to every device.

        With several processes each gives its part of the batch, of one size in all of them.

        Raises:
            ShapeError: a first axis, or a second one of time, that the devices do not share evenly.
        """
        return jax.tree.map(self._spread, batch)

    def _spread(self, leaf: Any) -> jax.Array:
        cut = self._batch_cut(np.shape(leaf))
        where = NamedSharding(self.mesh, cut)
        self._check_rows(leaf, cut)
        if where.is_fully_addressable:
            return jax.device_put(leaf, where)
        return assembled(leaf, where, *self.parts)

    def _batch_cut(self, shape: tuple[int, ...]) -> PartitionSpec:
        cut = [self.strategy.batch or None, self.strategy.sequence or None][: len(shape)]
        return PartitionSpec(*cut)

    def _check_rows(self, leaf: Any, cut: PartitionSpec) -> None:
        for axis, names in enumerate(cut):
            parts = len(self.parts[0]) if axis == 0 else math.prod(self.sizes[name] for name in names or ())
            if np.shape(leaf)[axis] % parts:
                what = "batches" if axis == 0 else "sequences"
                raise ShapeError(
                    f"{what} that {parts} devices share evenly",
                    got=describe(leaf),
                    fix="choose a multiple as batch_size; a px.DataLoader fills up the last batch, or drops it"
                    if axis == 0
                    else "pad the sequences to a multiple",
                    where="px.parallel",
                )

    # --- inside a compiled step ----------------------------------------------------------------------

    @contextmanager
    def step(self, batch: Any) -> Iterator[None]:
        """Within the block, in a trace, layers compute in the strategy's ways and their results lie as batches do."""
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(batch) if np.ndim(leaf)]
        hold = Results(self, shapes[0] if shapes else ())
        with ways(self.strategy.ways(self.mesh)), tapped(hold):
            yield

    def hold(self, model: Module, *others: Module) -> None:
        """Tell the compiler, at the end of a step, that what was changed lies where it lay."""
        cuts = self.cuts(model)
        for module in (model, *others):
            mine = cuts if module is model else like(cuts, paths(model), paths(module))
            traced = {path: v for path, v in paths(module).items() if isinstance(v, Tracer)}
            write_arrays(module, {path: self.constrained(v, mine[path]) for path, v in traced.items()})

    def constrained(self, value: Any, cut: PartitionSpec) -> Any:
        """A traced array that the compiler shall lay out so."""
        if is_key(value):
            return value
        return jax.lax.with_sharding_constraint(value, NamedSharding(self.mesh, cut))


@dataclass(frozen=True)
class Results:
    """Keeps the results of layers cut as batches are, so that the compiler moves weights to data and not data to weights.

    Only what has the batch's first axis, and its second where that is cut, is held; the other axes are the compiler's.
    """

    placement: Placement
    shape: tuple[int, ...]  # of the first array of the batch

    def __call__(self, module: Module, y: Any) -> Any:
        del module
        if not self.placement.strategy.batch or jax.sharding.get_abstract_mesh().manual_axes:
            return y
        return jax.tree.map(self._held, y)

    def _held(self, y: Any) -> Any:
        if not isinstance(y, Tracer) or not y.ndim or is_key(y) or not self.shape or y.shape[0] != self.shape[0]:
            return y
        if not jnp.issubdtype(y.dtype, jnp.inexact):
            return y
        free = PartitionSpec.UNCONSTRAINED
        cut = [self.placement.strategy.batch, *(free,) * (y.ndim - 1)]
        steps = self.placement.strategy.sequence
        if steps and y.ndim > 2 and len(self.shape) > 1 and y.shape[1] == self.shape[1]:
            cut[1] = steps
        return self.placement.constrained(y, PartitionSpec(*cut))


def _devices(strategy: Strategy) -> tuple[Any, ...] | None:
    """The devices to go over: those that were given, or the first so many of one process; None is all."""
    sizes = strategy.axes.values()
    if strategy.devices is not None or -1 in sizes or jax.process_count() > 1:
        return strategy.devices
    wanted, there = math.prod(sizes), jax.devices()
    return tuple(there[:wanted]) if wanted < len(there) else None


def like(cuts: Cuts, arrays: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, PartitionSpec]:
    """How arrays of another Module are cut: as the model's array whose path ends theirs and whose shape they have."""
    return {path: _alike(path, v, cuts, arrays) for path, v in others.items()}


def _alike(path: str, value: Any, cuts: Cuts, arrays: Mapping[str, Any]) -> PartitionSpec:
    rest = path
    while rest:
        if rest in cuts and arrays[rest].shape == value.shape:
            return cuts[rest]
        rest = min((rest.partition(mark)[2] for mark in "./"), key=lambda part: -len(part))
    return PartitionSpec()


