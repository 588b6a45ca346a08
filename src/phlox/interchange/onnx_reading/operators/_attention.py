"""Attention and what stands around it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, wide
from phlox.interchange.onnx_reading.operators._table import OPERATORS


@OPERATORS.on("Attention", since=23)
def _attention(call: Call, q: Any, k: Any, v: Any, *more: Any) -> Any:
    """``softmax(scale q k + mask) v``, heads as an axis or side by side in the last one."""
    mask, past_k, past_v, lengths = call.filled(more, 4)
    flat = q.ndim == 3
    q, k, v = (_heads(call, constant(x), n) for x, n in ((q, "q_num_heads"), (k, "kv_num_heads"), (v, "kv_num_heads")))
    before = 0 if past_k is None else past_k.shape[2]
    if past_k is not None and past_v is not None:
        k, v = jnp.concatenate([past_k, k], 2), jnp.concatenate([past_v, v], 2)
    scores, stages = _scores(call, q, k)
    allowed = _allowed(call, q, k, before, lengths)
    scores = _masked(scores, mask, allowed)
    stages.append(scores)
    weights = masked_softmax(scores)
    stages.append(weights)
    y = _mixed(weights, v).astype(q.dtype)
    y = jnp.moveaxis(y, 1, 2).reshape(y.shape[0], y.shape[2], -1) if flat else y
    return y, k, v, stages[call.get("qk_matmul_output_mode", 0)].astype(q.dtype)


def _heads(call: Call, x: Any, name: str) -> Any:
    if x.ndim == 4:
        return x
    count = call[name]
    return jnp.moveaxis(x.reshape(*x.shape[:2], count, x.shape[2] // count), 2, 1)


def _scores(call: Call, q: Any, k: Any) -> tuple[Any, list[Any]]:
    """Scaled products, bounded where the node says so; and what each stage gave."""
    scale = call.get("scale", 0.0) or 1 / np.sqrt(q.shape[-1])
    root = np.asarray(np.sqrt(scale), q.dtype)
    k = jnp.repeat(k, q.shape[1] // k.shape[1], 1)
    plain = jnp.einsum("bhqd,bhkd->bhqk", q * root, k * root)
    cap = call.get("softcap", 0.0)
    soft = np.asarray(cap, q.dtype) * jnp.tanh(plain / np.asarray(cap, q.dtype)) if cap else plain
    return soft, [plain, soft]


def _allowed(call: Call, q: Any, k: Any, before: int, lengths: Any) -> Any:
    """Which keys each query sees by its place, or None where it sees all; bottom right of what is there."""
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    rows, columns = jnp.arange(q.shape[2])[:, None], jnp.arange(k.shape[2])[None]
    shift = before if lengths is None else (constant(lengths) - q.shape[2])[:, None, None, None]
    found = None if lengths is None else columns < constant(lengths)[:, None, None, None]
    if call.get("is_causal", 0):
        found = _both(found, columns <= rows + shift)
    if left >= 0:
        found = _both(found, columns >= rows + shift - left)
    return _both(found, columns <= rows + shift + right) if right >= 0 else found


def _both(a: Any, b: Any) -> Any:
    return b if a is None else a & b


def _masked(scores: Any, mask: Any, allowed: Any) -> Any:
    if mask is not None:
        mask = _filled(constant(mask), scores.shape[-1])
        if mask.dtype == bool:
            allowed = _both(allowed, mask)
        else:
            scores = scores + mask
    return scores if allowed is None else jnp.where(allowed, scores, -jnp.inf)


def _filled(mask: Any, length: int) -> Any:
    """A mask for fewer keys than there are hides the others."""
    widths = [(0, 0)] * (mask.ndim - 1) + [(0, length - mask.shape[-1])]
    return jnp.pad(mask, widths, constant_values=False if mask.dtype == bool else -np.inf)


def masked_softmax(scores: Any) -> Any:
    """A query that sees nothing gives zeros."""
    wide_scores = wide(scores)
    high = jax.lax.stop_gradient(jnp.max(wide_scores, -1, keepdims=True))
    powers = jnp.exp(wide_scores - jnp.where(jnp.isfinite(high), high, 0))
    total = powers.sum(-1, keepdims=True)
    return (powers / jnp.where(total == 0, 1, total)).astype(scores.dtype)


def _mixed(weights: Any, v: Any) -> Any:
    return jnp.einsum("bhqk,bhkd->bhqd", weights, jnp.repeat(v, weights.shape[1] // v.shape[1], 1))


@OPERATORS.on("RotaryEmbedding", since=23)
def _rotary(call: Call, x: Any, cos: Any, sin: Any, positions: Any = None) -> Any:
    """Pairs of features turned by the angles of their place."""
    shape = x.shape
    x = jnp.moveaxis(constant(x), 1, 2) if x.ndim == 4 else constant(x)
    x = x.reshape(*x.shape[:2], call.get("num_heads", 0) or shape[1], -1) if len(shape) == 3 else x
    width = call.get("rotary_embedding_dim", 0) or x.shape[-1]
    cos, sin = (_angles(c, positions, width // 2) for c in (cos, sin))
    y = rotated(x, cos, sin, bool(call.get("interleaved", 0)))
    return jnp.moveaxis(y, 1, 2) if len(shape) == 4 else y.reshape(shape)


def _angles(cache: Any, positions: Any, width: int) -> Any:
    cache = constant(cache) if positions is None else constant(cache)[constant(positions)]
    return cache[:, :, None, :width]


def rotated(x: Any, cos: Any, sin: Any, interleaved: bool, scale: float = 1.0) -> Any:
    """The first features, as many as there are angles for twice, turned in pairs; the others as they are."""
    width = 2 * cos.shape[-1]
    turned = _turned(x[..., :width] * np.asarray(scale, x.dtype), cos, sin, interleaved)
    return jnp.concatenate([turned, x[..., width:]], -1)


def _turned(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return jnp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


@OPERATORS.on("LinearAttention", since=27)
def _linear_attention(call: Call, q: Any, k: Any, v: Any, *more: Any) -> Any:
    """A state of keys by values, moved at each step, and read by the query."""
    state, decay, beta = call.filled(more, 3)
    heads, shared, dtype = call["q_num_heads"], call["kv_num_heads"], q.dtype
    q, k, v = (wide(_steps(constant(x), n)) for x, n in ((q, heads), (k, shared), (v, shared)))
    scale = np.asarray(call.get("scale", 0.0) or 1 / np.sqrt(q.shape[-1]), q.dtype)
    first = jnp.zeros((*k.shape[1:], v.shape[-1]), dtype) if state is None else constant(state)
    gate = None if decay is None else jnp.exp(_steps(wide(constant(decay)), shared))
    rate = None if beta is None else jnp.swapaxes(wide(constant(beta)), 0, 1)[..., None]
    last, y = jax.lax.scan(_linear_step(call, heads // shared), wide(first), _rows(call, q, k, v, gate, rate))
    y = jnp.swapaxes(y * scale, 0, 1)
    return y.reshape(*y.shape[:2], -1).astype(dtype), last.astype(first.dtype)


def _steps(x: Any, heads: int) -> Any:
    """(batch, time, heads·size) as (time, batch, heads, size)."""
    return jnp.swapaxes(x.reshape(*x.shape[:2], heads, -1), 0, 1)


def _rows(call: Call, q: Any, k: Any, v: Any, gate: Any, rate: Any) -> Any:
    """What each step reads; a gate of one and a rate of one where the rule has none."""
    rule = call.get("update_rule", "gated_delta")
    gate = gate if "gated" in rule else jnp.ones((*k.shape[:3], 1), k.dtype)
    return q, k, v, gate, rate if "delta" in rule else jnp.ones((*k.shape[:3], 1), k.dtype)


def _linear_step(call: Call, shared: int) -> Any:
    """Forgets by the gate; writes the value, or what it differs by from what the state has for the key."""
    delta = "delta" in call.get("update_rule", "gated_delta")

    def step(state: Any, at: Any) -> Any:
        q, k, v, gate, rate = at
        state = state * gate[..., None]
        change = v - jnp.einsum("bhkv,bhk->bhv", state, k) if delta else v
        state = state + k[..., None] * (rate * change)[..., None, :]
        return state, jnp.einsum("bhkv,bhk->bhv", jnp.repeat(state, shared, 1), q)

    return step


@OPERATORS.on("CausalConvWithState", since=27)
def _causal_conv(call: Call, x: Any, w: Any, bias: Any = None, past: Any = None) -> Any:
    """Each channel with its own kernel, of which the last tap is for now."""
    x, w = constant(x), constant(w)
    before = w.shape[-1] - 1
    first = jnp.zeros((*x.shape[:2], before), x.dtype) if past is None else constant(past)
    full = jnp.concatenate([first, x], -1)
    y = jax.lax.conv_general_dilated(full, w, [1], [(0, 0)], feature_group_count=x.shape[1])
    y = y if bias is None else y + bias[:, None]
    y = jax.nn.silu(y) if call.get("activation", "none") in ("silu", "swish") else y
    return y, full[..., full.shape[-1] - before :]
