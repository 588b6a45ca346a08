"""Speculative decoding: a small model guesses several tokens, the large one judges them all at once.

What is kept is distributed as if the large model had drawn it token by token.

Source: Leviathan et al., "Fast inference from transformers via speculative decoding", 2023.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import jit
from phlox.models.generation._choosing import adjusted, drawn
from phlox.models.generation._settings import Settings
from phlox.models.generation._stepping import after
from phlox.nn import KVCache


class Texts:
    """What was written of each text, on the host, as texts grow unevenly.

    ``done`` (batch,) tells which have ended, by a stop or by as many tokens as were asked for.
    """

    def __init__(self, batch: int, most: int, settings: Settings):
        self.tokens: list[list[int]] = [[] for _ in range(batch)]
        self.log_probs = np.zeros(batch)
        self.done = np.zeros(batch, bool)
        self.most, self.settings = most, settings

    def add(self, tokens: np.ndarray, log_probs: np.ndarray, count: np.ndarray) -> None:
        """Add the first ``count + 1`` of tokens (batch, n) to each text, up to its end."""
        for row, text in enumerate(self.tokens):
            for token, said in zip(tokens[row, : count[row] + 1], log_probs[row], strict=False):
                if not self.done[row]:
                    text.append(int(token))
                    self.log_probs[row] += said
                    stopped = any(text[-len(stop) :] == list(stop) for stop in self.settings.stops)
                    self.done[row] = stopped or len(text) == self.most

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens (batch, time), how many there are, (batch,), and the sums of their log-probabilities."""
        lengths = np.array([len(text) for text in self.tokens], np.int32)
        tokens = np.full((len(lengths), lengths.max()), self.settings.pad, np.int32)
        for row, text in zip(tokens, self.tokens, strict=True):
            row[: len(text)] = text
        return tokens, lengths, self.log_probs.astype(np.float32)


@jit(static_argnames="settings")
def first(scores: jax.Array, keys: jax.Array, settings: Settings) -> tuple[jax.Array, jax.Array]:
    """The first token (batch,) behind prompts, and its log-probability."""
    token = _pick(_adjusted(scores, settings), keys, settings)
    return token, _said(scores[:, None], token[:, None])[:, 0]


def guessed(
    draft: Any, cache: Any, token: jax.Array, keys: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """What a small model thinks follows a token (batch,): tokens (batch, n), and the scores they were drawn by.

    One more is guessed and forgotten, so that its cache holds the last guess too.
    """
    tokens, hopes = [], []
    for key in keys:
        token, scores = _guess(draft, cache, token, key, settings)
        tokens.append(token)
        hopes.append(scores)
    return jnp.stack(tokens[:-1], axis=1), jnp.stack(hopes[:-1], axis=1)


@jit(static_argnames="settings")
def _guess(
    draft: Any, cache: Any, token: jax.Array, keys: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    scores = _adjusted(after(draft, cache, token), settings)
    return _pick(scores, keys, settings), scores


@jit(static_argnames="settings")
def judge(
    model: Any, cache: Any, token: jax.Array, guesses: jax.Array, hopes: jax.Array, keys: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """How many guesses stand, (batch,), the token that follows them, and log-probabilities of both (batch, n + 1).

    Shapes:
        token: (batch,), the last one that stands; guesses: (batch, n); hopes: (batch, n, vocabulary), the scores that
        they were drawn by; keys: (batch,).
    """
    raw = model.scores(model.features(jnp.concatenate([token[:, None], guesses], axis=1), cache=cache))
    scores = _adjusted(raw, settings)
    keys, own = _apart(keys)
    stands = _standing(scores[:, :-1], hopes, guesses, own, settings)
    count = jnp.cumprod(stands, axis=1).sum(axis=1)
    following = _pick(_rest(scores, hopes, count, settings), keys, settings)
    place = jnp.arange(guesses.shape[1] + 1) == count[:, None]
    tokens = jnp.where(place, following[:, None], jnp.pad(guesses, ((0, 0), (0, 1))))
    return count, following, _said(raw, tokens)


def _standing(
    scores: jax.Array, hopes: jax.Array, guesses: jax.Array, keys: jax.Array, settings: Settings
) -> jax.Array:
    """Which guesses (batch, n) the large model lets stand: as often as it gives them more than the small one did."""
    if settings.greedy:
        return jnp.argmax(scores, axis=-1) == guesses
    right, hoped = _chances(scores, guesses), _chances(hopes, guesses)
    return jax.vmap(lambda key: jax.random.uniform(key, guesses.shape[1:]))(keys) * hoped < right


def _rest(scores: jax.Array, hopes: jax.Array, count: jax.Array, settings: Settings) -> jax.Array:
    """Scores that the next token is drawn by: where a guess fell, what the large model gives beyond the small one."""
    place = count[:, None, None]
    best = jnp.take_along_axis(scores, place, 1)[:, 0]
    if settings.greedy:
        return best
    given = jnp.pad(jax.nn.softmax(hopes, axis=-1), ((0, 0), (0, 1), (0, 0)))  # after the last guess nothing was given
    beyond = jax.nn.softmax(best, axis=-1) - jnp.take_along_axis(given, place, 1)[:, 0]
    return jnp.log(jnp.maximum(beyond, 0))


def _chances(scores: jax.Array, tokens: jax.Array) -> jax.Array:
    return jnp.take_along_axis(jax.nn.softmax(scores, axis=-1), tokens[..., None], 2)[..., 0]


def _said(scores: jax.Array, tokens: jax.Array) -> jax.Array:
    """Log-probabilities (batch, n) of tokens by scores (batch, n, vocabulary)."""
    said = jax.nn.log_softmax(scores.astype(jnp.float32), axis=-1)
    return jnp.take_along_axis(said, tokens[..., None], 2)[..., 0]


@jit
def forget(cache: list[KVCache], lengths: jax.Array) -> None:
    """Let a cache hold the first tokens (batch,) alone, and what stands before all texts."""
    for held in cache:
        held.position = held.first + lengths


def _adjusted(scores: jax.Array, settings: Settings) -> jax.Array:
    """Adjusted scores (..., vocabulary), by what needs no text."""
    flat = scores.reshape(-1, scores.shape[-1])
    none = jnp.zeros((flat.shape[0], 0), jnp.int32)
    return adjusted(flat, none, jnp.zeros(flat.shape[0], jnp.int32), settings).reshape(scores.shape)


def _pick(scores: jax.Array, keys: jax.Array, settings: Settings) -> jax.Array:
    return jnp.argmax(scores, axis=-1).astype(jnp.int32) if settings.greedy else drawn(scores, keys)


def _apart(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    pairs = jax.vmap(jax.random.split)(keys)
    return pairs[:, 0], pairs[:, 1]
