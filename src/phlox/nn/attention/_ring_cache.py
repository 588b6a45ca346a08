"""The cache of attention that looks back no further than a window: a ring of slots."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, State, param_dtype
from phlox.nn import functional as F
from phlox.nn._checks import check_size
from phlox.nn._fused import fused
from phlox.nn.functional.attention._checks import check_lengths


class RingCache(Module):
    r"""Keys and values of the last positions alone, for attention that looks back no further than a window.

    Position p lies in slot p modulo the size, so memory and time stay as they are however long the text grows. What is
    overwritten is gone: a text can't be taken back.

    Shapes:
        keys: (batch, size, kv_heads, head size); values: (batch, size, kv_heads, value size); position: (batch,).

    Arguments:
        batch: examples that are generated together.
        window: how many positions before its own a query sees.
        kv_heads: heads of keys and values.
        size: features of a head.
        dtype: dtype of both arrays; that of parameters by default.

    Raises:
        RangeError: a size below 1.

    Source: Jiang et al., "Mistral 7B", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> attention = px.nn.MultiHeadAttention(16, 2, causal=True, window=(3, 0))
    >>> cache = attention.init_cache(1, 100)
    >>> y = [attention(jnp.ones((1, 1, 16)), cache=cache) for _ in range(9)]
    >>> cache.keys.shape, cache.position.tolist()
    ((1, 4, 2, 8), [9])
    """

    keys: State  # (batch, slots, kv_heads, size)
    values: State  # (batch, slots, kv_heads, size)
    position: State  # (batch,) how many positions there were

    def __init__(self, batch: int, window: int, kv_heads: int, size: int, *, dtype: Any = None):
        sizes = {"batch": batch, "window": window + 1, "kv_heads": kv_heads, "size": size}
        shape = tuple(check_size("RingCache", name, value) for name, value in sizes.items())
        self.keys, self.values = (jnp.zeros(shape, param_dtype(dtype)) for _ in range(2))
        self.position = jnp.zeros(batch, jnp.int32)

    @property
    def slots(self) -> int:
        """Positions that are kept."""
        return self.keys.shape[1]

    def append(self, k: jax.Array, v: jax.Array, lengths: Any = None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Keys and values there were and new ones (batch, time, kv_heads, size), and who sees whom; the last are kept.

        Of an example with fewer than ``time`` in ``lengths`` (batch,), the rest is not seen and not kept. The third
        result is (batch, 1, time, slots + time), True where a query sees a key.
        """
        batch, time = k.shape[:2]
        moved = check_lengths("RingCache", "lengths", lengths, batch, time)
        moved = jnp.full(batch, time, jnp.int32) if moved is None else moved
        keys, values, seen, self.keys, self.values = _turn(
            F.identity, self.keys, self.values, k, v, self.position, moved
        )
        self.position = self.position + moved
        return keys, values, seen

    def reset(self) -> None:
        """Forget everything: the next token is the first."""
        self.position = jnp.zeros_like(self.position)

    def _brief(self) -> str:
        return f"RingCache({', '.join(map(str, self.keys.shape))})"


@fused()
def _turn(act: Any, keys: Any, values: Any, k: Any, v: Any, start: Any, moved: Any) -> Any:
    """Old and new keys and values, who sees whom, and what is kept."""
    del act
    slots, time = keys.shape[1], k.shape[1]
    last, slot, new = start[:, None] - 1, jnp.arange(slots, dtype=start.dtype), jnp.arange(time, dtype=start.dtype)
    held = last - (last - slot) % slots  # the position that a slot holds; below 0 where it holds none
    ours, counts = start[:, None] + new, new < moved[:, None]
    there = jnp.concatenate([held, jnp.where(counts, ours, -1)], axis=1)[:, None, :]
    seen = (there >= 0) & (there <= ours[..., None]) & (there > ours[..., None] - slots)
    kept = jnp.where(counts & (new >= moved[:, None] - slots), ours % slots, slots)
    put = jax.vmap(lambda old, at, x: old.at[at].set(x.astype(old.dtype), mode="drop"))
    both = (jnp.concatenate([old.astype(x.dtype), x], axis=1) for old, x in ((keys, k), (values, v)))
    return *both, seen[:, None], put(keys, kept, k), put(values, kept, v)
