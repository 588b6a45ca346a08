"""Overlap losses for segmentation: one minus a Dice or Tversky index."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.losses._binary import check_unit
from phlox.losses._reduce import Reduction, matched, not_negative, reduced

Axes = int | tuple[int, ...] | None


@answering
def dice(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    smooth: float = 1.0,
    axis: Axes = None,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """One minus the Dice coefficient of predicted and true masks, with squares in the denominator.

    ``loss = 1 - (2 Σ p·t + smooth) / (Σ p² + Σ t² + smooth)``

    Shapes:
        prediction and target (batch, ...), the same; the sums run over all axes but the first, or over ``axis``;
        the result is a scalar, or of the axes that are left, (batch,), with ``reduction="none"``.

    Arguments:
        prediction: probabilities in [0, 1].
        smooth: added above and below, 0 or more; with 0, two empty masks have a loss of 0.
        axis: the axes to sum over; ``(1, 2)`` on (batch, h, w, classes) gives one loss per class.
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over what is left.
        weight: weights of the leading axes that are left, such as (batch,).

    Raises:
        RangeError: prediction or target outside [0, 1] where values are known, smooth below 0, an unknown axis.
        ShapeError, DtypeError: arguments of unlike shapes, fewer than 2 axes without ``axis=``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> p, t = jnp.array([[1.0, 1.0, 0.0]]), jnp.array([[1, 0, 0]])
        >>> float(losses.dice(p, t))
        0.25

    Source: Milletari, Navab and Ahmadi, V-Net, 2016.
    """
    p, t, dtype, axes = _masks(prediction, target, smooth, axis, "dice")
    overlap = 2 * jnp.sum(p * t, axis=axes) + smooth
    total = jnp.sum(p * p, axis=axes) + jnp.sum(t * t, axis=axes) + smooth
    return reduced(_one_minus(overlap, total), dtype, reduction, weight, "dice")


@answering
def tversky(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
    axis: Axes = None,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """One minus the Tversky index, which weighs false alarms and misses apart.

    ``loss = 1 - (TP + smooth) / (TP + alpha · FP + beta · FN + smooth)`` with ``TP = Σ p·t``,
    ``FP = Σ p·(1 - t)`` and ``FN = Σ (1 - p)·t``.

    Shapes:
        prediction and target (batch, ...), the same; summed as in ``dice``.

    Arguments:
        prediction: probabilities in [0, 1].
        alpha: weight of false positives, 0 or more.
        beta: weight of false negatives, 0 or more.
        smooth, axis, reduction, weight: as in ``dice``.

    Raises:
        RangeError: alpha or beta below 0; else as ``dice``.
        ShapeError, DtypeError: as ``dice``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> p, t = jnp.array([[1.0, 1.0, 0.0]]), jnp.array([[1, 0, 0]])
        >>> round(float(losses.tversky(p, t)), 4)
        0.1304

    Source: Salehi, Erdogmus and Gholipour, Tversky Loss Function for Image Segmentation, 2017.
    """
    not_negative("alpha", alpha, "tversky")
    not_negative("beta", beta, "tversky")
    p, t, dtype, axes = _masks(prediction, target, smooth, axis, "tversky")
    hits = jnp.sum(p * t, axis=axes)
    alarms, misses = jnp.sum(p * (1 - t), axis=axes), jnp.sum((1 - p) * t, axis=axes)
    total = hits + alpha * alarms + beta * misses + smooth
    return reduced(_one_minus(hits + smooth, total), dtype, reduction, weight, "tversky")


def _masks(
    prediction: ArrayLike, target: ArrayLike, smooth: float, axis: Axes, where: str
) -> tuple[jax.Array, jax.Array, Any, tuple[int, ...]]:
    not_negative("smooth", smooth, where)
    p, t, dtype = matched(prediction, target, where)
    check_unit(prediction, "a prediction", where, "pass logits through sigmoid or softmax first.")
    check_unit(target, "a target", where, "map the mask to 0 and 1.")
    if axis is None:
        if p.ndim < 2:
            fix = "add a batch axis, or name the axes to sum over with axis=."
            raise ShapeError("prediction of shape (batch, ...)", got=describe(p), fix=fix, where=where)
        return p, t, dtype, tuple(range(1, p.ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -p.ndim <= a < p.ndim:
            fix = "count axes from 0."
            raise RangeError(f"axis among the {p.ndim} axes of the prediction", got=describe(a), fix=fix, where=where)
    return p, t, dtype, axes


def _one_minus(above: jax.Array, below: jax.Array) -> jax.Array:
    """1 - above / below, and 0 where both are 0."""
    return jnp.where(below == 0, 0, 1 - above / jnp.where(below == 0, 1, below))
