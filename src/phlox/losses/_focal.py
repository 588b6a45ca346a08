"""Focal losses: cross entropy that turns away from examples already classified well."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import answering
from phlox.losses._binary import check_unit
from phlox.losses._classes import ClassIndex, class_targets, class_weights
from phlox.losses._reduce import Reduction, floating, in_unit, matched, not_negative, reduced, traced, widen
from phlox.losses._safe import counted, power, safe_log, safe_log1m


@answering
def focal(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
) -> jax.Array:
    """Focal loss of class probabilities.

    ``loss = -Σ_c w_c · t_c · (1 - p_c)^gamma · log p_c``, the logarithm being at least -100.

    Shapes:
        probabilities (..., classes); targets (...,) of integer classes, or (..., classes) of probabilities;
        the result is a scalar, or (...,) with ``reduction="none"``.

    Arguments:
        gamma: 0 is cross entropy; larger values mute easy examples. 0 or more.
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the examples.
        weight: sample weights, of the leading axes of (...,).
        class_weight: (classes,) the factors w (alpha in the paper), which the mean does not divide by.

    Raises:
        RangeError: gamma below 0, a class out of range, probabilities outside [0, 1] where values are known.
        ShapeError, DtypeError: targets that do not fit the probabilities.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.focal(jnp.array([[0.5, 0.25, 0.25]]), jnp.array([0]))), 4)
        0.1733

    Source: Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    where = "focal"
    not_negative("gamma", gamma, where)
    (p,), dtype = widen(floating(probabilities, "probabilities", where))
    t = class_targets(p, targets, where, name="probabilities")
    check_unit(probabilities, "probabilities", where, "use focal_with_logits for logits.")
    return _focal(power(1 - p, gamma), safe_log(p), t, dtype, where, reduction, weight, class_weight)


@answering
def focal_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
) -> jax.Array:
    """Focal loss of the softmax of logits.

    ``loss = -Σ_c w_c · t_c · (1 - p_c)^gamma · log p_c`` with ``p = softmax(logits)``.

    Shapes:
        logits (..., classes); targets (...,) of integer classes, or (..., classes) of probabilities.

    Arguments:
        gamma, reduction, weight, class_weight: as in ``focal``.

    Raises:
        RangeError, ShapeError, DtypeError: as ``focal``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.focal_with_logits(jnp.zeros((1, 2)), jnp.array([0]))), 4)
        0.1733

    Source: Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    where = "focal_with_logits"
    not_negative("gamma", gamma, where)
    (z,), dtype = widen(floating(logits, "logits", where))
    t = class_targets(z, targets, where)
    log_p = jax.nn.log_softmax(z, axis=-1)
    return _focal(power(-jnp.expm1(log_p), gamma), log_p, t, dtype, where, reduction, weight, class_weight)


def _focal(
    doubt: jax.Array,
    log_p: jax.Array,
    targets: ClassIndex | jax.Array,
    dtype: Any,
    where: str,
    reduction: Reduction,
    weight: ArrayLike | None,
    class_weight: ArrayLike | None,
) -> jax.Array:
    w = class_weights(class_weight, log_p.shape[-1], log_p.dtype, where)
    if isinstance(targets, ClassIndex):  # picked before they meet, so that a class ruled out elsewhere has no part
        loss = -targets.pick(doubt) * targets.pick(log_p)
        return reduced(loss if w is None else w[targets.at] * loss, dtype, reduction, weight, where)
    terms = -doubt * counted(log_p, targets)
    terms = terms if w is None else w * terms
    return reduced(jnp.sum(targets * terms, axis=-1), dtype, reduction, weight, where)


@answering
def binary_focal(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Focal loss of probabilities of "yes".

    ``loss = -alpha · t · (1 - p)^gamma · log p - (1 - alpha) · (1 - t) · p^gamma · log(1 - p)``, without the alphas
    unless given; each logarithm is at least -100.

    Shapes:
        probabilities and targets (batch, ...), the same.

    Arguments:
        gamma: 0 is binary cross entropy; larger values mute easy examples. 0 or more.
        alpha: weight of positive targets in [0, 1], negatives weighing 1 - alpha; None for 1 and 1.
        reduction, weight: as in ``binary_cross_entropy``.

    Raises:
        RangeError: gamma below 0, alpha outside [0, 1], probabilities or targets outside [0, 1] where known.
        ShapeError, DtypeError: arguments of unlike shapes, or probabilities that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.binary_focal(jnp.array([0.5]), jnp.array([1]))), 4)
        0.1733

    Source: Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    where = "binary_focal"
    p, t, dtype = matched(probabilities, targets, where, names=("probabilities", "targets"))
    check_unit(probabilities, "probabilities", where, "use binary_focal_with_logits for logits.")
    check_unit(targets, "targets", where, "map the targets to 0 and 1.")
    yes, no = _balance(alpha, t, where)
    not_negative("gamma", gamma, where)
    loss = -yes * power(1 - p, gamma) * safe_log(p) - no * power(p, gamma) * safe_log1m(p)
    return reduced(loss, dtype, reduction, weight, where)


@answering
def binary_focal_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Focal loss of the sigmoid of logits.

    ``loss = -alpha · t · (1 - p)^gamma · log p - (1 - alpha) · (1 - t) · p^gamma · log(1 - p)`` with ``p = σ(logits)``.

    Shapes:
        logits and targets (batch, ...), the same.

    Arguments:
        gamma, alpha, reduction, weight: as in ``binary_focal``.

    Raises:
        RangeError, ShapeError, DtypeError: as ``binary_focal``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.binary_focal_with_logits(jnp.array([0.0]), jnp.array([1]))), 4)
        0.1733

    Source: Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    where = "binary_focal_with_logits"
    z, t, dtype = matched(logits, targets, where, names=("logits", "targets"))
    check_unit(targets, "targets", where, "map the targets to 0 and 1.")
    yes, no = _balance(alpha, t, where)
    not_negative("gamma", gamma, where)
    log_p, log_q = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
    loss = -yes * _doubt(log_q, gamma) * counted(log_p, yes) - no * _doubt(log_p, gamma) * counted(log_q, no)
    return reduced(loss, dtype, reduction, weight, where)


def _doubt(log_p: jax.Array, gamma: float) -> jax.Array | float:
    return 1.0 if not traced(gamma) and gamma == 0 else jnp.exp(gamma * log_p)


def _balance(alpha: float | None, t: jax.Array, where: str) -> tuple[jax.Array, jax.Array]:
    if alpha is None:
        return t, 1 - t
    in_unit("alpha", alpha, where)
    return alpha * t, (1 - alpha) * (1 - t)
