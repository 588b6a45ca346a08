"""Routing of tokens to experts, and how evenly they are used."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import min_rank, real, widen

__all__ = ["load_balancing_loss", "top_k_routing"]


@answering
def top_k_routing(logits: ArrayLike, k: int, *, normalise: bool = True) -> Array:
    """Choose k experts for each token: their softmax probabilities, and zeros for all others.

    Shapes:
        logits: (..., experts), real; weights: (..., experts), float32 at least, k of them above zero.

    Arguments:
        k: experts for each token.
        normalise: whether the chosen probabilities are divided by their sum.

    Raises:
        ShapeError: logits without axes. RangeError: k outside 1 to experts.

    >>> top_k_routing(jnp.array([1.0, 0.0, 1.0]), 2).tolist()
    [0.5, 0.0, 0.5]

    Source: Shazeer et al., "Outrageously large neural networks" (arXiv:1701.06538).
    """
    array = widen(real(logits, "top_k_routing"))
    min_rank("top_k_routing", array, 1, "logits of shape (..., experts)")
    if not 1 <= k <= array.shape[-1]:
        fix = "choose fewer experts than there are"
        raise RangeError(f"k from 1 to {array.shape[-1]}", got=str(k), fix=fix, where="top_k_routing")
    probabilities = jax.nn.softmax(array, -1)
    _, best = jax.lax.top_k(array, k)
    chosen = jnp.sum(jax.nn.one_hot(best, array.shape[-1], dtype=array.dtype), -2)
    weights = probabilities * chosen
    return weights / jnp.sum(weights, -1, keepdims=True) if normalise else weights


@answering
def load_balancing_loss(logits: ArrayLike, weights: ArrayLike) -> Array:
    """Measure how unevenly experts are used: ``experts * sum_e share_e * mean probability_e``.

    ``share_e`` is how many experts named e tokens chose, per token; it has no gradient. With k experts per token
    the loss is k where all are used alike.

    Shapes:
        logits: (..., experts); weights: as logits, not zero for the chosen experts; loss: ().

    Raises:
        ShapeError: shapes that differ.

    >>> logits = jnp.zeros((4, 2))
    >>> load_balancing_loss(logits, jnp.array([[1, 0], [0, 1], [1, 0], [0, 1]])).item()
    1.0

    Source: Fedus et al., "Switch transformers" (arXiv:2101.03961), equation 4.
    """
    array, chosen = widen(real(logits, "load_balancing_loss")), jnp.asarray(weights) != 0
    if chosen.shape != array.shape or array.ndim < 1:
        got, fix = f"{describe(array)} and {describe(weights)}", "pass the weights that top_k_routing made of them"
        raise ShapeError("logits and weights of one shape", got=got, fix=fix, where="load_balancing_loss")
    experts = array.shape[-1]
    share = jnp.mean(chosen.reshape(-1, experts).astype(array.dtype), 0)
    probability = jnp.mean(jax.nn.softmax(array, -1).reshape(-1, experts), 0)
    return experts * jnp.sum(share * probability)
