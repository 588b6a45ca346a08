"""What models of text have in common."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, describe
from phlox.models._model import Model
from phlox.nn import functional as F

_POOLINGS = ("mean", "first", "last", "max")


class TextModel(Model):
    """Tokens to scores: embedded, through blocks, and a head that ``config.task`` names.

    Options of a call, beside the tokens (batch, time), are those of ``hidden_states``.
    """

    config: Any
    head: Any
    """What makes scores of the last features; None for nothing, or where the embedding does it."""

    def hidden_states(self, tokens: jax.Array, *args: Any, **kwargs: Any) -> tuple[jax.Array, ...]:
        """What stands after the embedding and after each block, (batch, time, features) each."""
        raise NotImplementedError

    def features(self, tokens: jax.Array, **options: Any) -> jax.Array:
        """The last features (batch, time, features), as the head sees them."""
        return self.hidden_states(tokens, **options)[-1]

    def encode(
        self, tokens: jax.Array, *, mask: Any = None, pooling: str = "mean", normalise: bool = True, **options: Any
    ) -> jax.Array:
        """A vector (batch, features) for each text: its features pooled over time, of length 1.

        Arguments:
            tokens: (batch, time).
            mask: (batch, time), True where a token counts; all by default.
            pooling: ``"mean"``, ``"first"``, ``"last"`` or ``"max"`` of the tokens that count.
            normalise: whether vectors are divided by their length.
            options: those of ``hidden_states``.

        Raises:
            RangeError: another pooling.
        """
        features = self.features(tokens, mask=mask, **options)
        pooled = pool(features, counted(features, mask), pooling)
        return F.normalize(pooled, axis=-1) if normalise else pooled


def counted(features: jax.Array, mask: Any) -> jax.Array:
    """Which tokens count (batch, time); a mask that says which keys each query sees says nothing of single tokens."""
    if mask is None or jnp.shape(mask) != features.shape[:2]:
        return jnp.ones(features.shape[:2], bool)
    return jnp.asarray(mask).astype(bool)


def pool(features: jax.Array, counts: jax.Array, pooling: str) -> jax.Array:
    """One vector (batch, features) of those (batch, time, features) that count (batch, time)."""
    check_pooling(pooling)
    kept = counts[..., None]
    if pooling == "mean":
        wide = features.astype(jnp.promote_types(features.dtype, jnp.float32))  # a sum may be beyond float16
        return (jnp.sum(wide * kept, axis=1) / jnp.maximum(jnp.sum(kept, axis=1), 1)).astype(features.dtype)
    if pooling == "max":
        most = jnp.max(jnp.where(kept, features, -jnp.inf), axis=1)
        return jnp.where(kept.any(axis=1), most, 0)  # of a text without a token, as its mean
    return at_token(features, jnp.argmax(counts, axis=1) if pooling == "first" else last_token(counts))


def check_pooling(pooling: str) -> str:
    """A pooling that there is.

    Raises:
        RangeError: another one.
    """
    if pooling not in _POOLINGS:
        fix = "choose one of these"
        raise RangeError(f"a pooling among {', '.join(_POOLINGS)}", got=repr(pooling), fix=fix, where="encode")
    return pooling


def last_token(counts: jax.Array) -> jax.Array:
    """Where the last token that counts stands, (batch,)."""
    return counts.shape[1] - 1 - jnp.argmax(counts[:, ::-1], axis=1)


def at_token(features: jax.Array, place: jax.Array) -> jax.Array:
    """The features (batch, features) at a place (batch,) in each text."""
    return jnp.take_along_axis(features, place[:, None, None], axis=1)[:, 0]


def check_tokens(model: str, tokens: Any) -> jax.Array:
    """Tokens (batch, time).

    Raises:
        ShapeError: of another rank.
    """
    tokens = jnp.asarray(tokens)
    if tokens.ndim != 2:
        fix = "add a batch axis: tokens[None]" if tokens.ndim == 1 else "pass ids of tokens, one row for each text"
        raise ShapeError("tokens (batch, time)", got=describe(tokens), fix=fix, where=model)
    return tokens


def seen_keys(model: str, mask: Any, segments: Any, tokens: jax.Array) -> jax.Array | None:
    """Which keys each query may see, for attention: (batch, 1, 1 or time, time); None for all.

    Arguments:
        mask: (batch, time), True where a token counts; or, as attention takes it, (batch, heads, time, time).
        segments: (batch, time), integers: tokens see those of their own segment, as texts that are packed in a row do.

    Raises:
        ShapeError: of another shape than the tokens.
    """
    found = None
    if mask is not None:
        found = jnp.asarray(mask)
        if found.shape == tokens.shape:
            found = found.astype(bool)[:, None, None, :]
        elif (
            found.ndim not in (2, 4)
            or found.shape[-1] != tokens.shape[1]
            or (found.ndim == 2 and found.shape[0] != found.shape[1])
        ):
            fix = "pass True where a token counts, one for each"
            raise ShapeError(f"a mask {tokens.shape}, as the tokens are", got=describe(mask), fix=fix, where=model)
    if segments is not None:
        segments = jnp.asarray(segments)
        if segments.shape != tokens.shape:
            fix = "pass the number of its text for each token"
            raise ShapeError(f"segments {tokens.shape}", got=describe(segments), fix=fix, where=model)
        together = (segments[:, :, None] == segments[:, None, :])[:, None]
        if found is None:
            return together
        added = jnp.issubdtype(found.dtype, jnp.floating)  # to scores
        found = jnp.where(together, found, -jnp.inf) if added else together & found
    return found
