"""All tiles of a device's queries and of the keys that it holds at the moment, forward and backward.

Keys and values are tiles (tiles, batch, groups, tile, size), queries (tiles, batch, groups, shared, tile, size).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from phlox.parallel.ring._draws import Corner
from phlox.parallel.ring._layout import Layout
from phlox.parallel.ring._tile import Hard, Rows, Rules, Soft, Sums, added

Pair = tuple[Array, Array]  # keys and values, or their gradients


class Back(NamedTuple):
    """Gradients so far: of a device's queries, of its ``Soft``, and of the keys and values that it holds."""

    dq: Array
    dsoft: Soft
    dkv: Pair


@dataclass(frozen=True)
class Sweep:
    """Tiles of queries against tiles of keys; those of which nothing is seen are passed over.

    Attributes:
        rules: how scores are made.
        queries, keys: which positions a device has.
    """

    rules: Rules
    queries: Layout
    keys: Layout

    @property
    def tile(self) -> tuple[int, int]:
        """Queries and keys that are looked at together."""
        return self.queries.tile, self.keys.tile

    def forward(self, sums: Sums, q: Array, kv: Pair, soft: Soft, hard: Hard, devices: Pair) -> Sums:
        """The softmax with these keys too.

        Arguments:
            devices: where the queries are, and where the keys are from.
        """
        rows, starts, keys = *self._rows(devices[0]), self.keys.starts(devices[1])

        def of_rows(_: None, given: Any) -> tuple[None, Sums]:
            q, row, start, sums = given

            def of_keys(sums: Sums, given: Any) -> tuple[Sums, None]:
                (k, v), key = given
                at = Corner(start, row, key)
                fold = lambda sums: self.rules.folded(sums, q, k, v, soft, hard, at)  # noqa: E731
                return self._where_seen(fold, lambda sums: sums, hard, at, sums), None

            return None, lax.scan(of_keys, sums, (kv, keys))[0]

        return lax.scan(of_rows, None, (q, rows, starts, sums))[1]

    def backward(self, so_far: Back, rows: Rows, kv: Pair, soft: Soft, hard: Hard, devices: Pair) -> Back:
        """Gradients with those of these keys too."""
        places, starts, keys = *self._rows(devices[0]), self.keys.starts(devices[1])

        def of_rows(before: Any, given: Any) -> Any:
            dsoft, dkv = before
            rows, row, start, dq = given

            def of_keys(before: Any, given: Any) -> Any:
                dq, dsoft = before
                kv, dkv, key = given
                at = Corner(start, row, key)
                pull = lambda *so_far: self._pulled(so_far, rows, kv, soft, hard, at)  # noqa: E731
                dq, dsoft, dkv = self._where_seen(pull, lambda *so_far: so_far, hard, at, dq, dsoft, dkv)
                return (dq, dsoft), dkv

            (dq, dsoft), dkv = lax.scan(of_keys, (dq, dsoft), (kv, dkv, keys))
            return (dsoft, dkv), dq

        (dsoft, dkv), dq = lax.scan(of_rows, (so_far.dsoft, so_far.dkv), (rows, places, starts, so_far.dq))
        return Back(dq, dsoft, dkv)

    def _rows(self, device: Array) -> tuple[Array, Array]:
        """Where the tiles of queries begin: on this device, and in the sequence."""
        return jnp.arange(0, self.queries.rows, self.queries.tile), self.queries.starts(device)

    def _where_seen(
        self, do: Callable[..., Any], idle: Callable[..., Any], hard: Hard, at: Corner, *so_far: Any
    ) -> Any:
        """What a tile adds, unless positions tell that it adds nothing."""
        seen = self.rules.visible(hard, at, self.tile)
        return do(*so_far) if seen is True else lax.cond(seen, do, idle, *so_far)

    def _pulled(self, so_far: Any, rows: Rows, kv: Pair, soft: Soft, hard: Hard, at: Corner) -> Any:
        dq, dsoft, (dk, dv) = so_far
        (more_q, more_k, more_v), more = self.rules.pulled(rows, *kv, soft, hard, at)
        bias = dsoft.bias if more.bias is None else added(dsoft.bias, more.bias, at)
        constants = jax.tree.map(jnp.add, dsoft.constants, more.constants)
        return dq + more_q, Soft(bias, constants), (dk + more_k, dv + more_v)
