"""The compiled program of attention in a ring, with all of XLA's passes: what is sent, and what is held."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import phlox as px
from parallel.checks_program import moves
from phlox.core import ways
from phlox.nn import functional as F

STRATEGY = px.parallel.context_parallel(4) * px.parallel.data_parallel(2)


def _compiled(time: int, **options: Any) -> Any:
    placement = px.parallel.Placement.of(STRATEGY)

    def loss(q: Any, k: Any, v: Any) -> Any:
        with ways(STRATEGY.ways(placement.mesh)):
            return jnp.sum(F.dot_product_attention(q, k, v, **options) ** 2)

    x = jax.ShapeDtypeStruct((2, time, 2, 16), jnp.float32, sharding=placement.spread(jnp.ones((2, 8))).sharding)
    return jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()


def check_keys_go_round_and_nothing_is_gathered() -> None:
    found = moves(_compiled(64, causal=True).as_text())
    kinds = {name for name, _ in found}
    assert kinds == {"collective-permute"}, kinds
    largest = max(n for _, shapes in found for shape in shapes for n in shape)
    assert largest <= 64, found


def check_memory_is_linear_in_a_device_s_part() -> None:
    """Twice the time takes twice the room; a device's part is a quarter of what one device would hold."""
    short, long = (_compiled(time, chunk=256).memory_analysis() for time in (4096, 8192))
    assert long.temp_size_in_bytes < 2.2 * short.temp_size_in_bytes, (short, long)
    part = 8192 // 4 * 2 * 16 * 4  # bytes of a device's queries
    assert long.temp_size_in_bytes < 30 * part + 4 * 2 * 256 * 2048 * 4 * 2, (long.temp_size_in_bytes, part)
