"""Expert parallelism: each device holds some experts of a mixture, and tokens go to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from phlox.core import Module, RangeError, modules, tapped
from phlox.nn import MixtureOfExperts, RepeatedLayer
from phlox.parallel._strategy import AlongOneAxis, Cut, Place, Strategy, check_size
from phlox.parallel.experts._exchange import gathered, returned, scattered, sent, summed
from phlox.parallel.experts._places import Places, Plan, places

SLACK = 2  # slots for this many times a device's fair share of an expert's room, before all tokens are gathered
FREE = PartitionSpec.UNCONSTRAINED


@dataclass(frozen=True)
class ExpertParallel(AlongOneAxis):
    """Each device holds some experts of every mixture, and works on its part of each batch.

    Attributes:
        size: how many parts; -1 is as many as there are devices left.
        axis: the axis of the mesh.
        along: the axes that a batch is cut along, of all strategies together.
    """

    axis: str = "expert"
    along: tuple[str, ...] = ()

    @property
    def batch(self) -> tuple[str, ...]:
        return (self.axis,)

    def within(self, whole: Strategy) -> ExpertParallel:
        return replace(self, along=whole.batch)

    def cut(self, place: Place, so_far: Cut, sizes: Mapping[str, int]) -> Cut:
        """Cut what is an expert's along the axis of experts, which stands behind those of repeated layers."""
        stacked = 0
        for module, name in place.owners:
            if isinstance(module, MixtureOfExperts) and name == "experts":
                there = so_far[stacked] is None and place.shape[stacked] % sizes[self.axis] == 0
                return (*so_far[:stacked], self.axis, *so_far[stacked + 1 :]) if there else so_far
            stacked += isinstance(module, RepeatedLayer) and name == "block" and not module.share
        return so_far

    def ways(self, mesh: Mesh) -> Mapping[str, Callable[..., Any]]:
        others = tuple(name for name in self.along if name != self.axis)
        return {"experts": SpreadExperts(mesh, self.axis, (*others, self.axis))}

    def check(self, model: Module, sizes: Mapping[str, int]) -> None:
        """Refuse a model without experts, or with a number of them that the devices do not share evenly."""
        devices = sizes[self.axis]
        found = [(path, m) for path, m in modules(model).items() if isinstance(m, MixtureOfExperts)]
        if not found:
            fix = "leave expert_parallel out, or give the model px.nn.MixtureOfExperts"
            got = f"{type(model).__name__} without one"
            raise RangeError("a model with a MixtureOfExperts", got=got, fix=fix, where="expert_parallel")
        for path, mixture in found:
            if mixture.num_experts % devices:
                got = f"{mixture.num_experts} in {path or 'the model'}"
                fix = f"choose a divisor of {mixture.num_experts} as expert_parallel's size"
                raise RangeError(f"experts that {devices} devices share", got=got, fix=fix, where="expert_parallel")

    def __repr__(self) -> str:
        return f"expert_parallel({'' if self.size == -1 else self.size})"


def expert_parallel(size: int = -1, *, axis: str = "expert") -> ExpertParallel:
    """Expert parallelism, for models most of whose weights are experts, of which each token uses a few.

    Experts of every ``MixtureOfExperts`` are cut over devices, and so is the batch. A mixture with ``capacity``
    sends tokens to the devices of their experts and back by all-to-all; without it each device gathers the tokens,
    computes its own experts for them, and the results are summed. Who finds room at an expert is decided over the
    whole batch. Numbers are those of one device, to rounding.

    Arguments:
        size: how many parts; -1 is as many as there are devices left.
        axis: the name of its axis in the mesh.

    Raises:
        RangeError: a size below 1 that is not -1; a model without experts, or whose experts do not divide.

    >>> from phlox.parallel import data_parallel, expert_parallel
    >>> data_parallel() * expert_parallel(4)
    data_parallel() * expert_parallel(4)

    Source: Lepikhin et al., "GShard: scaling giant models with conditional computation" (arXiv:2006.16668).
    """
    check_size(size, "expert_parallel")
    return ExpertParallel(size, axis)


@dataclass(frozen=True)
class SpreadExperts:
    """The way of ``MixtureOfExperts`` where its experts are cut over devices.

    None where tokens or experts do not divide, and where an axis is another program's already.

    Attributes:
        axis: the axis of the mesh that experts are cut along.
        batch: all axes that tokens are cut along, with it as the last.
    """

    mesh: Mesh
    axis: str
    batch: tuple[str, ...]

    def __call__(self, compute: Callable[[Array], Array], tokens: Array, weights: Array, room: int | None) -> Any:
        """Results (tokens, dim) of tokens (tokens, dim) by their weights (tokens, experts); see the layer."""
        manual = set(jax.sharding.get_abstract_mesh().manual_axes)
        if manual & {*self.batch}:  # within a stage, which has its part of the batch, along the axes that are left
            left = tuple(name for name in self.batch if name not in manual)
            return None if self.axis in manual else replace(self, batch=left)(compute, tokens, weights, room)
        devices, shards = self.mesh.shape[self.axis], math.prod(self.mesh.shape[name] for name in self.batch)
        count, experts = weights.shape
        if not isinstance(count, int) or not count or count % shards or experts % devices:
            return None
        if room is None:
            return self._all(compute, tokens, weights)
        slots = min(count // shards, room, -(-SLACK * room // shards))
        return self._some(compute, tokens, weights, Plan(self.axis, self.batch, devices, shards, experts, room, slots))

    @property
    def others(self) -> tuple[str, ...] | None:
        """The axes that a batch is cut along and experts are not."""
        return self.batch[:-1] or None

    def _all(self, compute: Callable[[Array], Array], tokens: Array, weights: Array) -> Array:
        """Every device gathers the tokens, and the results of its experts are summed where the tokens lie."""
        own, near = PartitionSpec(self.batch, FREE), PartitionSpec(self.others, FREE)
        by_expert = (PartitionSpec(self.others, self.axis), PartitionSpec(self.axis, self.others))
        ys = self._computed(compute, self._moved(self._held(tokens, own), own, near))
        weights = self._held(weights, PartitionSpec(self.batch, None))  # whole rows, as routing reads them
        sum_up = self._spread(partial(summed, self.axis), by_expert, PartitionSpec(self.batch))
        return sum_up(self._held(weights.astype(ys.dtype), by_expert[0]), ys)

    def _some(self, compute: Callable[[Array], Array], tokens: Array, weights: Array, plan: Plan) -> Array:
        """Tokens are sent to experts, as many as these have room for, and back."""
        by_token, by_slot = PartitionSpec(self.batch), PartitionSpec(self.axis, self.others)
        by_batch = [PartitionSpec(*[None] * n, self.batch) for n in range(3)]
        form = Places(PartitionSpec(), *by_batch)  # pyright: ignore[reportArgumentType]  # cuts, in the form of the arrays
        at = self._spread(partial(places, plan), (by_token,), form)(weights)
        send, gather = (self._spread(partial(fn, plan), (by_token, form), by_slot) for fn in (sent, gathered))
        back, scatter = (
            self._spread(partial(fn, plan), (by_slot, by_token, form), by_token) for fn in (returned, scattered)
        )
        ys = self._computed(compute, self._chosen(plan, at, send, gather, tokens))
        return self._chosen(plan, at, back, scatter, ys, weights)

    def _chosen(self, plan: Plan, at: Places, exchange: Any, gather: Any, *arrays: Array) -> Array:
        """What moves less: an exchange by slots, where they do; all tokens, where a batch does not fit the slots."""
        tokens = at.place.shape[0]
        if plan.experts * plan.slots >= tokens:
            return gather(*arrays, at)
        if plan.slots == min(tokens // plan.shards, plan.room):
            return exchange(*arrays, at)
        return jax.lax.cond(at.fits, exchange, gather, *arrays, at)

    def _computed(self, compute: Callable[[Array], Array], x: Array) -> Array:
        """What experts make of (tokens, dim) or (experts, tokens, dim), within them cut as these are."""
        rows = x.shape[-2]

        def hold(_: Module, y: Any) -> Any:
            if (
                not isinstance(y, Tracer)
                or y.ndim < 2
                or y.shape[0] != rows
                or not jnp.issubdtype(y.dtype, jnp.inexact)
            ):
                return y
            return self._held(y, PartitionSpec(self.others, *[FREE] * (y.ndim - 1)))

        with tapped(hold, alone=True):
            return self._held(compute(x), PartitionSpec(self.axis, self.others, FREE))

    def _moved(self, x: Array, before: PartitionSpec, after: PartitionSpec) -> Array:
        """``x`` from one cut to another; its gradient goes the other way."""
        move = jax.custom_vjp(lambda x: self._held(x, after))
        move.defvjp(lambda x: (self._held(x, after), None), lambda _, g: (self._held(g, before),))
        return move(x)

    def _held(self, x: Array, cut: PartitionSpec) -> Array:
        there = jax.sharding.get_abstract_mesh()
        return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh if there.empty else there, cut))

    def _spread(self, fn: Callable[..., Any], into: Any, out_of: Any) -> Callable[..., Any]:
        """``fn`` on every device that tokens are cut over; other axes are XLA's."""
        where = self.mesh if jax.sharding.get_abstract_mesh().empty else None
        return jax.shard_map(
            fn, mesh=where, in_specs=into, out_specs=out_of, axis_names=set(self.batch), check_vma=False
        )
