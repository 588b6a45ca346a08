"""Multi-head attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    advance,
    cond,
    describe,
    key_or_draw,
    param_dtype,
    python_control_flow,
)
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._autosize import sized
from phlox.nn._checks import check_positive, check_probability, check_size
from phlox.nn._fused import fused
from phlox.nn.attention._kv_cache import KVCache
from phlox.nn.attention._ring_cache import RingCache
from phlox.nn.attention._slot_cache import Cache, SlotRows
from phlox.nn.features._dense import Dense
from phlox.nn.features._dropout import Dropout
from phlox.nn.functional.attention._checks import check_lengths, window_of

_MANY = 32  # queries


@sized(dim=-1)
class MultiHeadAttention(Module):
    r"""Every query averages values by how well their keys fit it, in several heads: $y = \mathrm{concat}(h_1, …) W_o$.

    $h_i = \mathrm{softmax}(Q_i K_i^T s) V_i$ with $Q = q W_q + b_q$, $K = k W_k + b_k$, $V = v W_v + b_v$ split into
    heads. ``attention(x)`` is self-attention, ``attention(x, memory)`` cross-attention. A query that sees no key
    gets zeros before $W_o$. Masks are True where a query sees a key, as in ``F.dot_product_attention``.

    Shapes:
        q: (batch, time, dim); k: (batch, keys, key_dim); v: (batch, keys, value_dim); y: (batch, time, dim);
        mask: (time, keys) or (batch, heads, time, keys), any of them 1; lengths, kv_lengths: (batch,);
        weights, with ``return_weights``: (batch, heads, time, keys), as the second result.

    Arguments:
        dim: features of queries and of the result.
        heads: heads of queries; divides dim unless ``head_dim`` is given.
        kv_heads: heads of keys and values, a divisor of ``heads``; 1 is multi-query attention. As many by default.
        head_dim: features of each head; ``dim / heads`` by default.
        key_dim, value_dim: features of the keys' and the values' input; dim and key_dim by default.
        causal: whether a query sees no later key.
        window: how many positions to either side a query sees beside its own; a number, or (left, right).
        bias: whether the four maps have biases, which start at zero.
        dropout: probability of a weight to be zeroed, in training.
        positions: an object with ``rotate`` or ``bias``: ``RotaryEmbedding``, ``ALiBi``, ``RelativePositionBias``.
        scale: s; ``1 / sqrt(head_dim)`` by default.
        qk_norm: makes a norm of ``head_dim`` features for queries, and one for keys, before positions turn them;
            such as ``RMSNorm``.
        soft_cap: c, which bounds the scaled products, ``c * tanh(· / c)``.
        chunk: queries at a time, for memory that is linear in length; None decides by size.
        implementation: "xla", "chunked", "cudnn" or None, as in ``F.dot_product_attention``.
        init: initialiser of the four weights.
        key: where weights and dropout draw from; by default the stream of ``px.seed``.

    Options of a call:
        mask: boolean, True where a query sees a key; or floats that are added to the scores.
        lengths: queries that count in each example, and keys too in self-attention; the others give zeros.
        kv_lengths: keys that count in each example.
        cache: what ``init_cache`` made; q then stands behind what it holds, and is added to it.
        return_weights: whether to return (y, weights).

    Raises:
        RangeError: sizes or heads that do not divide, a cache for attention that is not causal, a full cache.
        ShapeError: inputs of another rank or size, a cache of another layer or batch.
        DtypeError: a mask of integers.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.MultiHeadAttention(16, 4, kv_heads=2, causal=True)(jnp.ones((2, 5, 16))).shape
    (2, 5, 16)
    """

    dim: int
    heads: int
    causal: bool
    bias: bool

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        causal: bool = False,
        window: int | Sequence[int | None] | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        positions: Any = None,
        qk_norm: Callable[[int], Module] | None = None,
        scale: float | None = None,
        soft_cap: float | None = None,
        chunk: int | None = None,
        implementation: str | None = None,
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        name = "MultiHeadAttention"
        self.dim, self.heads = check_size(name, "dim", dim), check_size(name, "heads", heads)
        self.kv_heads: int = self.heads if kv_heads is None else check_size(name, "kv_heads", kv_heads)
        _check_divides(name, "kv_heads", self.kv_heads, "heads", self.heads)
        if head_dim is None:
            _check_divides(name, "heads", self.heads, "dim", self.dim)
        self.head_dim: int = self.dim // self.heads if head_dim is None else check_size(name, "head_dim", head_dim)
        self.key_dim: int = self.dim if key_dim is None else check_size(name, "key_dim", key_dim)
        self.value_dim: int = self.key_dim if value_dim is None else check_size(name, "value_dim", value_dim)
        self.causal, self.bias = causal, bias
        self.window: tuple[int | None, int | None] | None = None if window is None else window_of(name, window)
        self.positions: Any = _check_positions(name, positions)
        self.scale = scale
        self.soft_cap: float | None = None if soft_cap is None else check_positive(name, "soft_cap", soft_cap)
        self.chunk: int | None = None if chunk is None else check_size(name, "chunk", chunk)
        self.implementation = implementation
        *keys, draws = jax.random.split(key_or_draw(key), 5)
        width, shared = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj: Dense = Dense(self.dim, width, bias=bias, init=init, key=keys[0])
        self.k_proj: Dense = Dense(self.key_dim, shared, bias=bias, init=init, key=keys[1])
        self.v_proj: Dense = Dense(self.value_dim, shared, bias=bias, init=init, key=keys[2])
        self.out_proj: Dense = Dense(width, self.dim, bias=bias, init=init, key=keys[3])
        self.q_norm: Module | None = None if qk_norm is None else qk_norm(self.head_dim)
        self.k_norm: Module | None = None if qk_norm is None else qk_norm(self.head_dim)
        self.drop: Dropout | None = Dropout(dropout, key=draws) if check_probability(name, "dropout", dropout) else None

    def init_cache(self, batch: int, length: int, *, dtype: Any = None, whole: bool = False) -> Cache:
        """An empty cache for ``batch`` examples of at most ``length`` positions.

        Behind a window only what it shows is kept, unless ``whole`` asks for all, as who takes tokens back must.
        """
        dtype = param_dtype(dtype) if dtype is not None else getattr(self.k_proj, "weight", jnp.zeros(())).dtype
        back = None if self.window is None else self.window[0]
        if back is None or whole or back + 1 >= length or hasattr(self.positions, "bias"):
            return KVCache(batch, length, self.kv_heads, self.head_dim, dtype=dtype)
        return RingCache(batch, back, self.kv_heads, self.head_dim, dtype=dtype)

    def __call__(
        self,
        q: Any,
        k: Any = None,
        v: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        kv_lengths: Any = None,
        cache: Cache | None = None,
        return_weights: bool = False,
    ) -> Any:
        self._check_inputs(q, k, v, mask, cache)
        if python_control_flow():  # while they can be read
            batch, time, _ = jnp.shape(q)
            check_lengths(None, "lengths", lengths, batch, time)
            check_lengths(None, "kv_lengths", kv_lengths, batch, time if k is None else jnp.shape(k)[1])
        if k is None and kv_lengths is None:
            kv_lengths = lengths
        k = q if k is None else k
        v = k if v is None else v
        queries, keys = _split(self.q_proj(q), self.heads), _split(self.k_proj(k), self.kv_heads)
        values, dtype = _split(self.v_proj(v), self.kv_heads), queries.dtype
        queries = queries if self.q_norm is None else self.q_norm(queries)
        keys = keys if self.k_norm is None else self.k_norm(keys)
        start = jnp.zeros((), jnp.int32) if cache is None else cache.position
        if hasattr(self.positions, "rotate"):
            queries = self.positions.rotate(queries, start[..., None] + jnp.arange(queries.shape[1]))
            keys = self.positions.rotate(keys, start[..., None] + jnp.arange(keys.shape[1]))
        if isinstance(cache, SlotRows):
            if return_weights:
                fix = "leave it out, or use the cache of init_cache(batch, length)"
                raise RangeError("no return_weights beside slots of a cache", got="True", fix=fix)
            back = None if self.window is None else self.window[0]
            options = {"scale": self.scale, "window": back, "soft_cap": self.soft_cap}
            y = cache.attend(queries, keys, values, lengths, **options)
            return self._ended(y, None, dtype, False)
        if isinstance(cache, RingCache):
            keys, values, seen = cache.append(keys, values, lengths)
            y, weights = self._attend(queries, keys, values, seen, lengths, None, None, return_weights, ring=True)
            return self._ended(y, weights, dtype, return_weights)
        if cache is not None:
            fits = cache.append(keys, values, lengths)
            queries = jnp.where(fits[:, None, None, None], queries, jnp.nan)
            after = lambda: self._attend(  # noqa: E731
                queries, cache.keys, cache.values, mask, lengths, cache.position, start, return_weights
            )
            if mask is not None or return_weights or not _are_many(queries):
                return self._ended(*after(), dtype, return_weights)
            first = lambda: self._attend_first(queries, keys, values, lengths, cache.keys.dtype)  # noqa: E731
            return self._ended(cond((start == 0).all(), first, lambda: after()[0]), None, dtype, False)
        y, weights = self._attend(queries, keys, values, mask, lengths, kv_lengths, None, return_weights)
        return self._ended(y, weights, dtype, return_weights)

    def _attend_first(self, q: jax.Array, k: jax.Array, v: jax.Array, lengths: Any, held: Any) -> jax.Array:
        """Results where the cache was empty: of what is new alone, of which no query that counts sees the rest."""
        counts = jnp.arange(k.shape[1])[None] < (k.shape[1] if lengths is None else jnp.asarray(lengths)[:, None])
        k, v = (jnp.where(counts[..., None, None], x.astype(held), 0) for x in (k, v))
        y, _ = self._attend(q, k, v, None, None, None, None, False)
        return jnp.where(counts[..., None, None], y, 0)

    def _ended(self, y: jax.Array, weights: Any, dtype: Any, return_weights: bool) -> Any:
        y = self.out_proj(y.reshape(*y.shape[:2], self.heads * self.head_dim).astype(dtype))
        return (y, weights) if return_weights else y

    def _attend(
        self,
        q: Any,
        k: Any,
        v: Any,
        mask: Any,
        lengths: Any,
        kv_lengths: Any,
        offset: Any,
        return_weights: bool,
        ring: bool = False,
    ) -> tuple[jax.Array, Any]:
        """Results by head (batch, time, heads, head_dim), and the weights where they are wanted."""
        p = self.drop.p if self.drop is not None and self.drop.training else 0.0
        options = {
            "causal": self.causal and not ring, "window": None if ring else self.window,
            "scale": self.scale, "soft_cap": self.soft_cap,
            "dropout": p, "chunk": None if return_weights else self.chunk,
            "implementation": None if return_weights else self.implementation, "return_weights": return_weights,
        }  # fmt: skip
        key, bias = advance(self.drop) if p else None, getattr(self.positions, "bias", None)
        arrays = [None if x is None else jnp.asarray(x) for x in (mask, lengths, kv_lengths)]
        if bias is not None and self.chunk is None and self.implementation != "chunked" and python_control_flow():
            start = 0 if offset is None else offset[..., None]
            bias = bias(start + jnp.arange(q.shape[1]), jnp.arange(k.shape[1]))
            bias = bias if bias.ndim == 4 else bias[None]
        run: Any = _plain if callable(bias) else _compiled
        y = run(F.identity, q, k, v, bias, *arrays, offset, key, **options)
        return y if return_weights else (y, None)

    def _check_inputs(self, q: Any, k: Any, v: Any, mask: Any, cache: Cache | None) -> None:
        rows = f"(batch, time, {self.dim})"
        if jnp.ndim(q) != 3 or jnp.shape(q)[2] != self.dim:
            raise ShapeError(rows, got=describe(q), fix=_cure(q, self.dim))
        for what, x, size in (("k", k, self.key_dim), ("v", v, self.value_dim)):
            if x is not None and (jnp.ndim(x) != 3 or jnp.shape(x)[2] != size or jnp.shape(x)[0] != jnp.shape(q)[0]):
                expected = f"{what} of shape ({jnp.shape(q)[0]}, keys, {size})"
                raise ShapeError(expected, got=describe(x), fix=f"{_cure(x, size)}; {what}_dim sets its size")
        if k is None and (v is not None or self.key_dim != self.dim or self.value_dim != self.dim):
            got, fix = "q alone" if v is None else "q and v", "pass k too: attention(q, k, v)"
            raise ShapeError(f"k with {self.key_dim} features", got=got, fix=fix)
        if cache is not None and (k is not None or not self.causal):
            got = "k with a cache" if k is not None else "causal=False"
            fix = "build the layer with causal=True, and pass q alone; without that, later keys would change the past"
            raise RangeError("self-attention with causal=True where a cache is used", got=got, fix=fix)
        if cache is not None:
            self._check_cache(cache, q.shape[0])
        if isinstance(cache, RingCache) and mask is not None:
            fix = "pass lengths=, or make the cache by init_cache(batch, length, whole=True)"
            raise RangeError("no mask beside the cache of a window", got=describe(mask), fix=fix)
        if isinstance(cache, SlotRows) and (mask is not None or hasattr(self.positions, "bias")):
            got = "positions with a bias" if mask is None else describe(mask)
            raise RangeError("no mask and no bias beside slots of a cache", got=got, fix="pass lengths=")

    def _check_cache(self, cache: Any, batch: int) -> None:
        if isinstance(cache, SlotRows):
            sizes, held = (batch, self.kv_heads, self.head_dim), (len(cache.position), *cache.cache.keys.shape[2:])
            if sizes != held:
                fix = "make the cache by SlotCache(slots, length, kv_heads, head_dim), and rows for the batch"
                raise ShapeError(f"rows (batch, kv_heads, size) {sizes}", got=str(held), fix=fix)
            return
        sizes = (batch, "length", self.kv_heads, self.head_dim)
        held = jnp.shape(cache.keys) if isinstance(cache, KVCache | RingCache) else ()
        if not held or held != (batch, held[1], *sizes[2:]):
            got = f"one of {held}" if held else describe(cache)
            fix = f"make it by this layer's init_cache({batch}, length), anew for each batch size"
            raise ShapeError(f"a cache of ({', '.join(map(str, sizes))})", got=got, fix=fix)

    def _brief(self) -> str:
        return f"MultiHeadAttention({self.dim}, {self.heads})"


def _plain(
    act: Any, q: Any, k: Any, v: Any, bias: Any, mask: Any, lengths: Any, kv_lengths: Any, offset: Any, key: Any,
    **options: Any,
) -> Any:  # fmt: skip
    del act
    restrictions = {"mask": mask, "bias": bias, "lengths": lengths, "kv_lengths": kv_lengths}
    offset = 0 if offset is None else offset
    return F.dot_product_attention(q, k, v, key=key, offset=offset, **restrictions, **options)


# As one call where code runs line by line; a bias that is a function cannot be an argument of it.
_compiled = fused("causal", "window", "scale", "soft_cap", "dropout", "chunk", "implementation", "return_weights")(
    _plain
)


def _are_many(queries: jax.Array) -> bool:
    """Whether it pays to ask whether a cache is empty, and to read nothing of it then; of symbols nobody knows."""
    return isinstance(queries.shape[1], int) and queries.shape[1] >= _MANY


def _split(x: jax.Array, heads: int) -> jax.Array:
    """Features into heads: (batch, time, heads * size) → (batch, time, heads, size)."""
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads)


def _check_divides(layer: str, name: str, divisor: int, of: str, value: int) -> None:
    if value % divisor:
        fix = f"choose a divisor of {value}"
        raise RangeError(f"{name} that divides {of}={value}", got=str(divisor), fix=fix, where=layer)


def _check_positions(layer: str, positions: Any) -> Any:
    if positions is None or any(callable(getattr(positions, name, None)) for name in ("rotate", "bias")):
        return positions
    fix = "pass px.nn.RotaryEmbedding(…), px.nn.ALiBi(…) or an object of your own"
    raise RangeError("positions with a method rotate or bias", got=describe(positions), fix=fix, where=layer)


def _cure(x: Any, dim: int) -> str:
    if jnp.ndim(x) == 2:
        return "add a batch axis: x[None]"
    return f"give the layer before {dim} outputs" if jnp.ndim(x) == 3 else "shape it as (batch, time, features)"
