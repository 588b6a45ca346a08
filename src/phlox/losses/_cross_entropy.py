"""Cross entropy over classes: from logits, from log-probabilities, and smoothed labels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import RangeError, answering, describe
from phlox.losses._classes import IGNORE, ClassIndex, class_targets, class_weights
from phlox.losses._one_call import one_call
from phlox.losses._reduce import Reduction, floating, in_unit, real, reduced, widen


@answering
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = IGNORE,
) -> jax.Array:
    """Cross entropy between the softmax of logits and class targets.

    ``loss = -Σ_c w_c · t_c · log softmax(logits)_c`` with ``t`` the one-hot (or given) probabilities, smoothed to
    ``(1 - s) · t + s / classes``.

    Shapes:
        logits (..., classes); targets (...,) of integer classes, or (..., classes) of probabilities;
        the result is a scalar, or (...,) with ``reduction="none"``.

    Arguments:
        reduction: ``"mean"`` divides by the summed weights (those of the target classes for integer targets, as
            PyTorch does; sample weights alone for probabilities); a batch where nothing counts gives 0.
        weight: sample weights, of the leading axes of (...,).
        class_weight: (classes,) a factor per class.
        label_smoothing: s in [0, 1].
        ignore_index: the integer target that adds nothing to the loss, or None.

    Raises:
        ShapeError, DtypeError: targets that do not fit the logits; nothing is broadcast.
        RangeError: a class outside 0 … classes - 1 (inside a trace it makes that loss NaN instead).

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> logits = jnp.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> [round(float(v), 4) for v in losses.cross_entropy(logits, jnp.array([0, 2]), reduction="none")]
        [0.2395, 1.0986]

    Source: Szegedy et al., Rethinking the Inception Architecture, 2016 (label smoothing).
    """
    where = "cross_entropy"
    (z,), dtype = widen(floating(logits, "logits", where))
    in_unit("label_smoothing", label_smoothing, where)
    t = class_targets(z, targets, where, ignore_index=ignore_index)
    return _of_logits(z, t, dtype, where, reduction, weight, class_weight, label_smoothing)


@one_call("dtype", "where", "reduction", "smoothing")
def _of_logits(
    logits: jax.Array,
    targets: ClassIndex | jax.Array,
    dtype: Any,
    where: str,
    reduction: Reduction,
    weight: ArrayLike | None,
    class_weight: ArrayLike | None,
    smoothing: float,
) -> jax.Array:
    if isinstance(targets, ClassIndex) and not _smooths(smoothing):
        w = class_weights(class_weight, logits.shape[-1], logits.dtype, where)
        return _of_picked(_log_softmax_at(logits, targets), targets, w, dtype, where, reduction, weight)
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    return _weighted_nll(log_probs, targets, dtype, where, reduction, weight, class_weight, smoothing)


def _log_softmax_at(logits: jax.Array, targets: ClassIndex) -> jax.Array:
    """The log-probability of each target alone, without an array of those of all classes.

    The largest logit is taken from the target's first, so that a common offset costs no digits.
    """
    most = jax.lax.stop_gradient(jnp.max(logits, axis=-1))
    return (targets.pick(logits) - most) - jnp.log(jnp.sum(jnp.exp(logits - most[..., None]), axis=-1))


@answering
def nll(
    log_probs: ArrayLike,
    targets: ArrayLike,
    *,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    ignore_index: int | None = IGNORE,
) -> jax.Array:
    """Negative log-likelihood of class targets under given log-probabilities.

    ``loss = -Σ_c w_c · t_c · log_probs_c``; the rules of ``cross_entropy``, without its softmax.

    Shapes:
        log_probs (..., classes); targets (...,) of integer classes, or (..., classes) of probabilities.

    Arguments:
        reduction, weight, class_weight, ignore_index: as in ``cross_entropy``.

    Raises:
        ShapeError, DtypeError, RangeError: as ``cross_entropy``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.nll(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([0]))), 4)
        1.3863

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.
    """
    where = "nll"
    (log_p,), dtype = widen(floating(log_probs, "log_probs", where))
    t = class_targets(log_p, targets, where, ignore_index=ignore_index, name="log_probs")
    return _weighted_nll(log_p, t, dtype, where, reduction, weight, class_weight, 0.0)


def _weighted_nll(
    log_probs: jax.Array,
    targets: ClassIndex | jax.Array,
    dtype: Any,
    where: str,
    reduction: Reduction,
    weight: ArrayLike | None,
    class_weight: ArrayLike | None,
    smoothing: float,
) -> jax.Array:
    classes = log_probs.shape[-1]
    w = class_weights(class_weight, classes, log_probs.dtype, where)
    smooth = _smooths(smoothing)
    if isinstance(targets, ClassIndex):
        spread = jnp.sum(log_probs if w is None else w * log_probs, axis=-1) * (smoothing / classes) if smooth else None
        return _of_picked(targets.pick(log_probs), targets, w, dtype, where, reduction, weight, smoothing, spread)
    t = (1 - smoothing) * targets + smoothing / classes if smooth else targets
    # a class ruled out by a logit of -inf adds 0, not NaN, where its target is 0
    log_probs = jnp.where((t == 0) & jnp.isneginf(log_probs), 0, log_probs)
    loss = -jnp.sum(t * log_probs if w is None else w * t * log_probs, axis=-1)
    return reduced(loss, dtype, reduction, weight, where)


def _of_picked(
    log_probs: jax.Array,
    targets: ClassIndex,
    class_weight: jax.Array | None,
    dtype: Any,
    where: str,
    reduction: Reduction,
    weight: ArrayLike | None,
    smoothing: float = 0.0,
    spread: jax.Array | None = None,
) -> jax.Array:
    """The loss of the log-probabilities (...,) of the targets, and of what smoothing spreads over all classes."""
    factor = jnp.ones(targets.at.shape, log_probs.dtype) if class_weight is None else class_weight[targets.at]
    loss = -factor * log_probs
    if spread is not None:
        loss = (1 - smoothing) * loss - spread
    norm = jnp.where(targets.keep, factor, 0)
    return reduced(jnp.where(targets.keep, loss, 0), dtype, reduction, weight, where, norm=norm)


def _smooths(smoothing: float) -> bool:
    return isinstance(smoothing, jax.Array) or smoothing > 0


@answering
def label_smoothing(targets: ArrayLike, smoothing: float, *, axis: int | None = -1) -> jax.Array:
    """Mix one-hot targets with the uniform distribution.

    ``(1 - s) · targets + s / classes``; for binary targets (``axis=None``) ``(1 - s) · targets + s / 2``.

    Shapes:
        targets (..., classes, ...) → the same shape. Booleans and integers become float32.

    Arguments:
        smoothing: s in [0, 1].
        axis: the class axis, or None for binary targets.

    Raises:
        RangeError: s outside [0, 1], or an axis that targets do not have.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> [round(float(v), 2) for v in losses.label_smoothing(jnp.array([0, 0, 1, 0]), 0.2)]
        [0.05, 0.05, 0.85, 0.05]

    Source: Szegedy et al., Rethinking the Inception Architecture, 2016.
    """
    where = "label_smoothing"
    in_unit("smoothing", smoothing, where)
    t = real(targets, "targets", where)
    if not jnp.issubdtype(t.dtype, jnp.floating):
        t = t.astype(jnp.float32)
    if axis is not None and not -t.ndim <= axis < t.ndim:
        fix = "one-hot encode integer classes first, or pass axis=None for binary targets."
        raise RangeError(f"axis among the {t.ndim} axes of targets", got=describe(axis), fix=fix, where=where)
    return (1 - smoothing) * t + smoothing / (2 if axis is None else t.shape[axis])
