"""Context parallelism: each device works on its part of every sequence, and attention goes round a ring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from phlox.core import is_key
from phlox.core._compat import eval_jaxpr
from phlox.parallel._strategy import AlongOneAxis, check_size
from phlox.parallel.ring._layout import Layout, fitting
from phlox.parallel.ring._ring import Ring
from phlox.parallel.ring._sweep import Sweep
from phlox.parallel.ring._tile import Hard, Rules, Soft

SCORES = 1 << 24  # that a device makes at once


@dataclass(frozen=True)
class ContextParallel(AlongOneAxis):
    """Each device works on its part of every sequence, the second axis of a batch.

    Attributes:
        size: how many parts; -1 is as many as there are devices left.
        axis: the axis of the mesh.
    """

    axis: str = "context"

    @property
    def sequence(self) -> tuple[str, ...]:
        return (self.axis,)

    def ways(self, mesh: Mesh) -> Mapping[str, Callable[..., Any]]:
        return {"attention": RingAttention(mesh, self.axis), "dense": AxisByAxis(mesh.shape[self.axis])}

    def __repr__(self) -> str:
        return f"context_parallel({'' if self.size == -1 else self.size})"


def context_parallel(size: int = -1, *, axis: str = "context") -> ContextParallel:
    """Context parallelism, for sequences whose activations do not fit one device.

    The second axis of a batch, time, is cut. Layers that treat positions alike work on what they have; attention
    sends keys and values round, so that no device holds a whole sequence, and its memory is linear in a device's
    part. Causal work is dealt evenly; under a window keys go no further than it reaches. What looks at neighbours,
    as convolutions and recurrent layers do, is right too, at the cost of what the compiler sends for it. Numbers are
    those of one device, to rounding, dropout's draws included.

    Arguments:
        size: how many parts; -1 is as many as there are devices left.
        axis: the name of its axis in the mesh.

    Raises:
        RangeError: a size below 1 that is not -1.

    >>> from phlox.parallel import context_parallel, fsdp
    >>> fsdp() * context_parallel(4)
    fsdp() * context_parallel(4)

    Source: Liu et al., "Ring attention with blockwise transformers for near-infinite context" (arXiv:2310.01889).
    """
    check_size(size, "context_parallel")
    return ContextParallel(size, axis)


@dataclass(frozen=True)
class RingAttention:
    """The way of ``dot_product_attention`` where sequences are cut: keys and values go round.

    None where queries do not divide, and where the axis is another program's already: the compiler gathers then.
    """

    mesh: Mesh
    axis: str

    def __call__(
        self, q: Array, k: Array, v: Array, given: Any, options: Any, chunk: int | None, offset: Any
    ) -> Array | None:
        devices = self.mesh.shape[self.axis]
        if devices == 1 or not isinstance(q.shape[1], int) or q.shape[1] % devices or not k.shape[1]:
            return None
        if not q.size or options.dropout >= 1.0 or self.axis in jax.sharding.get_abstract_mesh().manual_axes:
            return None
        width, known = options.scale, isinstance(options.scale, (int, float))
        ring, soft, hard = self.ring(q, k, given, options._replace(scale=width if known else 1.0), chunk, offset)
        return ring.attend(self.mesh, q if known else q * jnp.asarray(width, q.dtype), k, v, soft, hard)

    def ring(
        self, q: Array, k: Array, given: Any, options: Any, chunk: int | None, offset: Any
    ) -> tuple[Ring, Soft, Hard]:
        """The round, and the arrays that go into it beside queries, keys and values."""
        devices, (batch, queries, heads, _), keys = self.mesh.shape[self.axis], q.shape, k.shape[1]
        by_row = tuple(x is not None and x.shape[2] > 1 for x in (given.mask, given.bias))
        alike = queries == keys
        zigzag = alike and options.causal and options.window[0] is None and not any(by_row)
        zigzag = zigzag and queries % (2 * devices) == 0
        whole = keys % devices != 0
        parts, rows = (1, keys) if whole else (devices, keys // devices)
        most = math.isqrt(max(1, SCORES * self.mesh.size // devices // (batch * heads)))
        tiles = [fitting(n // 2 if zigzag else n, max(most, 16)) for n in (queries // devices, rows)]
        tiles = tiles if chunk is None else [fitting(tiles[0], chunk), tiles[1]]
        layouts = (
            Layout(self.axis, devices, queries // devices, tiles[0], zigzag),
            Layout(self.axis, parts, rows, tiles[1], zigzag),
        )
        first, steps = (0, parts) if whole or not alike else _needed(options, offset, devices, rows)
        moving, floats, others = _hoisted(given.moving_bias, given.offset, tiles)
        key = None if given.key is None else given.key if is_key(given.key) else jax.random.wrap_key_data(given.key)
        rules = Rules(
            options.causal, options.window, options.scale, options.soft_cap, options.dropout, moving,
            (batch, heads, keys), None if key is None else jax.random.key_impl(key),
        )  # fmt: skip
        ring = Ring(Sweep(rules, *layouts), self.axis, devices, first, steps, (by_row[0], by_row[1]))
        data = None if key is None else jax.random.key_data(key)
        hard = Hard(given.mask, given.lengths, given.kv_lengths, given.offset, data, others)
        return ring, Soft(given.bias, floats), hard


@dataclass(frozen=True)
class AxisByAxis:
    """The way of ``dense`` where sequences are cut: batch and time stay two axes.

    Flattened into one, as a device by itself does, they could not stay cut, and every product would gather its input.
    """

    devices: int

    def __call__(self, x: Array, weight: Array) -> Array | None:
        """The product (..., out) of features (..., in) and a weight (in, out)."""
        return jnp.matmul(x, weight) if self.devices > 1 else None


def _needed(options: Any, offset: Any, devices: int, rows: int) -> tuple[int, int]:
    """Of whose keys a device sees the first, counted backwards from itself, and of how many devices."""
    left, right = options.window
    right = 0 if options.causal else right
    if left is None or right is None or not isinstance(offset, int) or offset:
        return 0, devices
    back, ahead = (math.ceil(side / rows) for side in (left, right))
    return (0, devices) if back + ahead + 1 >= devices else (-ahead, back + ahead + 1)


def _hoisted(
    bias: Any, offset: Array, tile: list[int]
) -> tuple[Callable[..., Array] | None, tuple[Array, ...], tuple[Array, ...]]:
    """A bias by positions as a function of the arrays that it reads too: floats, which have gradients, and others."""
    if bias is None:
        return None, (), ()
    counted = jnp.arange(0).dtype
    at = jax.ShapeDtypeStruct((*offset.shape, tile[0]), jnp.promote_types(offset.dtype, counted))
    program = jax.make_jaxpr(bias)(at, jax.ShapeDtypeStruct((tile[1],), counted))
    soft = [jnp.issubdtype(jnp.result_type(x), jnp.inexact) for x in program.consts]

    def moving(floats: tuple[Array, ...], others: tuple[Array, ...], at: Array, to: Array) -> Array:
        rest = (iter(others), iter(floats))
        return eval_jaxpr(program.jaxpr, [next(rest[is_soft]) for is_soft in soft], at, to)[0]

    floats, others = (
        tuple(jnp.asarray(x) for x, is_soft in zip(program.consts, soft, strict=True) if is_soft is wanted)
        for wanted in (True, False)
    )
    return moving, floats, others
