"""Drawing the next token: logits cut to the likely ones, and a draw from what is left."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, answering, describe
from phlox.nn.functional._numeric import in_range, is_concrete, min_rank, real, widen
from phlox.nn.functional.space._window import is_int

__all__ = ["keep_min_p", "keep_top_k", "keep_top_p", "sample_min_p", "sample_top_k", "sample_top_p"]


@answering
def keep_top_k(logits: ArrayLike, k: int) -> Array:
    """Set all but the k largest logits to minus infinity: ``y_i = x_i where x_i >= the k-th largest``.

    Those that equal the k-th largest all stay.

    Shapes:
        logits, y: (..., tokens), real.

    Arguments:
        k: how many stay, at least 1; more than there are keep all.

    Raises:
        RangeError: ``k`` below 1. ShapeError: logits without an axis.

    >>> keep_top_k(jnp.array([1.0, 3.0, 2.0]), 2).tolist()
    [-inf, 3.0, 2.0]

    Source: Fan et al., "Hierarchical neural story generation" (arXiv:1805.04833).
    """
    x = _logits("keep_top_k", logits)
    if not is_int(k) or k < 1:
        expected, fix = "k as a whole number of at least 1", "choose k=1 or more"
        raise RangeError(expected, got=describe(k), fix=fix, where="keep_top_k")
    least = jax.lax.top_k(x, min(int(k), x.shape[-1]))[0][..., -1:]
    return jnp.where(x >= least, x, -jnp.inf)


@answering
def keep_top_p(logits: ArrayLike, p: ArrayLike) -> Array:
    """Set logits to minus infinity but for the fewest whose probabilities reach p, the largest first.

    A token stays while the sum of the probabilities above it is below p; the largest always stays. Among equal
    logits, those with higher indices stay.

    Shapes:
        logits, y: (..., tokens), real; p: a scalar.

    Arguments:
        p: the share of probability to keep, in [0, 1]; 1 keeps all.

    Raises:
        RangeError: ``p`` outside [0, 1]. ShapeError: logits without an axis.

    >>> keep_top_p(jnp.log(jnp.array([0.5, 0.3, 0.2])), 0.7).tolist()[2]
    -inf

    Source: Holtzman et al., "The curious case of neural text degeneration" (arXiv:1904.09751).
    """
    x = _logits("keep_top_p", logits)
    in_range("keep_top_p", "p", p, 0.0, 1.0)
    order = jnp.argsort(x, -1)
    rising = jax.nn.softmax(jnp.take_along_axis(widen(x), order, -1), -1)
    stays = jnp.cumsum(rising, -1) > 1 - jnp.asarray(p, rising.dtype)
    stays = (stays | (jnp.asarray(p) == 1)).at[..., -1].set(True)
    back = jnp.argsort(order, -1)
    return jnp.where(jnp.take_along_axis(stays, back, -1), x, -jnp.inf)


@answering
def keep_min_p(logits: ArrayLike, p: ArrayLike) -> Array:
    """Set logits to minus infinity where the probability is below p times the largest.

    Formula: ``y_i = x_i where x_i >= max x + log p``, the same without an exponential.

    Shapes:
        logits, y: (..., tokens), real; p: a scalar.

    Arguments:
        p: the share of the largest probability, in [0, 1]; 0 keeps all.

    Raises:
        RangeError: ``p`` outside [0, 1]. ShapeError: logits without an axis.

    >>> keep_min_p(jnp.log(jnp.array([0.6, 0.3, 0.1])), 0.4).tolist()[2]
    -inf

    Source: Nguyen et al., "Turning up the heat: min-p sampling" (arXiv:2407.01082).
    """
    x = _logits("keep_min_p", logits)
    in_range("keep_min_p", "p", p, 0.0, 1.0)
    wide = widen(x)
    least = jnp.max(wide, -1, keepdims=True) + jnp.log(jnp.asarray(p, wide.dtype))
    return jnp.where(wide >= least, x, -jnp.inf)


@answering
def sample_top_k(logits: ArrayLike, k: int, *, key: Array, temperature: ArrayLike = 1.0) -> Array:
    """Draw a token from the k likeliest, by their probabilities: ``softmax(keep_top_k(logits / temperature, k))``.

    Shapes:
        logits: (..., tokens), real; y: (...), int32.

    Arguments:
        k: how many can be drawn, at least 1.
        key: a JAX random key.
        temperature: what logits are divided by, at least 0; 0 takes the largest.

    Raises:
        RangeError: ``k`` below 1 or a temperature below 0. ShapeError: logits without an axis.

    >>> sample_top_k(jnp.array([0.0, 9.0, 1.0]), 1, key=jax.random.key(0)).item()
    1

    Source: :func:`keep_top_k`.
    """
    return _draw(keep_top_k(_warm("sample_top_k", logits, temperature), k), key, temperature)


@answering
def sample_top_p(logits: ArrayLike, p: ArrayLike, *, key: Array, temperature: ArrayLike = 1.0) -> Array:
    """Draw a token from the fewest whose probabilities reach p: ``softmax(keep_top_p(logits / temperature, p))``.

    Shapes, arguments, errors: as :func:`sample_top_k`; ``p`` as in :func:`keep_top_p`.

    >>> sample_top_p(jnp.array([0.0, 9.0, 1.0]), 0.9, key=jax.random.key(0)).item()
    1

    Source: :func:`keep_top_p`.
    """
    return _draw(keep_top_p(_warm("sample_top_p", logits, temperature), p), key, temperature)


@answering
def sample_min_p(logits: ArrayLike, p: ArrayLike, *, key: Array, temperature: ArrayLike = 1.0) -> Array:
    """Draw a token at least p times as likely as the likeliest: ``softmax(keep_min_p(logits / temperature, p))``.

    Shapes, arguments, errors: as :func:`sample_top_k`; ``p`` as in :func:`keep_min_p`.

    >>> sample_min_p(jnp.array([0.0, 9.0, 1.0]), 0.5, key=jax.random.key(0)).item()
    1

    Source: :func:`keep_min_p`.
    """
    return _draw(keep_min_p(_warm("sample_min_p", logits, temperature), p), key, temperature)


def _logits(where: str, logits: ArrayLike) -> Array:
    x = real(logits, where)
    min_rank(where, x, 1, "(..., tokens)")
    return x if jnp.issubdtype(x.dtype, jnp.floating) else widen(x)


def _warm(where: str, logits: ArrayLike, temperature: ArrayLike) -> Array:
    """Logits over the temperature, in float32 at least; over 1 where it is 0, which changes no order."""
    in_range(where, "temperature", temperature, 0.0, float("inf"))
    wide = widen(_logits(where, logits))
    t = jnp.asarray(temperature, wide.dtype)
    return wide / jnp.where(t == 0, 1, t)


def _draw(kept: Array, key: Array, temperature: ArrayLike) -> Array:
    if is_concrete(temperature) and temperature == 0:
        return jnp.argmax(kept, -1).astype(jnp.int32)
    drawn = jax.random.categorical(key, kept, -1).astype(jnp.int32)
    return jnp.where(jnp.asarray(temperature) == 0, jnp.argmax(kept, -1), drawn).astype(jnp.int32)
