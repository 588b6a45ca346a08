"""The round: keys and values go from device to device while each keeps its queries, and their gradients go along.

Whoever holds the keys of a device computes what its own queries have of them, so that no device ever holds a whole
sequence. The gradient goes round once more and makes the scores anew; what is kept between the two is linear in the
length of a device's part (Liu et al., "Ring attention with blockwise transformers", arXiv:2310.01889; the running
softmax is Rabe & Staats', arXiv:2112.05682, its gradient Dao et al.'s, arXiv:2205.14135).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec

from phlox.parallel.ring._layout import shifted
from phlox.parallel.ring._sweep import Back, Pair, Sweep
from phlox.parallel.ring._tile import Hard, Rows, Soft, Sums

Kept = tuple[Array, ...]  # what the gradient needs: queries, keys, values, results, logarithms of the sums


@dataclass(frozen=True)
class Ring:
    """A round of keys and values.

    Attributes:
        sweep: what a device does with the keys that it holds.
        axis, devices: the axis of the mesh, and how many devices there are along it.
        first, steps: of whose keys a device sees the first, counted backwards from itself, and of how many devices.
        rows_cut: whether a mask, and whether a bias, has a row for each query, which then lies with the query.
    """

    sweep: Sweep
    axis: str
    devices: int
    first: int
    steps: int
    rows_cut: tuple[bool, bool]

    # --- on one device -------------------------------------------------------------------------------

    def forward(self, q: Array, k: Array, v: Array, soft: Soft, hard: Hard) -> tuple[Array, Kept]:
        """The results of this device's queries, and what the gradient needs."""
        sweep, here = self.sweep, lax.axis_index(self.axis)
        q, k, v = sweep.queries.dealt(q), sweep.keys.dealt(k), sweep.keys.dealt(v)
        queries = _grouped(sweep.queries.tiled(q), k.shape[2])
        wide = jnp.promote_types(q.dtype, jnp.float32)
        sums = Sums.none(queries.shape[:-1], v.shape[-1], wide)

        def step(sums: Sums, kv: Pair, at: Any) -> Sums:
            return sweep.forward(sums, queries, kv, soft, hard, (here, self._source(here, at)))

        def turn(carried: tuple[Sums, Pair], at: Array) -> tuple[tuple[Sums, Pair], None]:
            sums, kv = carried
            coming = self._shifted(kv, 1)  # on its way while this device computes
            return (step(sums, kv, at), coming), None

        kv = self._shifted((sweep.keys.tiled(k), sweep.keys.tiled(v)), self.first)
        sums, kv = self._turned(turn, (sums, kv))
        y, log_total = step(sums, kv, self._last).ended()
        y, log_total = (sweep.queries.joined(_flat(x)) for x in (y.astype(v.dtype), log_total[..., None]))
        return sweep.queries.collected(y), (q, k, v, sweep.queries.collected(y), log_total)

    def backward(self, kept: Kept, dy: Array, soft: Soft, hard: Hard) -> tuple[Array, Array, Array, Soft]:
        """The gradients of this device's queries, keys and values, and of what moves scores."""
        sweep, here = self.sweep, lax.axis_index(self.axis)
        q, k, v, _, _ = kept
        rows = self._rows(kept, dy)
        wide = rows.log_total.dtype
        none = lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, wide))  # noqa: E731

        def step(so_far: Back, kv: Pair, at: Any) -> Back:
            so_far = so_far._replace(dkv=self._shifted(so_far.dkv, 1))  # they follow their keys, one turn behind
            return sweep.backward(so_far, rows, kv, soft, hard, (here, self._source(here, at)))

        def turn(carried: tuple[Back, Pair], at: Array) -> tuple[tuple[Back, Pair], None]:
            so_far, kv = carried
            coming = self._shifted(kv, 1)
            return (step(so_far, kv, at), coming), None

        kv = (sweep.keys.tiled(k), sweep.keys.tiled(v))
        so_far = Back(none(rows.q), jax.tree.map(none, soft), jax.tree.map(none, kv))
        so_far, kv = self._turned(turn, (so_far, self._shifted(kv, self.first)))
        so_far = step(so_far, kv, self._last)
        return self._ended(so_far, q, k, v, soft)

    def _rows(self, kept: Kept, dy: Array) -> Rows:
        """The queries on the way back, in tiles."""
        (q, k, _, y, log_total), queries = kept, self.sweep.queries
        mean = jnp.sum(y.astype(log_total.dtype) * dy.astype(log_total.dtype), -1, keepdims=True)
        tiled = lambda x: _grouped(queries.tiled(x), k.shape[2])  # noqa: E731
        dy, mean = queries.dealt(dy), queries.dealt(mean)
        return Rows(tiled(q), tiled(dy), tiled(log_total)[..., 0], tiled(mean)[..., 0])

    def _ended(self, sums: Back, q: Array, k: Array, v: Array, soft: Soft) -> tuple[Array, Array, Array, Soft]:
        """Gradients where what they belong to lies, in its dtype."""
        queries, keys = self.sweep.queries, self.sweep.keys
        dkv = self._shifted(sums.dkv, -self._last)
        dkv = dkv if keys.devices > 1 else lax.psum(dkv, self.axis)
        dq = queries.collected(queries.joined(_flat(sums.dq))).astype(q.dtype)
        dk, dv = (keys.collected(keys.joined(d).astype(x.dtype)) for d, x in zip(dkv, (k, v), strict=True))
        bias, constants = sums.dsoft
        if bias is not None and not self.rows_cut[1]:
            bias = lax.psum(bias, self.axis)
        total = Soft(bias, lax.psum(constants, self.axis))
        return dq, dk, dv, jax.tree.map(lambda d, x: d.astype(x.dtype), total, soft)

    @property
    def _last(self) -> int:
        return self.first + self.steps - 1

    def _turned(self, turn: Callable[..., Any], carried: Any) -> Any:
        """What is carried after all turns but the last."""
        return carried if self.steps == 1 else lax.scan(turn, carried, jnp.arange(self.first, self._last))[0]

    def _source(self, here: Array, at: Any) -> Array:
        """The device of whose keys are here."""
        return (here - at) % self.sweep.keys.devices

    def _shifted(self, kv: Any, by: int) -> Any:
        return shifted(kv, self.axis, self.sweep.keys.devices, by)

    # --- over all of them ----------------------------------------------------------------------------

    def attend(self, mesh: Mesh, q: Array, k: Array, v: Array, soft: Soft, hard: Hard) -> Array:
        """Attention of whole sequences; memory for its gradient is linear in the length of a device's part."""

        @jax.custom_vjp
        def attended(q: Array, k: Array, v: Array, soft: Soft, hard: Hard) -> Array:
            return self._spread(mesh, lambda *xs: self.forward(*xs)[0], "qkvsh", "q")(q, k, v, soft, hard)

        def forward(q: Array, k: Array, v: Array, soft: Soft, hard: Hard) -> Any:
            y, kept = self._spread(mesh, self.forward, "qkvsh", ("q", tuple("qkvqq")))(q, k, v, soft, hard)
            return y, (kept, soft, hard)

        def backward(held: Any, dy: Array) -> Any:
            kept, soft, hard = held
            given = self._spread(mesh, self.backward, (tuple("qkvqq"), *"qsh"), "qkvs")(kept, dy, soft, hard)
            return (*given, None)

        attended.defvjp(forward, backward)
        return attended(q, k, v, soft, hard)

    def _spread(self, mesh: Mesh, fn: Callable[..., Any], into: Any, out_of: Any) -> Callable[..., Any]:
        """``fn`` on every device of the axis, with what it takes and gives cut as letters say; other axes are XLA's."""
        there = jax.sharding.get_abstract_mesh()
        specs = [jax.tree.map(partial(_spec, self), tuple(x) if isinstance(x, str) and len(x) > 1 else x)
                 for x in (into, out_of)]  # fmt: skip
        where = mesh if there.empty else None  # inside another such map it is that one's
        return jax.shard_map(
            fn, mesh=where, in_specs=specs[0], out_specs=specs[1], axis_names={self.axis}, check_vma=False
        )


def _spec(ring: Ring, letter: str) -> Any:
    """How what goes by a letter is cut: q queries, k and v keys and values, s and h what moves and restricts scores."""
    rows, whole = PartitionSpec(None, ring.axis), PartitionSpec()
    by_row = [PartitionSpec(None, None, ring.axis) if cut else whole for cut in ring.rows_cut]
    if letter in "kv":
        return rows if ring.sweep.keys.devices > 1 else whole
    if letter == "s":
        return Soft(by_row[1], whole)  # pyright: ignore[reportArgumentType]  # specs in the form of the arrays
    if letter == "h":
        return Hard(by_row[0], *[whole] * 5)  # pyright: ignore[reportArgumentType]
    return rows


def _grouped(x: Array, groups: int) -> Array:
    """(tiles, batch, heads, …) → (tiles, batch, groups, shared, …)."""
    tiles, batch, heads, *rest = x.shape
    return x.reshape(tiles, batch, groups, heads // groups, *rest)


def _flat(x: Array) -> Array:
    """(tiles, batch, groups, shared, …) → (tiles, batch, heads, …)."""
    tiles, batch, groups, shared, *rest = x.shape
    return x.reshape(tiles, batch, groups * shared, *rest)
