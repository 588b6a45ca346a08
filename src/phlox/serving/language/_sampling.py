"""One token for each of several texts, each by rules of its own, in one compiled step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.nn import functional as F

BEST = 20
"""How many of the likeliest tokens can be told."""


class Rules(NamedTuple):
    """How each text's token is chosen, (batch,) each.

    ``top_k`` 0, ``top_p`` 1, ``min_p`` 0 and ``repetition`` 1 change nothing; ``adjusts`` and ``tells`` say for whom
    scores are adjusted, and log-probabilities wanted.
    """

    temperature: Any
    top_k: Any
    top_p: Any
    min_p: Any
    repetition: Any
    adjusts: Any
    tells: Any


NOTHING = Rules(*(np.array(x) for x in (np.float32(0), np.int32(0), np.float32(1), np.float32(0), np.float32(1), 0, 0)))


class Sampled(NamedTuple):
    """Tokens (batch,), their log-probabilities, the likeliest (batch, 20) and theirs, and keys of the next draws."""

    tokens: Any
    logprobs: Any
    best: Any
    best_logprobs: Any
    keys: Any


@jax.jit
def sample(scores: jax.Array, rules: Rules, keys: jax.Array, added: jax.Array, seen: jax.Array) -> Sampled:
    """The next token of each text. What no text asks for is not computed.

    Shapes:
        scores: (batch, vocabulary); keys: (batch, 2), data of random keys; added: (batch, vocabulary), to scores;
        seen: the same, whether a text has a token.
    """
    raw = scores.astype(jnp.float32)
    adjusted = jax.lax.cond(jnp.any(rules.adjusts > 0), lambda: _adjusted(raw, rules, added, seen), lambda: raw)
    drawing = rules.temperature > 0
    likeliest = lambda: (_likeliest(adjusted), keys)  # noqa: E731
    tokens, following = jax.lax.cond(jnp.any(drawing), lambda: _drawn(adjusted, rules, keys), likeliest)
    chosen, best, logprobs = jax.lax.cond(jnp.any(rules.tells > 0), lambda: _told(raw, tokens), lambda: _untold(raw))
    return Sampled(tokens, chosen, best, logprobs, following)


def _adjusted(scores: jax.Array, rules: Rules, added: jax.Array, seen: jax.Array) -> jax.Array:
    penalty = rules.repetition[:, None]
    scores = jnp.where(seen, jnp.where(scores > 0, scores / penalty, scores * penalty), scores)
    return scores + added


def _likeliest(scores: jax.Array) -> jax.Array:
    """``argmax`` of each row, in two passes: XLA's search for both at once takes a CPU twice as long."""
    best = (scores == scores.max(axis=-1, keepdims=True)) | jnp.isnan(scores)
    return jnp.where(best, jnp.arange(scores.shape[-1], dtype=jnp.int32), scores.shape[-1]).min(axis=-1)


def _drawn(scores: jax.Array, rules: Rules, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens that are drawn, by a key for each text, and the likeliest where there is no temperature."""
    drawing = rules.temperature > 0
    hot = scores / jnp.where(drawing, rules.temperature, 1)[:, None]
    cuts = drawing & ((rules.top_k > 0) | (rules.top_p < 1))
    hot = jax.lax.cond(jnp.any(cuts), lambda: _cut(hot, rules), lambda: hot)
    hot = jnp.where(rules.min_p[:, None] > 0, F.keep_min_p(hot, rules.min_p[:, None]), hot)
    pairs = jax.vmap(jax.random.split)(jax.random.wrap_key_data(keys, impl="threefry2x32"))
    found = jax.vmap(jax.random.categorical)(pairs[:, 1], hot)
    tokens = jnp.where(drawing, found.astype(jnp.int32), _likeliest(scores))
    return tokens, jnp.where(drawing[:, None], jax.random.key_data(pairs[:, 0]), keys)


def _cut(scores: jax.Array, rules: Rules) -> jax.Array:
    """What ``F.keep_top_k`` and then ``F.keep_top_p`` keep, with numbers for each text, after one sort."""
    rising = jnp.sort(scores, axis=-1)
    vocabulary = scores.shape[-1]
    place = vocabulary - jnp.clip(rules.top_k, 1, vocabulary)
    least = jnp.where(rules.top_k > 0, jnp.take_along_axis(rising, place[:, None], -1)[:, 0], -jnp.inf)[:, None]
    rising = jnp.where(rising >= least, rising, -jnp.inf)
    share = jnp.cumsum(jax.nn.softmax(rising, axis=-1), axis=-1)
    stays = (share > 1 - rules.top_p[:, None]) | (rules.top_p[:, None] == 1)
    stays = stays.at[:, -1].set(True)
    count = stays.sum(-1, keepdims=True)
    edge = jnp.take_along_axis(rising, vocabulary - count, -1)
    above, equal = scores > edge, scores == edge
    rank = jnp.cumsum(equal[:, ::-1], axis=-1)[:, ::-1]  # among equal ones those of higher index stay
    kept = above | (equal & (rank <= count - above.sum(-1, keepdims=True)))
    return jnp.where((scores >= least) & kept, scores, -jnp.inf)


def _told(raw: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    said = jax.nn.log_softmax(raw, axis=-1)
    count = min(BEST, raw.shape[-1])
    logprobs, best = jax.lax.top_k(said, count)
    wide = ((0, 0), (0, BEST - count))
    chosen = jnp.take_along_axis(said, tokens[:, None], -1)[:, 0]
    return chosen, jnp.pad(best, wide, constant_values=-1), jnp.pad(logprobs, wide, constant_values=-jnp.inf)


def _untold(raw: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    batch = raw.shape[0]
    return jnp.zeros(batch), jnp.full((batch, BEST), -1, jnp.int32), jnp.full((batch, BEST), -jnp.inf)
