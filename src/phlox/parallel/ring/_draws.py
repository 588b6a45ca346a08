"""Dropout's draws for some queries and some keys: those that all queries and keys would get on one device."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_WORDS = 1 << 32  # draws of one key that 32 bits can count


class Corner(NamedTuple):
    """Where a tile of scores stands."""

    query: Array  # () position of its first query in the sequence
    row: Array  # () the same, counted on this device
    key: Array  # () position of its first key


def kept(key: Array, p: float, at: Corner, tile: tuple[int, int], shape: tuple[int, int, int]) -> Array:
    """Which weights stay, (batch, heads, queries, keys): each with probability ``p``.

    On one device the draws of query i are ``bernoulli(fold_in(key, i), p, (batch, heads, keys))``. Of those only
    the tile's are made here, where the generator counts its draws; else all keys' are, and the tile is cut out.

    Arguments:
        tile: queries and keys.
        shape: batch, heads, and keys of the whole sequence.
    """
    rows = jax.vmap(jax.random.fold_in, (None, 0))(key, at.query + jnp.arange(tile[0]))
    if not _counts(key) or math.prod(shape) >= _WORDS:
        every = jax.vmap(lambda k: jax.random.bernoulli(k, p, shape), out_axes=2)(rows)
        return jax.lax.dynamic_slice_in_dim(every, at.key, tile[1], 3)
    batch, heads, keys = shape
    which = at.key.astype(jnp.uint32) + jnp.arange(tile[1], dtype=jnp.uint32)
    places = keys * jnp.arange(batch * heads, dtype=jnp.uint32).reshape(batch, heads, 1) + which
    return jax.vmap(lambda k: _uniform(k, places), out_axes=2)(rows) < p


def _counts(key: Array) -> bool:
    """Whether draw number i of a key depends on the key and on i alone."""
    return str(jax.random.key_impl(key)) == "threefry2x32" and bool(jax.config.jax_threefry_partitionable)  # pyright: ignore[reportAttributeAccessIssue]


def _uniform(key: Array, places: Array) -> Array:
    """The numbers at these places among those that ``jax.random.uniform(key, …)`` makes.

    Threefry's draw number i is the cipher of i, which is also what ``fold_in(key, i)`` has as its two words.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places.reshape(-1))
    high, low = jnp.moveaxis(jax.random.key_data(keys), -1, 0)
    dtype = np.dtype(jnp.result_type(float))
    wide = lambda x: x.astype(jnp.uint64)  # noqa: E731
    bits = (wide(high) << np.uint64(32)) | wide(low) if dtype.itemsize == 8 else high ^ low
    mantissa = bits >> np.asarray(dtype.itemsize * 8 - jnp.finfo(dtype).nmant, bits.dtype)
    one = np.ones((), dtype).view(bits.dtype)
    numbers = jax.lax.bitcast_convert_type(mantissa | one, dtype) - np.ones((), dtype)
    return numbers.reshape(places.shape)
