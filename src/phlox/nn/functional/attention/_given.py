"""What is given to attention beside queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from phlox.core import ShapeError, describe
from phlox.nn.functional._numeric import real
from phlox.nn.functional.attention._checks import check_lengths, four_axes


class Options(NamedTuple):
    """What is the same for all queries and known before anything runs."""

    causal: bool
    window: tuple[int | None, int | None]  # keys seen to the left and to the right; None is all
    scale: float
    soft_cap: float | None
    dropout: float


class Given(NamedTuple):
    """The arrays that restrict or move scores; masks and biases (batch or 1, heads or 1, queries or 1, keys or 1)."""

    mask: Array | None
    bias: Array | None
    moving_bias: Callable[[Array, Array], Array] | None
    lengths: Array | None
    kv_lengths: Array | None
    offset: Array
    key: Array | None


def given_of(
    q: Array, k: Array, mask: Any, bias: Any, lengths: Any, kv_lengths: Any, offset: Any, key: Array | None
) -> Given:
    """The arrays as they were given, checked, masks and biases with all four axes."""
    where, (batch, rows, heads, _), keys = "dot_product_attention", q.shape, k.shape[1]
    full = (batch, heads, rows, keys)
    mask = None if mask is None else four_axes(where, "mask", mask, full)
    moving: Any = bias if callable(bias) else None
    bias = None if bias is None or moving is not None else four_axes(where, "bias", bias, full)
    if mask is not None and mask.dtype != jnp.bool_:  # an additive one
        bias, mask = mask if bias is None else bias + real(mask, where), None
    offset = jnp.asarray(offset)
    if offset.shape not in ((), (batch,)) or not jnp.issubdtype(offset.dtype, jnp.integer):
        fix = "give one position, or one for each example"
        raise ShapeError(f"offset () or ({batch},), integers", got=describe(offset), fix=fix, where=where)
    lengths = check_lengths(where, "lengths", lengths, batch, rows)
    kv_lengths = check_lengths(where, "kv_lengths", kv_lengths, batch, keys)
    return Given(mask, None if bias is None else real(bias, where), moving, lengths, kv_lengths, offset, key)
