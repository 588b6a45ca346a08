"""Prefill, decode, and the slots of a cache: the steps of generating, each one compiled program for a shape.

A model has ``features(tokens, lengths=, cache=)``, ``scores(features)`` and ``init_cache(batch, length)``; a cache is
any tree of Modules whose arrays have the batch first.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, jit, paths, write_arrays
from phlox.models.language._model import at_token


@jit
def prefill(model: Any, cache: Any, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Scores (batch, vocabulary) of what follows prompts (batch, time) of ``lengths`` (batch,), kept in the cache."""
    return model.scores(at_token(model.features(tokens, lengths=lengths, cache=cache), lengths - 1))


def after(model: Any, cache: Any, tokens: jax.Array) -> jax.Array:
    """Scores (batch, vocabulary) of what follows one more token (batch,)."""
    return model.scores(model.features(tokens[:, None], cache=cache)[:, 0])


@jit
def decode(model: Any, cache: Any, tokens: jax.Array) -> jax.Array:
    """``after`` as one compiled program: what a server calls for each token of a batch."""
    return after(model, cache, tokens)


@jit
def insert(cache: Any, other: Any, slot: jax.Array) -> None:
    """Put what a cache of one text holds, and its memory, into one slot of a cache of many, whatever was there."""
    for many, one in zip(_parts(cache), _parts(other), strict=True):
        new = paths(one)
        write_arrays(many, {path: array.at[slot].set(new[path][0]) for path, array in paths(many).items()})


def _parts(cache: Any) -> list[Any]:
    return jax.tree.leaves(cache, is_leaf=lambda part: isinstance(part, Module))


def picked(cache: Any, rows: jax.Array) -> Any:
    """A cache whose texts are those at ``rows`` (batch,) of another one; a text may come several times."""
    return jax.tree.map(lambda x: jnp.take(x, rows, axis=0), cache)
