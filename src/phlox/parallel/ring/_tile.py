"""Scores of some queries and some keys: their fold into a running softmax, and their gradient.

Arrays of a tile are (batch, groups, shared, queries, …): queries' heads by the head of keys that serves them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from phlox.parallel.ring._draws import Corner, kept

Three = tuple[Array, Array, Array]  # of queries, keys and values


class Soft(NamedTuple):
    """What moves scores and has a gradient."""

    bias: Array | None  # (batch or 1, heads or 1, rows or 1, keys or 1)
    constants: tuple[Array, ...]  # floats that a bias by positions reads


class Hard(NamedTuple):
    """What restricts scores, without a gradient."""

    mask: Array | None  # as the bias
    lengths: Array | None  # (batch,)
    kv_lengths: Array | None  # (batch,)
    offset: Array  # () or (batch,)
    key: Array | None  # data of a random key
    constants: tuple[Array, ...]  # other arrays that a bias by positions reads


class Sums(NamedTuple):
    """A softmax under way, over the keys so far."""

    y: Array  # (…, queries, value size), not yet divided
    top: Array  # (…, queries) the highest score
    total: Array  # (…, queries) of the powers

    @classmethod
    def none(cls, shape: tuple[int, ...], size: int, dtype: Any) -> Sums:
        """Before any key."""
        top = jnp.full(shape, -jnp.inf, dtype)
        return cls(jnp.zeros((*shape, size), dtype), top, jnp.zeros(shape, dtype))

    def ended(self) -> tuple[Array, Array]:
        """The results, and the logarithm of the sum of powers; zeros and inf where no key was seen."""
        some = self.total != 0
        y = self.y / jnp.where(some, self.total, 1)[..., None]
        return y, jnp.where(some, _finite(self.top) + jnp.log(jnp.where(some, self.total, 1)), jnp.inf)


@dataclass(frozen=True)
class Rules:
    """What is the same for all tiles and known before anything runs.

    Attributes:
        causal, window, scale, soft_cap, dropout: as ``dot_product_attention`` has them.
        moving: bias of positions, ``moving(floats, others, queries, keys)``, with the arrays that it reads.
        shape: batch, heads of queries, and keys of the whole sequence.
        impl: the generator of the random key.
    """

    causal: bool
    window: tuple[int | None, int | None]
    scale: float
    soft_cap: float | None
    dropout: float
    moving: Callable[..., Array] | None
    shape: tuple[int, int, int]
    impl: Any = None

    def visible(self, hard: Hard, at: Corner, tile: tuple[int, int]) -> Array | bool:
        """Whether any query of the tile may see any key of it, as far as positions tell."""
        if hard.offset.ndim:
            return True
        first, (left, right) = hard.offset + at.query, self.window
        right = 0 if self.causal else right
        seen: Array | bool = True
        if right is not None:
            seen = seen & (at.key <= first + tile[0] - 1 + right)
        return seen if left is None else seen & (at.key + tile[1] - 1 >= first - left)

    def scores(self, q: Array, k: Array, soft: Soft, hard: Hard, at: Corner) -> Array:
        """Scores of a tile, -inf where a key is not seen; ``soft.bias`` is that of the tile."""
        wide = jnp.promote_types(q.dtype, jnp.float32)
        scores = self.scale * jnp.einsum("bgrqd,bgkd->bgrqk", q, k, preferred_element_type=wide)
        if self.soft_cap is not None:
            scores = self.soft_cap * jnp.tanh(scores / self.soft_cap)
        tile = (q.shape[3], k.shape[2])
        for bias in (soft.bias, self._moving(soft, hard, at, tile)):
            scores = scores if bias is None else scores + grouped(bias.astype(wide), k.shape[1])
        seen = self._seen(hard, at, tile, k.shape[1])
        return scores if seen is None else jnp.where(seen, scores, -jnp.inf)

    def _moving(self, soft: Soft, hard: Hard, at: Corner, tile: tuple[int, int]) -> Array | None:
        """The bias by positions."""
        if self.moving is None:
            return None
        here = hard.offset[..., None] + (at.query + jnp.arange(tile[0]))
        bias = self.moving(soft.constants, hard.constants, here, at.key + jnp.arange(tile[1]))
        return bias if bias.ndim == 4 else bias[None]

    def _seen(self, hard: Hard, at: Corner, tile: tuple[int, int], groups: int) -> Array | None:
        """Which keys are seen, with five axes; None is all."""
        row, (left, right) = (at.query + jnp.arange(tile[0]))[:, None], self.window
        here, to = hard.offset.reshape(-1, 1, 1, 1, 1) + row, at.key + jnp.arange(tile[1])
        each = lambda x: x[:, None, None, None, None]  # noqa: E731
        rules = [
            to <= here if self.causal else None,
            to >= here - left if left is not None else None,
            to <= here + right if right is not None else None,
            row < each(hard.lengths) if hard.lengths is not None else None,
            to < each(hard.kv_lengths) if hard.kv_lengths is not None else None,
            grouped(cut(hard.mask, at, tile), groups) if hard.mask is not None else None,
        ]
        seen = None
        for rule in rules:
            seen = rule if seen is None else seen if rule is None else seen & rule
        return seen

    def drop(self, weights: Array, hard: Hard, at: Corner) -> Array:
        """Weights, or their gradients, of which some are zeroed and the others grow."""
        if hard.key is None:
            return weights
        batch, groups, shared, rows, keys = weights.shape
        key = jax.random.wrap_key_data(hard.key, impl=self.impl)
        stay = kept(key, 1.0 - self.dropout, at, (rows, keys), self.shape)
        stay = stay.reshape(batch, groups, shared, rows, keys)
        return jnp.where(stay, weights / (1.0 - self.dropout), 0.0)

    def folded(self, sums: Sums, q: Array, k: Array, v: Array, soft: Soft, hard: Hard, at: Corner) -> Sums:
        """The softmax over the keys so far and these."""
        scores = self.scores(q, k, _of_tile(soft, at, q, k), hard, at)
        top = jnp.maximum(sums.top, jnp.max(scores, -1))
        powers, shrink = jnp.exp(scores - _finite(top)[..., None]), jnp.exp(sums.top - _finite(top))
        weights = self.drop(powers, hard, at).astype(v.dtype)
        more = jnp.einsum("bgrqk,bgkd->bgrqd", weights, v, preferred_element_type=sums.y.dtype)
        return Sums(sums.y * shrink[..., None] + more, top, sums.total * shrink + jnp.sum(powers, -1))

    def pulled(self, rows: Rows, k: Array, v: Array, soft: Soft, hard: Hard, at: Corner) -> tuple[Three, Soft]:
        """Gradients for queries, keys and values, and for a ``Soft`` whose bias is the tile's."""
        of_tile, wide = _of_tile(soft, at, rows.q, k), rows.log_total.dtype
        scores, back = jax.vjp(lambda q, k, soft: self.scores(q, k, soft, hard, at), rows.q, k, of_tile)
        powers = jnp.exp(scores - rows.log_total[..., None])
        weights = self.drop(powers, hard, at).astype(v.dtype)
        dv = jnp.einsum("bgrqk,bgrqd->bgkd", weights, rows.dy, preferred_element_type=wide)
        pull = jnp.einsum("bgrqd,bgkd->bgrqk", rows.dy, v, preferred_element_type=wide)
        dq, dk, dsoft = back(powers * (self.drop(pull, hard, at) - rows.mean[..., None]))
        return (dq, dk, dv), dsoft


class Rows(NamedTuple):
    """Queries on the way back."""

    q: Array  # (…, queries, size)
    dy: Array  # (…, queries, value size)
    log_total: Array  # (…, queries) logarithm of the sum of powers
    mean: Array  # (…, queries) what the pulls at a query's weights are on average


def grouped(x: Array, groups: int) -> Array:
    """(batch, heads or 1, …) → (batch, groups or 1, shared or 1, …)."""
    batch, heads, rows, keys = x.shape
    return x.reshape(batch, 1 if heads == 1 else groups, -1, rows, keys)


def cut(x: Array, at: Corner, tile: tuple[int, int]) -> Array:
    """The tile's part of what has all keys and this device's rows, or one for all of either."""
    for axis, start in ((2, at.row), (3, at.key)):
        if x.shape[axis] > 1:
            x = lax.dynamic_slice_in_dim(x, start, tile[axis - 2], axis)
    return x


def added(x: Array, part: Array, at: Corner) -> Array:
    """``x`` with a tile's part added where ``cut`` took it."""
    zero = jnp.int32(0)
    start = [zero, zero, *(s.astype(jnp.int32) if x.shape[a] > 1 else zero for a, s in ((2, at.row), (3, at.key)))]
    there = lax.dynamic_slice(x, start, part.shape)
    return lax.dynamic_update_slice(x, there + part.astype(x.dtype), start)


def _of_tile(soft: Soft, at: Corner, q: Array, k: Array) -> Soft:
    bias = None if soft.bias is None else cut(soft.bias, at, (q.shape[3], k.shape[2]))
    return soft._replace(bias=bias)


def _finite(top: Array) -> Array:
    """The highest score, 0 where there is none."""
    return jnp.where(jnp.isfinite(top), top, 0.0)
