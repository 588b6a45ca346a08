"""Causal attention with learned keys and values before those of the text."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.adapt.layers._adapted import Adapted
from phlox.core import Module, Param, RangeError, ShapeError, StructureError, describe
from phlox.nn import KVCache, fused
from phlox.nn import functional as F


class Prefix(Module):
    """Keys and values that attention sees before those of the text; positions begin behind them.

    Shapes:
        keys, values: (length, kv_heads, head size), as they stand in a cache: behind norms and rotary positions.

    Arguments:
        keys, values: as above.

    Source: Li and Liang, "Prefix-tuning: optimizing continuous prompts for generation", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.adapt.Prefix(jnp.ones((3, 2, 4)), jnp.ones((3, 2, 4))).kind
    'prefix'
    """

    keys: Param  # (length, kv_heads, head size)
    values: Param  # (length, kv_heads, head size)
    parameter_kinds: ClassVar[dict[str, str]] = {"keys": "embedding", "values": "embedding"}
    kind = "prefix"
    rank = None

    def __init__(self, keys: jax.Array, values: jax.Array):
        self.keys, self.values = keys, values

    def _brief(self) -> str:
        return f"Prefix({self.keys.shape[0]})"


class PrefixedCache(KVCache):
    """A cache that begins with a prefix."""

    first: int

    def __init__(self, batch: int, length: int, kv_heads: int, size: int, *, prefix: int, dtype: Any = None):
        super().__init__(batch, prefix + length, kv_heads, size, dtype=dtype)
        self.first = prefix


class AdaptedAttention(Adapted):
    """Causal self-attention with prefixes.

    Shapes:
        those of ``MultiHeadAttention``; weights have the keys of the prefixes first.
    """

    def __call__(
        self, q: Any, k: Any = None, v: Any = None, *, mask: Any = None, cache: Any = None, **options: Any
    ) -> Any:
        self._check(cache)
        if not self.used or cache is not None:  # which holds the prefix
            return self.layer(q, k, v, mask=mask, cache=cache, **options)
        if k is not None or v is not None or options.get("kv_lengths") is not None:
            fix = "pass q alone, or px.adapt.use(model, None)"
            raise RangeError("self-attention behind a prefix", got="k, v or kv_lengths", fix=fix)
        if jnp.ndim(q) != 3:
            raise ShapeError("(batch, time, dim)", got=describe(q), fix="add a batch axis: q[None]")
        batch, time = q.shape[:2]
        dtype = q.dtype if jnp.issubdtype(q.dtype, jnp.floating) else None
        return self.layer(q, mask=_behind(mask, self.length, time), cache=self._cache(batch, time, dtype), **options)

    @property
    def length(self) -> int:
        """Positions before the text's first."""
        return sum(prefix.keys.shape[0] for prefix in self.used)

    def init_cache(self, batch: int, length: int, *, dtype: Any = None, whole: bool = False) -> Any:
        """An empty cache for ``batch`` examples of at most ``length`` positions, behind the prefixes in use.

        It holds these as they are now, and all positions, also behind a window.
        """
        if not self.used:
            return self.layer.init_cache(batch, length, dtype=dtype, whole=whole)
        kept = getattr(self.layer.k_proj, "weight", self.used[0].keys)
        return self._cache(batch, length, kept.dtype if dtype is None else dtype)

    def _cache(self, batch: int, length: int, dtype: Any) -> PrefixedCache:
        layer, prefix = self.layer, self.length
        cache = PrefixedCache(batch, length, layer.kv_heads, layer.head_dim, prefix=prefix, dtype=dtype)
        for name in ("keys", "values"):
            given = [getattr(one, name) for one in self.used]
            setattr(cache, name, _begun(F.identity, getattr(cache, name), given))
        cache.position = jnp.full(batch, prefix, jnp.int32)
        return cache

    def _check(self, cache: Any) -> None:
        """Refuse a cache that begins otherwise than with what is in use."""
        first = getattr(cache, "first", 0)
        if cache is not None and first != self.length:
            expected, got = f"a cache that begins with {self.length} positions of a prefix", f"one of {first}"
            raise RangeError(expected, got=got, fix="make it anew, by init_cache(batch, length)")

    def changed_arrays(self) -> dict[str, jax.Array]:
        """None, for a prefix is no change of weights.

        Raises:
            StructureError: a prefix is in use.
        """
        if self.used:
            raise StructureError(
                "adapters that are changes of weights", got="a prefix",
                fix="name the others: px.adapt.merge(model, name)", where="px.adapt.merge",
            )  # fmt: skip
        return {}


@fused()
def _begun(act: Any, held: jax.Array, given: list[jax.Array]) -> jax.Array:
    """Keys or values (batch, length, heads, size) that begin with those of prefixes."""
    first = jnp.concatenate(given).astype(held.dtype)
    return act(held.at[:, : first.shape[0]].set(first))


def _behind(mask: Any, prefix: int, time: int) -> Any:
    """A mask of a text's keys as one whose first keys, of a prefix, are seen by all."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    mask = jnp.broadcast_to(mask, (*mask.shape[:-1], time))
    seen = jnp.ones if mask.dtype == bool else jnp.zeros  # which are added to scores
    return jnp.concatenate([seen((*mask.shape[:-1], prefix), mask.dtype), mask], axis=-1)


def prefix_length(attention: Any) -> int:
    """How many positions stand before the first of a text, for models whose embeddings count them.

    >>> import phlox as px
    >>> model = px.adapt.prefix(px.Chain(px.nn.MultiHeadAttention(8, 2, causal=True)), length=3)
    >>> px.adapt.prefix_length(model[0])
    3
    """
    return attention.length if isinstance(attention, AdaptedAttention) else 0
