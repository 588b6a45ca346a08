"""Layers of the registry in float64, and a scalar of what they give that sees every element."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from registry import Case, built


def wide(x: Any) -> Any:
    """Floats in float64, complex numbers in complex128; anything else as it is."""
    kind = jnp.asarray(x).dtype if not hasattr(x, "dtype") else x.dtype
    if jax.dtypes.issubdtype(kind, jax.dtypes.prng_key):
        return x
    return jnp.asarray(x, {"f": jnp.float64, "c": jnp.complex128}.get(np.dtype(kind).kind, kind))


def in_float64(case: Case) -> tuple[px.Module, list[Any], tuple[int, ...]]:
    """The layer, its inputs, and which arguments of ``weighted_loss`` are differentiated: it and inputs of floats."""
    model = built(case)
    model = px.merge(model, *[{k: wide(v) for k, v in part.items()} for part in px.split(model)])
    which = (0, *[1 + i for i, x in enumerate(case.inputs) if x.dtype == np.float32])
    return model, [wide(x) for x in case.inputs], which


def weighted_loss(model: px.Module, *xs: Any) -> jax.Array:
    """The sum of every element of every output, each with a weight of its own."""
    total = jnp.zeros(())
    for i, leaf in enumerate(jax.tree.leaves(model(*xs))):
        w = np.random.default_rng(50 + i).normal(size=leaf.shape)
        total = total + jnp.sum(jnp.real(leaf) * w)
    return total
