"""Binary cross entropy, from probabilities and from logits, one label or many."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.losses._classes import class_weights
from phlox.losses._reduce import Reduction, check_values, matched, real, reduced
from phlox.losses._safe import counted, safe_log, safe_log1m


def check_unit(x: ArrayLike, name: str, where: str, fix: str) -> None:
    """Refuse values outside [0, 1] where they are known."""
    check_values(x, lambda v: (v >= 0) & (v <= 1), f"{name} within [0, 1]", where=where, fix=fix)


@answering
def binary_cross_entropy(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Cross entropy between probabilities of "yes" and targets in [0, 1].

    ``loss = -target · log p - (1 - target) · log(1 - p)``, each logarithm at least -100, so that p = 0 and p = 1
    give finite losses and gradients. ``binary_cross_entropy_with_logits`` is exact there.

    Shapes:
        probabilities and targets (batch, ...), the same.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight (PyTorch's ``weight=`` divides by the number of elements).
        weight: weights of the leading axes: (batch,), or one per element.

    Raises:
        RangeError: probabilities or targets outside [0, 1], where values are known; in a trace such a
            probability gives NaN.
        ShapeError, DtypeError: arguments of unlike shapes, or probabilities that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.binary_cross_entropy(jnp.array([0.25]), jnp.array([1]))), 4)
        1.3863

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.2.
    """
    where = "binary_cross_entropy"
    p, t, dtype = matched(probabilities, targets, where, names=("probabilities", "targets"))
    check_unit(probabilities, "probabilities", where, "use binary_cross_entropy_with_logits for logits.")
    check_unit(targets, "targets", where, "map the targets to 0 and 1.")
    return reduced(-t * safe_log(p) - (1 - t) * safe_log1m(p), dtype, reduction, weight, where)


@answering
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> jax.Array:
    """Cross entropy between the sigmoid of logits and targets in [0, 1].

    ``loss = -w₊ · target · log σ(z) - (1 - target) · log σ(-z)``

    Shapes:
        logits and targets (batch, ..., labels), the same.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight (PyTorch's ``weight=`` divides by the number of elements).
        weight: weights of the leading axes: (batch,), or one per element.
        pos_weight: w₊, a factor on positive targets: a number, or of the trailing axes, such as (labels,).

    Raises:
        RangeError: targets outside [0, 1], where values are known.
        ShapeError, DtypeError: arguments of unlike shapes, or logits that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.binary_cross_entropy_with_logits(jnp.array([0.0]), jnp.array([1]))), 4)
        0.6931

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.2.
    """
    where = "binary_cross_entropy_with_logits"
    z, t, dtype = matched(logits, targets, where, names=("logits", "targets"))
    check_unit(targets, "targets", where, "map the targets to 0 and 1.")
    yes = jax.nn.log_sigmoid(z)
    if pos_weight is not None:
        w = real(pos_weight, "pos_weight", where)
        if w.shape != z.shape[z.ndim - w.ndim :]:
            fix = "give a number, or one factor per label."
            expected = f"pos_weight of the trailing axes, an ending of {z.shape}"
            raise ShapeError(expected, got=describe(w), fix=fix, where=where)
        yes = w.astype(z.dtype) * yes
    return reduced(
        -t * counted(yes, t) - (1 - t) * counted(jax.nn.log_sigmoid(-z), 1 - t), dtype, reduction, weight, where
    )


@answering
def multilabel_soft_margin(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
) -> jax.Array:
    """Binary cross entropy of every label, averaged over the labels of an example.

    ``loss = -1/labels · Σ_c w_c · (t_c · log σ(z_c) + (1 - t_c) · log σ(-z_c))``

    Shapes:
        logits and targets (..., labels), the same; the result is a scalar, or (...,) with ``reduction="none"``.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the examples.
        weight: sample weights, of the leading axes of (...,).
        class_weight: (labels,) a factor per label, which the mean does not divide by.

    Raises:
        RangeError: targets outside [0, 1], where values are known.
        ShapeError, DtypeError: arguments of unlike shapes, or logits that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.multilabel_soft_margin(jnp.zeros((1, 3)), jnp.array([[1, 0, 1]]))), 4)
        0.6931

    Source: PyTorch, ``MultiLabelSoftMarginLoss``.
    """
    where = "multilabel_soft_margin"
    z, t, dtype = matched(logits, targets, where, names=("logits", "targets"))
    check_unit(targets, "targets", where, "give one 0 or 1 per label.")
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ShapeError("logits of shape (..., labels)", got=describe(z), fix="put the labels last.", where=where)
    loss = -t * counted(jax.nn.log_sigmoid(z), t) - (1 - t) * counted(jax.nn.log_sigmoid(-z), 1 - t)
    w = class_weights(class_weight, z.shape[-1], z.dtype, where)
    return reduced(jnp.mean(loss if w is None else w * loss, axis=-1), dtype, reduction, weight, where)
