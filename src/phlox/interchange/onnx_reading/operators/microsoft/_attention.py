"""Of com.microsoft: attention of transformers, their embeddings, their positions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import canonical, constant
from phlox.interchange.onnx_reading.operators._attention import masked_softmax, rotated
from phlox.interchange.onnx_reading.operators._norms import layer_norm
from phlox.interchange.onnx_reading.operators._table import HERE_MICROSOFT, OPERATORS

_HERE = HERE_MICROSOFT


def _heads(x: Any, count: int) -> Any:
    """(batch, time, heads · size) as (batch, heads, time, size)."""
    return jnp.moveaxis(x.reshape(*x.shape[:2], count, -1), 2, 1)


def _joined(x: Any) -> Any:
    return jnp.moveaxis(x, 1, 2).reshape(x.shape[0], x.shape[2], -1)


def _attended(call: Call, q: Any, k: Any, v: Any, mask: Any, bias: Any) -> Any:
    """``softmax(scale q k + bias) v`` of heads; the mask hides by a large number, as it does there."""
    scale = call.get("scale", 0.0) or 1 / np.sqrt(q.shape[-1])
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * np.asarray(scale, q.dtype)
    scores = scores if bias is None else scores + constant(bias)
    if mask is not None:
        seen = _seen(call, constant(mask), q.shape[0], k.shape[2])
        scores = scores + jnp.where(seen, 0, call.get("mask_filter_value", -10000.0)).astype(scores.dtype)
    if call.get("unidirectional", 0):
        rows, columns = np.arange(q.shape[2])[:, None], np.arange(k.shape[2])[None]
        scores = jnp.where(columns <= rows + k.shape[2] - q.shape[2], scores, -jnp.inf)
    return _joined(jnp.einsum("bhqk,bhkd->bhqd", masked_softmax(scores), v))


def _seen(call: Call, mask: Any, batch: int, keys: int) -> Any:
    """Which keys are seen: from lengths, from lengths and starts, for each key, or for each query and key."""
    at = jnp.arange(keys)
    if mask.ndim == 1:
        inside = at < mask[:batch, None]
        inside = inside & (at >= mask[batch:, None]) if mask.shape[0] == 2 * batch else inside
        return inside[:, None, None]
    if mask.ndim not in (2, 3):
        raise call.refusal("a mask of one to three axes", f"{mask.ndim}", "write the mask as an attention bias")
    return mask[:, None, None] != 0 if mask.ndim == 2 else mask[:, None] != 0


@OPERATORS.on("Attention", domain=_HERE)
def _attention(call: Call, x: Any, w: Any, bias: Any = None, mask: Any = None, *more: Any) -> Any:
    """With the projections in it; keys and values of before are one array (2, batch, heads, time, size)."""
    past, extra, *_ = call.filled(more, 2)
    projected = jnp.matmul(constant(x), constant(w))
    return _projected(call, projected if bias is None else projected + bias, mask, past, extra)


def _projected(call: Call, y: Any, mask: Any, past: Any, bias: Any) -> Any:
    sizes = call.get("qkv_hidden_sizes") or [y.shape[-1] // 3] * 3
    q, k, v = (_heads(part, call["num_heads"]) for part in jnp.split(y, np.cumsum(sizes)[:2].tolist(), -1))
    if past is not None:
        k, v = (jnp.concatenate([old, new], 2) for old, new in zip(constant(past), (k, v), strict=True))
    present = jnp.stack([k, v]) if call.wants(1) else None
    return _attended(call, q, k, v, mask, bias), present


@OPERATORS.on("QAttention", domain=_HERE)
def _quantised_attention(call: Call, *inputs: Any) -> Any:
    """The same with a product of whole numbers."""
    x, w, bias, sx, sw, mask, zx, zw, past = call.filled(inputs, 9)
    a, b = (
        constant(n).astype(jnp.int32) - (0 if z is None else constant(z).astype(jnp.int32))
        for n, z in ((x, zx), (w, zw))
    )
    y = jnp.matmul(a, b).astype(jnp.float32) * (constant(sx) * constant(sw)) + bias
    return _projected(call, y, mask, past, None)


@OPERATORS.on("MultiHeadAttention", domain=_HERE)
def _multi_head(call: Call, q: Any, *more: Any) -> Any:
    """Of what is projected before; keys and values are by steps, or by heads where they are of before."""
    k, v, bias, mask, extra, past_k, past_v = call.filled(more, 7)[:7]
    if k is None or k.ndim == 5 or q.ndim == 5:
        fix = "write queries, keys and values as three arrays (batch, time, heads · size)"
        raise call.refusal("queries, keys and values apart", "arrays that hold several of them", fix)
    count = call["num_heads"]
    parts = [constant(a) for a in (q, k, v)]
    if bias is not None:
        ends = np.cumsum([a.shape[-1] if a.ndim == 3 else a.shape[1] * a.shape[3] for a in parts])[:2].tolist()
        parts = [
            a + b.reshape(1, count, 1, -1) if a.ndim == 4 else a + b
            for a, b in zip(parts, jnp.split(constant(bias), ends), strict=True)
        ]
    q, k, v = (a if a.ndim == 4 else _heads(a, count) for a in parts)
    if past_k is not None:
        k, v = jnp.concatenate([past_k, k], 2), jnp.concatenate([past_v, v], 2)
    return _attended(call, q, k, v, mask, extra), k, v


@OPERATORS.on("RotaryEmbedding", domain=_HERE)
def _rotary(call: Call, x: Any, positions: Any, cos: Any, sin: Any) -> Any:
    """Pairs of features turned by the angles of their place; one number is where the first step stands."""
    x, at = constant(x), constant(positions)
    shape = x.shape
    x = jnp.moveaxis(x, 1, 2) if len(shape) == 4 else x
    if len(shape) == 3:
        size = call.get("rotary_embedding_dim", 0) and call.get("num_heads", 0)
        x = x.reshape(*shape[:2], call["num_heads"] if size else shape[2] // (2 * cos.shape[1]), -1)
    at = at.reshape(-1)[0] + jnp.arange(x.shape[1])[None] if at.size == 1 else at
    cos, sin = (constant(c)[at][:, :, None] for c in (cos, sin))
    y = rotated(x, cos, sin, bool(call.get("interleaved", 0)), call.get("scale", 1.0))
    return jnp.moveaxis(y, 1, 2) if len(shape) == 4 else y.reshape(shape)


@OPERATORS.on("EmbedLayerNormalization", domain=_HERE)
def _embedded(call: Call, words: Any, segments: Any, *more: Any) -> Any:
    """Words, places and segments by their tables, summed and normalised; then how long each text is."""
    table, places, parts, scale, shift, mask, at = call.filled(more, 7)
    words = constant(words)
    where = jnp.arange(words.shape[1])[None] if at is None else constant(at)
    total = constant(table)[words] + constant(places)[where]
    total = total if segments is None else total + constant(parts)[constant(segments)]
    told = call.with_attributes(axis=-1, epsilon=call.get("epsilon", 1e-12))
    y, _, _ = layer_norm(told, total, scale, shift)
    lengths = jnp.zeros(words.shape[0], jnp.int32) if mask is None else constant(mask).sum(1).astype(jnp.int32)
    return y, lengths.astype(canonical(np.int32)), total


@OPERATORS.on("GroupQueryAttention", domain=_HERE)
def _grouped(call: Call, q: Any, k: Any, v: Any, *more: Any) -> Any:
    """Causal, with a memory that begins where each text has come to; heads of queries share keys and values."""
    past_k, past_v, lengths, _, cos, sin, *others = call.filled(more, 6)
    if any(x is not None for x in others) or k is None:
        fix = "write it with queries, keys and values apart, a memory, lengths and tables of angles alone"
        raise call.refusal("the nine plain inputs", "packed queries, positions, a bias or sinks", fix)
    few = call["kv_num_heads"]
    q, k, v = (_heads(constant(x), n) for x, n in ((q, call["num_heads"]), (k, few), (v, few)))
    steps = q.shape[2]
    start = constant(lengths).reshape(-1).astype(jnp.int32) + 1 - steps
    at = start[:, None] + jnp.arange(steps)[None]
    if call.get("do_rotary", 0):
        q, k = (_turned(call, x, constant(cos), constant(sin), at) for x in (q, k))
    k, v = (_remembered(past, x, at) for past, x in ((past_k, k), (past_v, v)))
    return _joined(_shared(call, q, k, v, at)), k, v


def _turned(call: Call, x: Any, cos: Any, sin: Any, at: Any) -> Any:
    cos, sin = (c[jnp.maximum(at, 0)][:, None] for c in (cos, sin))
    return rotated(x, cos, sin, bool(call.get("rotary_interleaved", 0)))


def _remembered(past: Any, x: Any, at: Any) -> Any:
    """New steps behind what is there, each text's where it has come to."""
    empty = jnp.zeros_like(x)
    whole = empty if past is None else jnp.concatenate([constant(past), empty], 2)
    return jax.vmap(lambda memory, new, i: memory.at[:, i].set(new))(whole, x, at)


def _shared(call: Call, q: Any, k: Any, v: Any, at: Any) -> Any:
    """Attention of each query to what stands at its place and before."""
    k, v = (jnp.repeat(x, q.shape[1] // x.shape[1], 1) for x in (k, v))
    scale, cap = call.get("scale", 0.0) or 1 / np.sqrt(q.shape[-1]), call.get("softcap", 0.0)
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * np.asarray(scale, q.dtype)
    scores = cap * jnp.tanh(scores / cap) if cap else scores
    columns, rows, window = jnp.arange(k.shape[2]), at[:, :, None], call.get("local_window_size", -1)
    seen = (columns <= rows) if window < 0 else (columns <= rows) & (columns > rows - window)
    return jnp.einsum("bhqk,bhkd->bhqd", masked_softmax(jnp.where(seen[:, None], scores, -jnp.inf)), v)
