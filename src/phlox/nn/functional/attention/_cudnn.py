"""Attention by cuDNN's kernel on NVIDIA GPUs, and where it cannot serve."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from phlox.nn.functional._numeric import is_concrete, is_half
from phlox.nn.functional.attention._given import Given, Options


def cudnn_refusal(q: Array, k: Array, v: Array, given: Given, options: Options) -> tuple[str, str] | None:
    """What cuDNN would need, and what there is; None where it can serve."""
    if not _ampere():
        return "an NVIDIA GPU of compute capability 8.0 or more", f"the backend {jax.default_backend()!r}"
    if not is_half(q.dtype):
        return "float16 or bfloat16", str(q.dtype)
    if q.shape[3] % 8 or q.shape[3] > 128 or v.shape[3] != q.shape[3]:
        return "heads of one size, a multiple of 8 up to 128", f"{q.shape[3]} and {v.shape[3]}"
    restricted = given.mask is not None or given.bias is not None
    if restricted and (q.shape[1] % 2 or k.shape[1] % 2):
        return "an even number of queries and keys with a mask or bias", f"{q.shape[1]} and {k.shape[1]}"
    if options.soft_cap is not None or options.dropout or given.moving_bias is not None:
        return "no soft cap, no dropout and no bias that is a function", "one of them"
    if not is_concrete(given.offset) or given.offset.ndim or int(given.offset):
        return "offset=0", "another"
    left, right = options.window
    if (left is not None or right is not None) and not options.causal:
        return "causal=True with a window", "causal=False"
    return None


def cudnn_attention(
    q: Array,
    k: Array,
    v: Array,
    given: Given,
    options: Options,
    seen: Array | None,
    implementation: Literal["xla", "cudnn"] = "cudnn",
) -> Array:
    """The result by JAX's call of the kernel; queries that see nothing get zeros, where the kernel averages."""
    left = options.window[0]
    full = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    bias = given.bias
    if bias is not None:  # finite, since the kernel's gradient of -inf everywhere is NaN
        lowest = float(jnp.finfo(q.dtype).min) / 2
        bias = jnp.broadcast_to(jnp.maximum(bias, lowest).astype(q.dtype), full)
    y = jax.nn.dot_product_attention(
        q,
        k,
        v,
        bias=bias,
        mask=None if given.mask is None else jnp.broadcast_to(given.mask, full),
        scale=options.scale,
        is_causal=options.causal,
        query_seq_lengths=given.lengths,
        key_value_seq_lengths=given.kv_lengths,
        local_window_size=None if left is None else (left, 0),
        implementation=implementation,
    )
    if given.bias is not None:
        hidden = jnp.isneginf(given.bias)
        seen = ~hidden if seen is None else seen & ~hidden
    if seen is None:
        return y
    some = jnp.broadcast_to(jnp.any(seen, -1), full[:3])  # (batch, heads, queries)
    return jnp.where(jnp.swapaxes(some, 1, 2)[..., None], y, 0)


def _ampere() -> bool:
    """Whether computations run on an NVIDIA GPU that has the kernel."""
    if jax.default_backend() != "gpu" or getattr(jax.config, "jax_default_device", None) is not None:
        return False
    capability = str(getattr(jax.local_devices()[0], "compute_capability", "0"))
    return capability.replace(".", "").isdigit() and float(capability) >= 8.0
