"""The cache of attention for many texts that come and go: a slot for each, of which some rows are worked on."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, State, param_dtype
from phlox.nn._checks import check_size
from phlox.nn.attention._kv_cache import KVCache
from phlox.nn.attention._ring_cache import RingCache
from phlox.nn.functional.kernels._slots import slots_kernel

_BLOCK = 64  # positions that are read at once


class SlotCache(Module):
    r"""Keys and values of many texts, a slot for each, as a server has them.

    ``cache.rows(slots, position)`` gives some slots to attention, in place of a cache. Positions are read block by
    block, up to the longest text among the rows, so that room for long texts costs those alone that are long; and
    nothing is written for what does not count. How many blocks there are is found while the program runs, so no
    gradient goes through it. On a CPU ``phlox-cpu`` reads each row up to its own end.

    Shapes:
        keys, values: (slots, length, kv_heads, size).

    Arguments:
        slots: texts that there is room for.
        length: positions of each, rounded up to whole blocks.
        kv_heads: heads of keys and values.
        size: features of a head.
        dtype: dtype of both arrays; that of parameters by default.

    Raises:
        RangeError: a size below 1.

    Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018 (how blocks are added up).

    >>> import jax.numpy as jnp, phlox as px
    >>> attention = px.nn.MultiHeadAttention(16, 2, causal=True)
    >>> cache = px.nn.SlotCache(4, 100, 2, 8)
    >>> y = attention(jnp.ones((2, 3, 16)), lengths=jnp.array([3, 1]), cache=cache.rows(1, jnp.array([0, 0])))
    >>> cache.keys.shape, jnp.abs(cache.keys).sum((2, 3))[:, :4].astype(bool).tolist()[2]
    ((4, 128, 2, 8), [True, False, False, False])
    """

    keys: State  # (slots, length, kv_heads, size)
    values: State  # (slots, length, kv_heads, size)

    def __init__(self, slots: int, length: int, kv_heads: int, size: int, *, dtype: Any = None):
        sizes = {"slots": slots, "length": length, "kv_heads": kv_heads, "size": size}
        slots, length, kv_heads, size = (check_size("SlotCache", name, value) for name, value in sizes.items())
        shape = slots, self.whole_blocks(length), kv_heads, size
        self.keys, self.values = (jnp.zeros(shape, param_dtype(dtype)) for _ in range(2))

    @staticmethod
    def whole_blocks(length: int) -> int:
        """Positions that a slot has for so many: whole blocks of them."""
        return -(-length // _BLOCK) * _BLOCK

    def rows(self, slots: Any, position: jax.Array) -> SlotRows:
        """Slots (batch,), or neighbours from () on; ``position`` (batch,) tells how many positions each holds."""
        return SlotRows(self, slots, position)

    def copy(self, source: Any, target: Any, count: Any) -> None:
        """Let a slot begin with the first positions of another one: ``count`` of them, in whole blocks."""
        self.keys, self.values = _copied(self.keys, self.values, source, target, count)

    def _brief(self) -> str:
        return f"SlotCache({', '.join(map(str, self.keys.shape))})"


class SlotRows:
    """Some slots of a cache, as attention takes them.

    Arguments:
        cache: whose slots.
        slots: which they are, (batch,); or the first of neighbours, ().
        position: how many positions each holds, (batch,).
    """

    def __init__(self, cache: SlotCache, slots: Any, position: jax.Array):
        self.cache, self.slots, self.position = cache, jnp.asarray(slots, jnp.int32), position

    def attend(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        lengths: Any = None,
        *,
        scale: float | None = None,
        window: int | None = None,
        soft_cap: float | None = None,
    ) -> jax.Array:
        """What queries (batch, time, heads, size) find in their slots, after keys and values of theirs were added.

        Shapes:
            k, v: (batch, time, kv_heads, size); lengths: (batch,); y: as q, zeros where nothing counts.

        Arguments:
            lengths: how many of the new ones count; all by default.
            scale: of the products; ``1 / sqrt(size)`` by default.
            window: how many positions before its own a query sees; all by default.
            soft_cap: c, which bounds the scaled products, ``c * tanh(· / c)``.
        """
        batch, time = q.shape[:2]
        lengths = jnp.full(batch, time, jnp.int32) if lengths is None else jnp.asarray(lengths, jnp.int32)
        slot = self.slots + jnp.arange(batch, dtype=jnp.int32) if self.slots.ndim == 0 else self.slots
        arrays = (q, k, v, self.cache.keys, self.cache.values, slot, jnp.asarray(self.position, jnp.int32), lengths)
        scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
        found = None if soft_cap else _by_kernel(*arrays, scale=scale, window=window)
        if found is None:
            found = _attended(*arrays, scale=scale, window=window, soft_cap=soft_cap)
        y, self.cache.keys, self.cache.values = found
        return y


def _attended(
    q: jax.Array, k: jax.Array, v: jax.Array, keys: jax.Array, values: jax.Array, slot: jax.Array, position: jax.Array,
    lengths: jax.Array, *, scale: float, window: int | None, soft_cap: float | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
    """What queries find, and keys and values with the new ones."""
    new = jnp.arange(q.shape[1], dtype=jnp.int32)
    at = jnp.where(new < lengths[:, None], position[:, None] + new, keys.shape[1])  # beyond it nothing is written
    keys = keys.at[slot[:, None], at].set(k.astype(keys.dtype), mode="drop")
    values = values.at[slot[:, None], at].set(v.astype(values.dtype), mode="drop")
    q = q * jnp.asarray(scale, q.dtype)
    return _read(q, keys, values, slot, position, lengths, window, soft_cap), keys, values


def _read(
    q: jax.Array, keys: jax.Array, values: jax.Array, slot: jax.Array, position: jax.Array, lengths: jax.Array,
    window: int | None, soft_cap: float | None,
) -> jax.Array:  # fmt: skip
    """Softmax over the positions of each slot, a block at a time."""
    (batch, time, heads, size), shared = q.shape, keys.shape[2]
    wide = jnp.promote_types(q.dtype, jnp.float32)
    grouped = q.reshape(batch, time, shared, heads // shared, size).transpose(0, 2, 3, 1, 4)
    at, active = position[:, None] + jnp.arange(time, dtype=jnp.int32), lengths > 0
    counts = jnp.arange(time)[None] < lengths[:, None]

    def block(held: jax.Array, i: Any) -> jax.Array:
        start = lambda s: (s, i * _BLOCK, jnp.int32(0), jnp.int32(0))  # noqa: E731
        part = jax.vmap(lambda s: jax.lax.dynamic_slice(held, start(s), (1, _BLOCK, *held.shape[2:]))[0])(slot)
        return jnp.swapaxes(part, 1, 2).astype(q.dtype)

    def add(i: Any, carry: Any) -> Any:
        top, total, y = carry
        scores = jnp.einsum("bgnqd,bgsd->bgnqs", grouped, block(keys, i), preferred_element_type=wide)
        scores = scores if soft_cap is None else soft_cap * jnp.tanh(scores / soft_cap)
        to = i * _BLOCK + jnp.arange(scores.shape[-1], dtype=jnp.int32)
        seen = (to <= at[..., None]) & counts[..., None]
        seen = seen if window is None else seen & (to >= at[..., None] - window)
        scores = jnp.where(seen[:, None, None], scores, -jnp.inf)
        higher = jnp.maximum(top, scores.max(-1))
        weights, faded = jnp.exp(scores - higher[..., None]), jnp.exp(top - higher)
        given = jnp.einsum("bgnqs,bgsd->bgnqd", weights.astype(q.dtype), block(values, i), preferred_element_type=wide)
        return higher, total * faded + weights.sum(-1), y * faded[..., None] + given

    least = jnp.full(grouped.shape[:-1], jnp.finfo(wide).min, wide)
    none = least, jnp.zeros_like(least), jnp.zeros(grouped.shape, wide)
    last = jnp.max(jnp.where(active, position + lengths, 0))
    begin = 0 if window is None else jnp.min(jnp.where(active, jnp.maximum(position - window, 0), last))
    _, total, y = jax.lax.fori_loop(begin // _BLOCK, (last + _BLOCK - 1) // _BLOCK, add, none)
    y = y / jnp.where(total == 0, 1, total)[..., None]
    return y.transpose(0, 3, 1, 2, 4).reshape(q.shape).astype(q.dtype)


_by_kernel = slots_kernel(_attended)


def _copied(keys: jax.Array, values: jax.Array, source: Any, target: Any, count: Any) -> tuple[jax.Array, jax.Array]:
    shape = (1, _BLOCK, *keys.shape[2:])

    def put(i: Any, held: Any) -> Any:
        def moved(x: jax.Array) -> jax.Array:
            part = jax.lax.dynamic_slice(x, (source, i * _BLOCK, 0, 0), shape)
            return jax.lax.dynamic_update_slice(x, part, (target, i * _BLOCK, 0, 0))

        return moved(held[0]), moved(held[1])

    return jax.lax.fori_loop(0, (count + _BLOCK - 1) // _BLOCK, put, (keys, values))


Cache = KVCache | RingCache | SlotRows
"""What attention keeps from one call to the next."""
