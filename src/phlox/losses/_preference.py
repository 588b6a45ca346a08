"""Losses on which of two texts is preferred, and the log-probability of a text."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.losses._classes import IGNORE
from phlox.losses._cross_entropy import cross_entropy
from phlox.losses._reduce import (
    Reduction,
    above_zero,
    check_option,
    floating,
    reduced,
    same_shape,
    traced,
    widen,
)


@answering
def dpo_loss(
    chosen: ArrayLike,
    rejected: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Ask that a model prefer the chosen text of a pair more than a reference does: direct preference optimisation.

    ``h = β · ((chosen - reference_chosen) - (rejected - reference_rejected))``;
    ``loss = -(1 - s) · log σ(h) - s · log σ(-h)``

    Shapes:
        chosen, rejected, reference_chosen and reference_rejected (pairs, ...), the same: log-probabilities of texts,
        as ``sequence_log_prob`` gives them. The result is a scalar, or (pairs, ...) with ``"none"``.

    Arguments:
        beta: β above 0: how much a step away from the reference costs; in units of 1 / nat.
        label_smoothing: s in [0, 0.5): the share of pairs whose texts were mistaken for each other.
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the pairs.
        weight: weights of the pairs, of the leading axes of (pairs, ...).

    Raises:
        RangeError: beta not above 0, or label_smoothing outside [0, 0.5).
        ShapeError, DtypeError: arguments of unlike shapes, or not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> chosen, rejected, reference = jnp.array([-3.0]), jnp.array([-9.0]), jnp.array([-5.0])
        >>> round(float(losses.dpo_loss(chosen, rejected, reference, reference)), 4)
        0.4375

    Source: Rafailov et al., "Direct preference optimization", 2023; Mitchell, "A note on DPO with noisy preferences",
    2023 (``label_smoothing``).
    """
    where = "dpo_loss"
    above_zero("beta", beta, where)
    smoothing, interval = label_smoothing, "within [0, 0.5)"
    check_option("label_smoothing", smoothing, traced(smoothing) or 0 <= smoothing < 0.5, interval, where)
    names = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    given = (chosen, rejected, reference_chosen, reference_rejected)
    arrays = {name: floating(x, name, where) for name, x in zip(names, given, strict=True)}
    same_shape(where, **arrays)
    (good, bad, good_before, bad_before), dtype = widen(*arrays.values())
    h = beta * ((good - good_before) - (bad - bad_before))
    loss = (1 - smoothing) * jax.nn.softplus(-h) + smoothing * jax.nn.softplus(h)
    return reduced(loss, dtype, reduction, weight, where)


@answering
def sequence_log_prob(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int | None = IGNORE) -> jax.Array:
    """The log-probability that a model gives to a text, of those of its tokens that count.

    ``Σ_t log softmax(logits_t)_{targets_t}`` over all t whose target is not ``ignore_index``.

    Shapes:
        logits (..., time, classes); targets (..., time) of integers, the token behind each one, as
        ``px.data.text.next_tokens`` gives them, and ``ignore_index`` at the prompt and in padding; the result (...,),
        in float32 at least: a long text's has more digits than 16 bits hold, and losses take differences of them.

    Arguments:
        ignore_index: the target that adds nothing, or None.

    Raises:
        RangeError: a class outside 0 … classes - 1 (inside a trace it makes that text NaN instead).
        ShapeError, DtypeError: targets that do not fit the logits.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> logits = jnp.zeros((1, 3, 10))
        >>> round(float(losses.sequence_log_prob(logits, jnp.array([[4, 2, -100]]))[0]), 4)
        -4.6052

    Source: Bengio et al., "A neural probabilistic language model", 2003.
    """
    where = "sequence_log_prob"
    (z,), _ = widen(floating(logits, "logits", where))
    if z.ndim < 2 or jnp.shape(targets) != z.shape[:-1]:
        fix = "give the token behind each one, as px.data.text.next_tokens does."
        expected = f"targets {list(z.shape[:-1])} beside logits {describe(z)} of shape (..., time, classes)"
        raise ShapeError(expected, got=describe(targets), fix=fix, where=where)
    return -jnp.sum(cross_entropy(z, targets, reduction="none", ignore_index=ignore_index), axis=-1)
