"""One token from scores, by the settings; and what is known of each text so far."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, State, jit
from phlox.models.generation._settings import Settings
from phlox.models.generation._stepping import after
from phlox.nn import functional as F


class Progress(Module):
    """What is known of texts while they are written.

    Shapes:
        scores: (batch, vocabulary), of the next token; tokens: (batch, length), prompts and what follows them;
        lengths: (batch,), how many there are; recent: (batch, window), the last new ones, -1 before there are any;
        done: (batch,); log_probs: (batch,), of what was written; keys: (batch,), where draws come from.
    """

    scores: State
    tokens: State
    lengths: State
    recent: State
    done: State
    log_probs: State
    keys: State | None

    def __init__(self, scores: jax.Array, tokens: jax.Array, lengths: jax.Array, key: Any, settings: Settings):
        batch = lengths.shape[0]
        self.scores, self.tokens, self.lengths = scores, tokens, lengths
        self.recent = jnp.full((batch, settings.window), -1, jnp.int32)
        self.done = jnp.zeros(batch, bool)
        self.log_probs = jnp.zeros(batch, jnp.float32)
        self.keys = None if settings.greedy else jax.random.split(key, batch)


def adjusted(scores: jax.Array, tokens: jax.Array, lengths: jax.Array, settings: Settings) -> jax.Array:
    """Scores (batch, vocabulary) in float32 as the settings change them: penalty, the user's function, then cuts."""
    scores = scores.astype(jnp.float32)
    if settings.repetition_penalty != 1:
        scores = _penalised(scores, tokens, lengths, settings.repetition_penalty)
    if settings.adjust is not None:
        scores = settings.adjust(scores, tokens, lengths)
    if settings.greedy:
        return scores
    scores = scores / settings.temperature
    scores = scores if settings.top_k is None else F.keep_top_k(scores, settings.top_k)
    scores = scores if settings.top_p is None else F.keep_top_p(scores, settings.top_p)
    return scores if settings.min_p is None else F.keep_min_p(scores, settings.min_p)


def _penalised(scores: jax.Array, tokens: jax.Array, lengths: jax.Array, penalty: float) -> jax.Array:
    """Scores of tokens that a text has, divided by the penalty where above 0, else times it."""
    rows, counts = jnp.arange(tokens.shape[0])[:, None], jnp.arange(tokens.shape[1])[None] < lengths[:, None]
    there = jnp.zeros(scores.shape, bool).at[rows, jnp.where(counts, tokens, scores.shape[1])].set(True, mode="drop")
    return jnp.where(there, jnp.where(scores > 0, scores / penalty, scores * penalty), scores)


def drawn(scores: jax.Array, keys: jax.Array) -> jax.Array:
    """A token (batch,) for each row of adjusted scores, by a key for each: a text's draws depend on no other's."""
    return jax.vmap(jax.random.categorical)(keys, scores).astype(jnp.int32)


def chosen(progress: Progress, settings: Settings) -> jax.Array:
    """The next token (batch,) of each text; a text that has ended gets what pads."""
    scores = adjusted(progress.scores, progress.tokens, progress.lengths, settings)
    if progress.keys is None:
        found = jnp.argmax(scores, axis=-1).astype(jnp.int32)
    else:
        keys = jax.vmap(jax.random.split)(progress.keys)
        progress.keys, found = keys[:, 0], drawn(scores, keys[:, 1])
    return jnp.where(progress.done, settings.pad, found)


def written(progress: Progress, token: jax.Array, settings: Settings) -> None:
    """Add the next token (batch,) to each text that has not ended, and see whether it ends now."""
    going, rows = ~progress.done, jnp.arange(token.shape[0])
    said = jax.nn.log_softmax(progress.scores.astype(jnp.float32), axis=-1)[rows, token]
    progress.log_probs = progress.log_probs + jnp.where(going, said, 0)
    place = jnp.where(going, progress.lengths, progress.tokens.shape[1])
    progress.tokens = progress.tokens.at[rows, place].set(token, mode="drop")
    progress.lengths = progress.lengths + going
    moved = jnp.concatenate([progress.recent[:, 1:], token[:, None]], axis=1)
    progress.recent = jnp.where(going[:, None], moved, progress.recent)
    progress.done = progress.done | ended(progress.recent, settings.stops)


def ended(recent: jax.Array, stops: tuple[tuple[int, ...], ...]) -> jax.Array:
    """Whether the last tokens (batch, window) of a text are one of its ends, (batch,)."""
    found = jnp.zeros(recent.shape[0], bool)
    for stop in stops:
        found = found | (recent[:, recent.shape[1] - len(stop) :] == jnp.array(stop)).all(axis=1)
    return found


@jit(static_argnames="settings")
def choose(progress: Progress, settings: Settings) -> jax.Array:
    """Write the next token (batch,) of each text, and return it."""
    token = chosen(progress, settings)
    written(progress, token, settings)
    return token


@jit(static_argnames="settings")
def step(model: Any, cache: Any, progress: Progress, settings: Settings) -> jax.Array:
    """As ``choose``, and compute the scores of what follows."""
    token = chosen(progress, settings)
    written(progress, token, settings)
    progress.scores = after(model, cache, token).astype(progress.scores.dtype)
    return token
