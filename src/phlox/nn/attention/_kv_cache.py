"""The cache of attention: keys and values of what was generated so far, in arrays of a fixed size."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, State, param_dtype
from phlox.nn import functional as F
from phlox.nn._checks import check_size
from phlox.nn._fused import fused
from phlox.nn.functional._numeric import is_concrete
from phlox.nn.functional.attention._checks import check_lengths


class KVCache(Module):
    r"""Keys and values that attention computed before, so that generating a token costs one query.

    ``attention(x, cache=cache)`` takes x to stand behind what the cache holds, adds its keys and values, and moves
    ``position``. Shapes stay, so a compiled step is traced once and, as an argument of ``px.jit``, writes in place.

    Shapes:
        keys: (batch, length, kv_heads, head size); values: (batch, length, kv_heads, value size); position: (batch,).

    Arguments:
        batch: examples that are generated together.
        length: positions there is room for.
        kv_heads: heads of keys and values.
        size: features of a head.
        dtype: dtype of both arrays; that of parameters by default.

    Raises:
        RangeError: a size below 1; more positions than there is room for, where their number is known. Compiled
            code gives NaN for it.

    Source: Shazeer, "Fast transformer decoding: one write-head is all you need", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> attention = px.nn.MultiHeadAttention(16, 2, causal=True)
    >>> cache = attention.init_cache(1, 10)
    >>> y = [attention(jnp.ones((1, 1, 16)), cache=cache) for _ in range(3)]
    >>> cache.keys.shape, cache.position.tolist()
    ((1, 10, 2, 8), [3])
    """

    keys: State  # (batch, length, kv_heads, size)
    values: State  # (batch, length, kv_heads, size)
    position: State  # (batch,) how many positions are filled
    first: int = 0  # positions of what every text begins with
    def __init__(self, batch: int, length: int, kv_heads: int, size: int, *, dtype: Any = None):
        sizes = {"batch": batch, "length": length, "kv_heads": kv_heads, "size": size}
        shape = tuple(check_size("KVCache", name, value) for name, value in sizes.items())
        self.keys, self.values = (jnp.zeros(shape, param_dtype(dtype)) for _ in range(2))
        self.position = jnp.zeros(batch, jnp.int32)

    @property
    def length(self) -> int:
        """Positions there is room for."""
        return self.keys.shape[1]

    def append(self, k: jax.Array, v: jax.Array, lengths: Any = None) -> jax.Array:
        """Write keys and values (batch, time, kv_heads, size) behind those there are; whether they fit, (batch,).

        Of an example with fewer than ``time`` in ``lengths`` (batch,), the rest is overwritten by what comes next.
        """
        fits = self.position + k.shape[1] <= self.length
        if is_concrete(fits) and not bool(fits.all()):
            raise RangeError(
                f"at most {self.length} positions",
                got=f"{int(self.position.max())} and {k.shape[1]} more",
                fix="make the cache longer: init_cache(batch, length)",
                where="KVCache",
            )
        moved = check_lengths("KVCache", "lengths", lengths, k.shape[0], k.shape[1])
        moved = k.shape[1] if moved is None else moved
        self.keys, self.values = _write(F.identity, self.keys, self.values, k, v, self.position)
        self.position = self.position + moved
        return fits

    def reset(self) -> None:
        """Forget everything: the next token is the first."""
        self.position = jnp.full_like(self.position, self.first)

    def _brief(self) -> str:
        return f"KVCache({', '.join(map(str, self.keys.shape))})"


@fused()
def _write(act: Any, keys: Any, values: Any, k: Any, v: Any, at: Any) -> tuple[jax.Array, jax.Array]:
    del act
    none = jnp.zeros((), at.dtype)
    put = jax.vmap(lambda held, new, at: jax.lax.dynamic_update_slice(held, new.astype(held.dtype), (at, none, none)))
    return put(keys, k, at), put(values, v, at)
