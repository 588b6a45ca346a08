"""Attention of queries to keys: softmax of scaled products, with masks, whole or a chunk of queries at a time.

Scores and their softmax are float32 at least. A query that sees no key gets zeros, with zero gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from phlox.core import RangeError, answering, way
from phlox.nn.functional._numeric import real
from phlox.nn.functional.attention._checks import Window, check_heads, check_options, window_of
from phlox.nn.functional.attention._cudnn import cudnn_attention, cudnn_refusal
from phlox.nn.functional.attention._given import Given, Options, given_of
from phlox.nn.functional.kernels._attention import attention_kernel

__all__ = ["causal_mask", "dot_product_attention"]

Bias: TypeAlias = "ArrayLike | Callable[[Array, Array], Array]"

WHOLE = 1 << 26  # scores that are kept in memory at once; beyond them queries go by chunks of a quarter of it


@answering
def dot_product_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    bias: Bias | None = None,
    causal: bool = False,
    window: Window = None,
    lengths: ArrayLike | None = None,
    kv_lengths: ArrayLike | None = None,
    offset: ArrayLike = 0,
    scale: float | None = None,
    soft_cap: float | None = None,
    dropout: float = 0.0,
    key: Array | None = None,
    chunk: int | None = None,
    implementation: str | None = None,
    return_weights: bool = False,
) -> Any:
    """Average values by how well their keys fit each query: ``y = softmax(q k^T * scale + bias) v``.

    Heads of keys and values may be fewer than those of queries; each serves ``heads / kv_heads`` neighbours
    (grouped queries; one of them all is multi-query attention). A query that sees no key gets zeros.

    Shapes:
        q: (batch, queries, heads, size); k: (batch, keys, kv_heads, size); v: (batch, keys, kv_heads, value_size);
        mask, bias: (queries, keys), or (batch, heads, queries, keys) where any may be 1; lengths, kv_lengths:
        (batch,); offset: () or (batch,); y: (batch, queries, heads, value_size); weights, with
        ``return_weights``: (batch, heads, queries, keys), after dropout, as the second result.

    Arguments:
        mask: boolean, True where a query sees a key; or floats that are added to the scores (-inf hides).
        bias: floats that are added to the scores; or a function of the positions of queries, (queries,) or
            (batch, queries), and of keys, (keys,), that gives them, (heads, queries, keys) or with a batch axis first.
        causal: whether a query sees no later key.
        window: how many positions to either side a query sees beside its own; one number, or (left, right), where
            None is all.
        lengths: queries of each example that count; the others get zeros.
        kv_lengths: keys of each example that count; what stands behind them is never read.
        offset: position of the first query, counted in keys, for ``causal``, ``window`` and ``bias``.
        scale: factor of the products; ``1 / sqrt(size)`` by default.
        soft_cap: c, which bounds the scaled products smoothly, ``c * tanh(s / c)``, before bias and mask.
        dropout: probability of a weight to be zeroed, with ``key``; the others grow by ``1 / (1 - p)``.
        key: a JAX random key for dropout. Draws depend on the position alone, not on ``chunk``.
        chunk: queries at a time; memory is then linear in length, also that of the gradient, for more arithmetic.
        implementation: "xla" (all scores at once), "chunked", "cudnn" (NVIDIA GPUs, half precision), or None for
            cuDNN where it can do it, else chunks where all scores would not fit 2**26 numbers, else all at once.
        return_weights: whether to return the weights too; all at once only.

    Raises:
        ShapeError: sizes or heads that do not fit. DtypeError: a mask of integers, a bias of booleans.
        RangeError: a number out of its range, lengths beyond what there is, dropout without a key, an implementation
        that cannot do what is asked.

    >>> q, k = jnp.ones((1, 1, 1, 2)), jnp.ones((1, 3, 1, 2))
    >>> dot_product_attention(q, k, jnp.arange(3.0).reshape(1, 3, 1, 1), kv_lengths=jnp.array([2])).item()
    0.5

    Source: Vaswani et al., "Attention is all you need" (arXiv:1706.03762); Shazeer (arXiv:1911.02150) and Ainslie et
    al. (arXiv:2305.13245) for shared keys; Rabe & Staats (arXiv:2112.05682) for chunks.
    """
    where = "dot_product_attention"
    q, k, v = real(q, where), real(k, where), real(v, where)
    check_heads(where, q, k, v)
    dtype = jnp.result_type(q, k, v)
    q, k, v = q.astype(dtype), k.astype(dtype), v.astype(dtype)
    check_options(where, soft_cap=soft_cap, dropout=dropout, key=key, chunk=chunk)
    width = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    options = Options(causal, window_of(where, window), width, soft_cap, float(dropout))
    given = given_of(q, k, mask, bias, lengths, kv_lengths, offset, key if dropout else None)
    chosen = _chosen(q, k, v, given, options, chunk, implementation, return_weights)
    if given.kv_lengths is not None:  # what stands behind may be anything, NaN too
        counts = (jnp.arange(k.shape[1])[None] < given.kv_lengths[:, None])[..., None, None]
        k, v = jnp.where(counts, k, 0), jnp.where(counts, v, 0)
    spread = way("attention") if implementation in (None, "chunked") and not return_weights else None
    y = None if spread is None else spread(q, k, v, given, options, chunk, offset)
    if y is not None:
        return y
    if (
        chosen != "cudnn"
        and implementation is chunk is None
        and not return_weights
        and _is_plain(given, options, offset)
    ):
        y = _attend(q, k, v, scale=width, causal=causal)
        if y is not None:
            return y
    if chosen == "cudnn":
        seen = _seen(jnp.arange(q.shape[1]), k.shape[1], given, options)
        return cudnn_attention(q, k, v, given, options, seen)
    if chosen == "chunked":
        return _by_chunks(q, k, v, given, options, chunk or _fitting_chunk(q, k))
    y, weights = _rows(q, jnp.arange(q.shape[1]), k, v, given, options)
    return (y, weights) if return_weights else y


@answering
def causal_mask(
    queries: int, keys: int | None = None, *, offset: ArrayLike = 0, window: Window = None
) -> Array:  # (queries, keys)
    """Make the mask of attention that looks back: ``mask[i, j]`` is whether ``j <= i + offset``.

    Shapes:
        mask: (queries, keys), boolean.

    Arguments:
        queries: how many queries.
        keys: how many keys; as many as queries by default.
        offset: position of the first query, counted in keys.
        window: how many positions a query sees beside its own; a number, or (left, right).

    Raises:
        RangeError: a negative window.

    >>> causal_mask(2).tolist()
    [[True, False], [True, True]]

    Source: Vaswani et al., "Attention is all you need" (arXiv:1706.03762), section 3.2.3.
    """
    at, to = jnp.arange(queries)[:, None] + jnp.asarray(offset), jnp.arange(queries if keys is None else keys)
    left, _ = window_of("causal_mask", window)
    seen = to <= at
    return seen if left is None else seen & (to >= at - left)


# --- the computation --------------------------------------------------------------------------------


def _rows(q: Array, index: Array, k: Array, v: Array, given: Given, options: Options) -> tuple[Array, Array]:
    """The results of some queries, those at ``index``, and their weights (batch, heads, queries, keys).

    Products are those of batch and kv_heads matrices that lie together: XLA's CPU compiler takes up to three times as
    long where heads stand behind time, and its gradients up to twice. Batch and heads stay two axes, so that either can
    be cut over devices.
    """
    batch, rows, heads, _ = q.shape
    keys, shared = k.shape[1], k.shape[2]
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("bgqd,bgsd->bgqs", _matrices(q, shared), _matrices(k, shared), preferred_element_type=wide)
    scores = options.scale * scores.reshape(batch, heads, rows, keys)
    if options.soft_cap is not None:
        scores = options.soft_cap * jnp.tanh(scores / options.soft_cap)
    for bias in (given.bias, _moving(index, keys, given)):
        scores = scores if bias is None else scores + bias.astype(wide)
    seen = _seen(index, keys, given, options)
    scores = scores if seen is None else jnp.where(seen, scores, -jnp.inf)
    weights = _softmax(scores)
    if given.key is not None:
        weights = _dropped(weights, index, given.key, options.dropout)
    weights = weights.astype(v.dtype)
    together = weights.reshape(batch, shared, heads // shared * rows, keys)
    y = jnp.einsum("bgqs,bgsd->bgqd", together, _matrices(v, shared), preferred_element_type=wide)
    return jnp.swapaxes(y.reshape(batch, heads, rows, v.shape[-1]), 1, 2).astype(v.dtype), weights


def _matrices(x: Array, shared: int) -> Array:
    """Rows of the heads that share keys, together: (batch, time, heads, size) → (batch, shared, …, size)."""
    batch, time, heads, size = x.shape
    return jnp.swapaxes(x, 1, 2).reshape(batch, shared, heads // shared * time, size)


def _softmax(scores: Array) -> Array:
    """Softmax over keys; zeros, with zero gradients, where every score is -inf."""
    top = lax.stop_gradient(jnp.max(scores, -1, keepdims=True, initial=-jnp.inf))
    powers = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0.0))
    total = jnp.sum(powers, -1, keepdims=True)
    return powers / jnp.where(total == 0.0, 1.0, total)


def _seen(index: Array, keys: int, given: Given, options: Options) -> Array | None:
    """Which keys the queries at ``index`` see, (batch or 1, heads or 1, queries, keys); None is all."""
    at = (given.offset.reshape(-1, 1) + index[None])[:, None, :, None]
    to = jnp.arange(keys)[None, None, None]
    left, right = options.window
    rules = [
        to <= at if options.causal else None,
        to >= at - left if left is not None else None,
        to <= at + right if right is not None else None,
        index[None, None, :, None] < given.lengths[:, None, None, None] if given.lengths is not None else None,
        to < given.kv_lengths[:, None, None, None] if given.kv_lengths is not None else None,
        given.mask,
    ]
    seen = None
    for rule in rules:
        seen = rule if seen is None else seen if rule is None else seen & rule
    return seen


def _moving(index: Array, keys: int, given: Given) -> Array | None:
    """The bias of the queries at ``index``, where it is a function of positions."""
    if given.moving_bias is None:
        return None
    at = given.offset + index if given.offset.ndim == 0 else given.offset[:, None] + index[None]
    bias = given.moving_bias(at, jnp.arange(keys))
    return bias if bias.ndim == 4 else bias[None]


def _dropped(weights: Array, index: Array, key: Array, p: float) -> Array:
    """Weights with some zeroed; the draws of a query come from the key and its index alone."""
    batch, heads, _, keys = weights.shape
    draw = lambda i: jax.random.bernoulli(jax.random.fold_in(key, i), 1.0 - p, (batch, heads, keys))  # noqa: E731
    kept = jax.vmap(draw, out_axes=2)(index)
    return jnp.where(kept, weights / (1.0 - p), 0.0) if p < 1.0 else jnp.zeros_like(weights)


def _by_chunks(q: Array, k: Array, v: Array, given: Given, options: Options, chunk: int) -> Array:
    """All queries, ``chunk`` of them at a time; the gradient computes each chunk's scores again."""
    batch, rows, heads, _ = q.shape
    symbolic = not isinstance(rows, int)  # how many chunks there are must be known
    count = -(-rows // min(chunk, rows)) if not symbolic and rows else 0
    if count <= 1:
        return _rows(q, jnp.arange(rows), k, v, given, options)[0]
    chunk = min(chunk, rows)
    pad = count * chunk - rows

    def split(x: Array | None, axis: int) -> Array | None:
        """Rows in chunks along a new first axis; None where all rows have the same."""
        if x is None or x.shape[axis] == 1 < rows:
            return None
        padded = jnp.pad(x, [(0, pad if a == axis else 0) for a in range(x.ndim)])
        return jnp.moveaxis(padded.reshape(*x.shape[:axis], count, chunk, *x.shape[axis + 1 :]), axis, 0)

    @jax.checkpoint
    def some(part: Any, k: Array, v: Array) -> Array:
        q, index, mask, bias = part
        here = given._replace(mask=given.mask if mask is None else mask, bias=given.bias if bias is None else bias)
        return _rows(q, index, k, v, here, options)[0]

    index = jnp.arange(count * chunk).reshape(count, chunk)
    parts = (split(q, 1), index, split(given.mask, 2), split(given.bias, 2))
    _, ys = lax.scan(lambda _, part: (None, some(part, k, v)), None, parts)
    return jnp.moveaxis(ys, 0, 1).reshape(batch, count * chunk, heads, v.shape[-1])[:, :rows]


def _whole_or_chunks(q: Array, k: Array, v: Array, *, scale: float, causal: bool) -> Array:
    """Attention without masks, biases and the like, in plain JAX."""
    given = Given(None, None, None, None, None, jnp.asarray(0), None)
    options = Options(causal, (None, None), scale, None, 0.0)
    if _is_large(q, k):
        return _by_chunks(q, k, v, given, options, _fitting_chunk(q, k))
    return _rows(q, jnp.arange(q.shape[1]), k, v, given, options)[0]


_attend = attention_kernel(_whole_or_chunks)


def _is_plain(given: Given, options: Options, offset: Any) -> bool:
    """Whether nothing but ``causal`` and a scale known now has a say in the scores."""
    known = isinstance(offset, int) and offset == 0 and isinstance(options.scale, (int, float))
    arrays = (given.mask, given.bias, given.moving_bias, given.lengths, given.kv_lengths, given.key)
    rest = options._replace(causal=False, scale=1.0)
    return known and all(a is None for a in arrays) and rest == Options(False, (None, None), 1.0, None, options.dropout)


# --- which way ------------------------------------------------------------------------------------


def _chosen(
    q: Array, k: Array, v: Array, given: Given, options: Options, chunk: int | None, asked: str | None, weights: bool
) -> str:
    where = "dot_product_attention"
    if asked not in (None, "xla", "chunked", "cudnn"):
        fix = "choose one of them; None finds the best"
        raise RangeError('implementation "xla", "chunked", "cudnn" or None', got=repr(asked), fix=fix, where=where)
    if weights:
        if asked in ("chunked", "cudnn") or chunk is not None:
            got = f"implementation={asked!r}, chunk={chunk}"
            fix = "leave both out: weights take the memory of all scores, whatever computes them"
            raise RangeError('implementation "xla" where weights are returned', got=got, fix=fix, where=where)
        return "xla"
    if asked == "xla" and chunk is not None:
        fix = 'leave one of them out; "xla" computes all scores at once'
        raise RangeError('no chunk with implementation "xla"', got=f"chunk={chunk}", fix=fix, where=where)
    if asked in (None, "cudnn") and chunk is None:
        refusal = cudnn_refusal(q, k, v, given, options)
        if refusal is None:
            return "cudnn"
        if asked == "cudnn":
            fix = 'choose implementation="xla" or "chunked", or None'
            raise RangeError(refusal[0] + ' for implementation "cudnn"', got=refusal[1], fix=fix, where=where)
    if asked == "cudnn":
        fix = "leave chunk out; cuDNN keeps no scores"
        raise RangeError('no chunk with implementation "cudnn"', got=f"chunk={chunk}", fix=fix, where=where)
    return asked or ("chunked" if chunk is not None or _is_large(q, k) else "xla")


def _is_large(q: Array, k: Array) -> bool:
    scores = q.shape[0] * q.shape[2] * q.shape[1] * k.shape[1]
    return isinstance(scores, int) and scores > WHOLE  # sizes that are symbols, of an exported program, are small


def _fitting_chunk(q: Array, k: Array) -> int:
    """How many queries' scores fit a quarter of what is kept at once, as a power of two."""
    each = max(1, q.shape[0] * q.shape[2] * k.shape[1])
    return max(16, 1 << max(0, (WHOLE // 4 // each).bit_length() - 1))
