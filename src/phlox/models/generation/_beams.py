"""Beam search: the texts of the highest probability that a few at a time can find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, State, jit
from phlox.models.generation._choosing import adjusted, ended
from phlox.models.generation._settings import Settings
from phlox.models.generation._stepping import after, picked

_NEVER = -1e9  # of a beam that is none: added to, it stays the least


@dataclass(frozen=True)
class Rule:
    """How texts of unequal length are compared, and whether a search ends with the first that end."""

    length_penalty: float = 1.0
    early: bool = False


class Beams(Module):
    """Texts that are written side by side, the best of each first, and those that have ended.

    Shapes:
        tokens: (batch, beams, length), prompts and what follows; lengths: (batch, beams); totals: (batch, beams), of
        log-probabilities; recent: (batch, beams, window); ended: tokens of those that have ended, in the same shape;
        ranks: (batch, beams), by which these are ordered; ends: (batch, beams), their lengths; found: (batch, beams),
        whether there is one; open: (batch,), whether a better one can come; count: (), new tokens of a beam; done: ().
    """

    tokens: State
    lengths: State
    totals: State
    recent: State
    ended: State
    ranks: State
    ends: State
    found: State
    open: State
    count: State
    done: State

    def __init__(self, tokens: jax.Array, lengths: jax.Array, beams: int, settings: Settings):
        batch = tokens.shape[0]
        self.tokens = jnp.repeat(tokens[:, None], beams, axis=1)
        self.lengths = jnp.repeat(lengths[:, None], beams, axis=1)
        self.totals = jnp.full((batch, beams), _NEVER).at[:, 0].set(0)  # equal beams would all find the same
        self.recent = jnp.full((batch, beams, settings.window), -1, jnp.int32)
        self.ended, self.ends = jnp.copy(self.tokens), jnp.copy(self.lengths)
        self.ranks, self.found = jnp.full((batch, beams), _NEVER), jnp.zeros((batch, beams), bool)
        self.open, self.done = jnp.ones(batch, bool), jnp.zeros((), bool)
        self.count = jnp.zeros((), jnp.int32)


def _at(array: jax.Array, index: jax.Array) -> jax.Array:
    """Rows (batch, k, ...) of an array (batch, n, ...) at an index (batch, k)."""
    return jnp.take_along_axis(array, index.reshape(*index.shape, *(1,) * (array.ndim - 2)), axis=1)


def _extended(beams: Beams, scores: jax.Array, settings: Settings, rule: Rule, last: jax.Array) -> jax.Array:
    """Write one more token of every beam; which beam each goes on from, (batch, beams)."""
    batch, count, length = beams.tokens.shape
    said = jax.nn.log_softmax(scores.astype(jnp.float32), axis=-1)
    said = adjusted(said, beams.tokens.reshape(-1, length), beams.lengths.reshape(-1), settings)
    vocabulary = said.shape[-1]
    totals = (beams.totals[..., None] + said.reshape(batch, count, vocabulary)).reshape(batch, -1)
    ways = max(2, 1 + len(settings.stops)) * count  # so many that as many beams as before go on, whatever ends
    totals, which = jax.lax.top_k(totals, min(ways, totals.shape[1]))
    parent, token = which // vocabulary, (which % vocabulary).astype(jnp.int32)
    tokens, lengths, recent = _at(beams.tokens, parent), _at(beams.lengths, parent), _at(beams.recent, parent)
    tokens = jnp.where(jnp.arange(length) == lengths[..., None], token[..., None], tokens)
    recent = jnp.concatenate([recent[..., 1:], token[..., None]], axis=2)
    stops = ended(recent.reshape(-1, recent.shape[2]), settings.stops).reshape(token.shape) | last
    beams.count = beams.count + 1
    _collect(beams, tokens, lengths + 1, totals, stops, rule)
    beams.totals, on = jax.lax.top_k(totals + stops * _NEVER, count)
    beams.tokens, beams.lengths, beams.recent = _at(tokens, on), _at(lengths + 1, on), _at(recent, on)
    _look_ahead(beams, rule)
    beams.done = ~beams.open.any() | stops.all() | (beams.found.all() & rule.early)
    return _at(parent, on)


def _collect(
    beams: Beams, tokens: jax.Array, lengths: jax.Array, totals: jax.Array, stops: jax.Array, rule: Rule
) -> None:
    """Keep the best of the texts that ended before and that end now; of the latter the likeliest count alone."""
    count = beams.ranks.shape[1]
    now = stops & (jnp.arange(stops.shape[1]) < count) & beams.open[:, None]
    now = now & ~(beams.found.all(axis=1, keepdims=True) & rule.early)
    ranks = jnp.where(now, totals / beams.count.astype(jnp.float32) ** rule.length_penalty, _NEVER)
    beams.ranks, best = jax.lax.top_k(jnp.concatenate([beams.ranks, ranks], axis=1), count)
    beams.ended = _at(jnp.concatenate([beams.ended, tokens], axis=1), best)
    beams.ends = _at(jnp.concatenate([beams.ends, lengths], axis=1), best)
    beams.found = _at(jnp.concatenate([beams.found, now], axis=1), best)


def _look_ahead(beams: Beams, rule: Rule) -> None:
    """A search stays open while its best beam, were it to end now, would beat the worst text that has ended."""
    hoped = beams.totals[:, :1] / beams.count.astype(jnp.float32) ** rule.length_penalty
    worst = jnp.where(beams.found, beams.ranks.min(axis=1, keepdims=True), _NEVER)
    beams.open = beams.open & (hoped > worst).any(axis=1)


@jit(static_argnames="count")
def spread(cache: Any, scores: jax.Array, count: int) -> tuple[Any, jax.Array]:
    """A cache and scores of prompts, several times each, for their beams."""
    rows = jnp.repeat(jnp.arange(scores.shape[0]), count)
    return picked(cache, rows), scores[rows]


@jit(static_argnames=("settings", "rule"))
def extend(
    model: Any, cache: Any, beams: Beams, scores: jax.Array, last: jax.Array, settings: Settings, rule: Rule
) -> tuple[Any, jax.Array]:
    """Write one more token of every beam; the cache in the order of the beams that go on, and their next scores."""
    parent = _extended(beams, scores, settings, rule, last)
    batch, count = parent.shape
    rows = (jnp.arange(batch)[:, None] * count + parent).reshape(-1)
    token = jnp.take_along_axis(beams.tokens, beams.lengths[..., None] - 1, axis=2).reshape(-1)
    kept = picked(cache, rows)
    return kept, after(model, kept, token)
