"""A strategy on a mesh: where each array of a model lies, and how a step keeps it there."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from phlox.core import Module, RangeError, describe, is_key, jit, owners, paths, tapped, ways, write_arrays
from phlox.nn import Parts, parameter_kinds
from phlox.parallel._alike import Cuts, alike
from phlox.parallel._late_sums import with_late_sums
from phlox.parallel._mesh import check_mesh, mesh
from phlox.parallel._results import Results
from phlox.parallel._strategy import Cut, Place, Strategy
from phlox.parallel.processes._rows import assembled, parts_here, uneven_batch

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Module)


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
            RangeError: no strategy; a mesh without an axis that it goes by, with one of another size, or with one that
                nothing is spread along; fewer devices than it asks for.
        """
        if isinstance(strategy, Placement):
            return strategy
        if not isinstance(strategy, Strategy):
            fix = "pass one, px.parallel.tensor_parallel(8), or the placement of px.parallel.shard"
            raise RangeError("a strategy of px.parallel", got=describe(strategy), fix=fix, where="parallel=")
        if where is None:
            where = mesh(strategy.axes, devices=_devices(strategy))
        check_mesh(where, strategy.axes, repr(strategy))
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

    @property
    def slow(self) -> bool:
        """Whether each array that is summed costs a message over a network: between CPUs of several processes."""
        return self.several and self.mesh.devices.flat[0].platform == "cpu"

    @functools.cached_property
    def parts(self) -> tuple[tuple[int, ...], int]:
        """Which of the equal parts of a batch this process gives, and how many parts there are."""
        return parts_here(self.mesh, self.strategy.batch)

    # --- where arrays lie ---------------------------------------------------------------------------

    def cuts(self, model: Module) -> dict[str, PartitionSpec]:
        """How each array of a model is cut, by path; State lies whole on every device."""
        found = {path: PartitionSpec() for path in paths(model)}
        kinds = parameter_kinds(model)
        for path, value, ways_to in owners(model):
            stacked = kinds[path].stacked if path in kinds else 0
            found[path] = self._cut(path, value, stacked, ways_to)
        return found

    def shardings(self, model: Module) -> dict[str, NamedSharding]:
        """Where each array of a model belongs, by path; of an abstract model too.

        Raises:
            PhloxError: a model that the strategy cannot spread.
        """
        self.strategy.check(model, self.sizes)
        return {path: NamedSharding(self.mesh, cut) for path, cut in self.cuts(model).items()}

    def _cut(self, path: str, value: Any, stacked: int, ways_to: Any) -> PartitionSpec:
        """How one array is cut: as the first of its owners that cuts it at all says."""
        whole: Cut = (None,) * value.ndim
        for above, _ in ways_to:
            place = Place(path, tuple(value.shape), value.dtype, tuple((m, head) for m, head in above), stacked)
            cut = self.strategy.cut(place, whole, self.sizes)
            if cut != whole:
                return PartitionSpec(*cut)
        return PartitionSpec()

    def place(self, model: Module, *others: Module) -> None:
        """Put the arrays of a model where they belong, in place, and those of others that go with it.

        What another Module, an optimiser or an average of weights, keeps for an array of the model lies as that array
        does: it has its path at the end of its own, and its shape. The rest lies whole on every device.

        Raises:
            PhloxError: a model that the strategy cannot spread; nothing was moved.
        """
        self.strategy.check(model, self.sizes)
        modules = (model, *others)
        for module, cuts in zip(modules, self._all_cuts(modules), strict=True):
            write_arrays(module, {path: self.put(v, cuts[path]) for path, v in paths(module).items()})
        placed(model, self)

    def _all_cuts(self, modules: Sequence[Module]) -> list[Cuts]:
        """How the arrays of several Modules are cut: those with arrays to train by themselves, others as these."""
        known: dict[str, tuple[PartitionSpec, tuple[int, ...]]] = {}
        found: list[Cuts | None] = []
        for module in modules:
            cuts = self.cuts(module) if owners(module) else None
            found.append(cuts)
            if cuts is not None:
                known = {path: (cuts[path], v.shape) for path, v in paths(module).items()} | known
        return [alike(known, m, self.sizes) if cuts is None else cuts for m, cuts in zip(modules, found, strict=True)]

    def put(self, value: Any, cut: PartitionSpec) -> Any:
        """An array, the same in every process, spread over the mesh; of a shape, the same shape that says so."""
        where = NamedSharding(self.mesh, cut)
        if isinstance(value, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=where)
        lies = getattr(value, "sharding", None)
        if isinstance(lies, NamedSharding) and lies.mesh == self.mesh and lies.is_equivalent_to(where, value.ndim):
            return value
        if where.is_fully_addressable:
            return jax.device_put(value, where)
        if is_key(value):
            return jax.random.wrap_key_data(self.put(jax.random.key_data(value), cut), impl=jax.random.key_impl(value))
        host = np.asarray(value)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    def spread(self, batch: Any, *, strict: bool = True, whole: bool = False) -> Any:
        """A batch cut along the axes that the strategy has for it; scalars go to every device.

        With several processes each gives the rows of its devices. Where sequences are cut, the second axis of the
        batch's first array is time, and so is that of another sequence like it, of its dtype and rank, where the
        devices share it evenly, and any second axis as long.

        Arguments:
            strict: whether to refuse what the devices do not share evenly; else each gets it whole.
            whole: of several processes each gives the same whole batch, and not its rows alone.

        Raises:
            ShapeError: a first axis, or a second one of time, that the devices do not share evenly.
        """
        steps = self._steps(batch)
        return jax.tree.map(lambda leaf: self._spread(leaf, steps, strict, whole or not self.several), batch)

    def _steps(self, batch: Any) -> frozenset[int]:
        """Which lengths of a second axis are time in a batch, see ``spread``; none where sequences are not cut."""
        arrays = [leaf for leaf in jax.tree.leaves(batch) if np.ndim(leaf) > 1]
        if not arrays or not self.strategy.sequence:
            return frozenset()
        kind = lambda v: (np.ndim(v), v.dtype)  # noqa: E731
        first, *others = (np.shape(v)[1] for v in arrays if kind(v) == kind(arrays[0]))
        return frozenset({first, *(n for n in others if n % self._parts_of_time == 0)})

    @property
    def _parts_of_time(self) -> int:
        """In how many parts a sequence is cut."""
        return math.prod(self.sizes[name] for name in self.strategy.sequence)

    def _spread(self, leaf: Any, steps: frozenset[int], strict: bool, whole: bool) -> Any:
        rows = self.rows if whole else len(self.parts[0])
        cut, uneven = self._cut_of_batch(np.shape(leaf), rows, steps)
        if uneven is not None and strict:
            raise uneven_batch(leaf, *uneven)
        where = NamedSharding(self.mesh, PartitionSpec() if uneven is not None else PartitionSpec(*cut))
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return self.put(leaf, where.spec)
        if where.is_fully_addressable:
            return jax.device_put(leaf, where)
        return self.put(leaf, where.spec) if whole else assembled(leaf, where, *self.parts)

    def _cut_of_batch(
        self, shape: tuple[int, ...], rows: int, steps: frozenset[int]
    ) -> tuple[list[Any], tuple[int, int] | None]:
        """Along what an array of a batch is cut, and its first axis that is not shared evenly, with the parts."""
        in_time = len(shape) > 1 and shape[1] in steps
        cut = [self.strategy.batch or None, self.strategy.sequence if in_time else None][: len(shape)]
        parts = [rows, self._parts_of_time if in_time else 1]
        uneven = ((axis, parts[axis]) for axis in range(len(cut)) if shape[axis] % parts[axis])
        return cut, next(uneven, None)

    # --- inside a compiled step ----------------------------------------------------------------------

    def jit(self, fn: F, **options: Any) -> F:
        """``px.jit`` of a step of yours, spread as this says: layers compute its ways, and arrays stay where they lie.

        Arguments:
            fn: the step; the Modules among its arguments were placed, and what else it gets are batches.
            options: of ``px.jit``.

        >>> import jax.numpy as jnp, phlox as px
        >>> model = px.Dense.of(jnp.ones((2, 1)), None)
        >>> placement = px.parallel.shard(model, px.parallel.data_parallel())
        >>> @placement.jit
        ... def step(model, x):
        ...     loss, grads = px.value_and_grad(lambda model: model(x).sum())(model)
        ...     model.weight = model.weight - grads.weight
        ...     return loss
        >>> step(model, placement.spread(jnp.ones((4, 2)))).tolist(), model.weight.tolist()
        (8.0, [[-3.0], [-3.0]])
        """

        def apart(args: Any, kwargs: Any) -> tuple[list[Module], list[Any]]:
            leaves = jax.tree.leaves((args, kwargs), is_leaf=_is_module)
            modules = list({id(v): v for v in leaves if _is_module(v)}.values())
            return modules, [v for v in leaves if not _is_module(v)]

        def held(*args: Any, **kwargs: Any) -> Any:
            modules, batch = apart(args, kwargs)
            with self.step(batch):
                result = fn(*args, **kwargs)
            self.hold(*modules)
            return result

        @functools.wraps(fn)
        def spread(*args: Any, **kwargs: Any) -> Any:
            return self.with_few_sums(held, apart(args, kwargs)[1], "px.jit")(*args, **kwargs)

        compiled: Any = jit(spread, **options)
        return compiled

    @contextmanager
    def step(self, batch: Any) -> Iterator[None]:
        """Within the block, in a trace, layers compute in the strategy's ways and their results lie as batches do."""
        rows = _rows_of(batch)
        hold = Results(self.mesh, self.strategy.batch, self.strategy.sequence, rows, self._steps(batch))
        kernels = {} if self.count == 1 else {"kernels": self._parts(rows)}
        with ways({**self.strategy.ways(self.mesh), **kernels}), tapped(hold):
            yield

    def _parts(self, rows: int | None) -> Parts:
        """How a batch of so many rows is cut."""
        return Parts(self.mesh, self.strategy.batch, max(1, rows or 0), self.strategy.keeps_whole)

    def with_few_sums(self, fn: F, batch: Any, where: str) -> F:
        """A step that in a trace sends fewer messages between processes, where each costs milliseconds.

        Arguments:
            fn: the step, of Modules and a batch.
            batch: what it will be called with.
            where: who speaks in errors.
        """
        parts = self._parts(_rows_of(batch))
        late: Any = with_late_sums(fn, parts, where) if self.slow and parts.only and parts.weights_whole else fn
        return late

    def hold(self, *modules: Module, all_of_it: bool = False) -> None:
        """Tell the compiler, in a trace, that arrays of Modules lie where ``place`` puts them.

        Arguments:
            all_of_it: what is not traced too.
        """
        for module, cuts in zip(modules, self._all_cuts(modules), strict=True):
            traced = {path: v for path, v in paths(module).items() if all_of_it or isinstance(v, Tracer)}
            write_arrays(module, {path: self.constrained(v, cuts[path]) for path, v in traced.items()})

    def constrained(self, value: Any, cut: PartitionSpec) -> Any:
        """A traced array that the compiler shall lay out so."""
        return jax.lax.with_sharding_constraint(value, NamedSharding(self.mesh, cut))


_placed: weakref.WeakKeyDictionary[Module, Placement] = weakref.WeakKeyDictionary()


def placed(model: M, placement: Placement) -> M:
    """The same model, known as one that lies so."""
    _placed[model] = placement
    return model


def placement_of(model: Module) -> Placement | None:
    """How a model was placed over several devices, where its arrays still lie there; None else."""
    found = _placed.get(model)
    if found is None or found.count == 1:
        return None
    devices = set(found.mesh.devices.flat)
    there = [isinstance(v, jax.Array) and v.sharding.device_set == devices for v in paths(model).values()]
    return found if all(there) else None


def _rows_of(batch: Any) -> int | None:
    """How many rows a batch has; None where it has no arrays."""
    return next((np.shape(leaf)[0] for leaf in jax.tree.leaves(batch) if np.ndim(leaf)), None)


def _is_module(value: Any) -> bool:
    return isinstance(value, Module)


def _devices(strategy: Strategy) -> tuple[Any, ...] | None:
    """The devices to go over: those that were given, or the first so many of one process; None is all."""
    sizes = strategy.axes.values()
    if strategy.devices is not None or -1 in sizes or jax.process_count() > 1:
        return strategy.devices
    wanted, there = math.prod(sizes), jax.devices()
    return tuple(there[:wanted]) if wanted < len(there) else None
