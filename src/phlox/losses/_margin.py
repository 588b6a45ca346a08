"""Margin losses: hinge and its kin for signs, classes, labels and rankings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.losses._classes import class_index, class_weights
from phlox.losses._reduce import (
    Reduction,
    check_values,
    concrete,
    floating,
    matched,
    real,
    reduced,
    same_shape,
    widen,
)
from phlox.losses._safe import clamped, hinged


def check_signs(x: ArrayLike, where: str, name: str = "targets") -> None:
    """Refuse values other than -1 and 1 where they are known."""
    fix = "map 0 and 1 to signs with 2 * target - 1."
    check_values(x, lambda v: (v == 1) | (v == -1), f"{name} of -1 or 1", where=where, fix=fix)


@answering
def hinge(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Hinge loss of scores against signs.

    ``loss = max(0, 1 - target · prediction)``

    Shapes:
        prediction and target (batch, ...), the same; targets are -1 or 1.

    Arguments:
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: a target other than -1 or 1, where values are known.
        ShapeError, DtypeError: as ``mse``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> losses.hinge(jnp.array([0.5, 2.0]), jnp.array([-1, 1]), reduction="none").tolist()
        [1.5, 0.0]

    Source: Cortes and Vapnik, Support-Vector Networks, 1995.
    """
    p, t, dtype = matched(prediction, target, "hinge")
    check_signs(target, "hinge")
    return reduced(hinged(1 - t * p), dtype, reduction, weight, "hinge")


@answering
def squared_hinge(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Squared hinge loss of scores against signs.

    ``loss = max(0, 1 - target · prediction)²``

    Shapes:
        prediction and target (batch, ...), the same; targets are -1 or 1.

    Arguments:
        reduction, weight: as in ``mse``.

    Raises:
        RangeError, ShapeError, DtypeError: as ``hinge``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> losses.squared_hinge(jnp.array([0.5, 2.0]), jnp.array([-1, 1]), reduction="none").tolist()
        [2.25, 0.0]

    Source: Tang, Deep Learning using Linear Support Vector Machines, 2013.
    """
    p, t, dtype = matched(prediction, target, "squared_hinge")
    check_signs(target, "squared_hinge")
    return reduced(jnp.square(hinged(1 - t * p)), dtype, reduction, weight, "squared_hinge")


@answering
def soft_margin(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Logistic loss of scores against signs.

    ``loss = log(1 + exp(-target · prediction))``

    Shapes:
        prediction and target (batch, ...), the same; targets are -1 or 1.

    Arguments:
        reduction, weight: as in ``mse``.

    Raises:
        RangeError, ShapeError, DtypeError: as ``hinge``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.soft_margin(jnp.array([0.0]), jnp.array([1]))), 4)
        0.6931

    Source: PyTorch, ``SoftMarginLoss``.
    """
    p, t, dtype = matched(prediction, target, "soft_margin")
    check_signs(target, "soft_margin")
    return reduced(jax.nn.softplus(-t * p), dtype, reduction, weight, "soft_margin")


@answering
def hinge_embedding(
    distances: ArrayLike,
    targets: ArrayLike,
    *,
    margin: float = 1.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Pull pairs of sign 1 together and push pairs of sign -1 beyond a margin.

    ``loss = d`` where the target is 1, ``max(0, margin - d)`` where it is -1.

    Shapes:
        distances and targets (batch, ...), the same; targets are -1 or 1.

    Arguments:
        margin: in the units of the distance.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError, ShapeError, DtypeError: as ``hinge``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> losses.hinge_embedding(jnp.array([0.25, 0.25]), jnp.array([1, -1]), reduction="none").tolist()
        [0.25, 0.75]

    Source: PyTorch, ``HingeEmbeddingLoss``.
    """
    where = "hinge_embedding"
    d, t, dtype = matched(distances, targets, where, names=("distances", "targets"))
    check_signs(targets, where)
    return reduced(jnp.where(t > 0, d, clamped(margin - d)), dtype, reduction, weight, where)


@answering
def margin_ranking(
    first: ArrayLike,
    second: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Ask that the first score be above the second (target 1) or below it (target -1).

    ``loss = max(0, margin - target · (first - second))``

    Shapes:
        first, second and target (batch, ...), the same; targets are -1 or 1.

    Arguments:
        margin: by how much the scores must differ.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError, ShapeError, DtypeError: as ``hinge``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.margin_ranking(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1])))
        2.0

    Source: PyTorch, ``MarginRankingLoss``.
    """
    where = "margin_ranking"
    a, b, t = floating(first, "first", where), floating(second, "second", where), real(target, "target", where)
    same_shape(where, first=a, second=b, target=t)
    check_signs(target, where)
    (a, b, t), dtype = widen(a, b, t)
    return reduced(clamped(margin - t * (a - b)), dtype, reduction, weight, where)


@answering
def multi_margin(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    p: int = 1,
    margin: float = 1.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
) -> jax.Array:
    """Hinge loss over classes: the target's score must beat every other by a margin.

    ``loss = w_y / classes · Σ_{c ≠ y} max(0, margin - scores_y + scores_c)^p``

    Shapes:
        scores (..., classes); integer targets (...,); the result is a scalar, or (...,) with ``"none"``.

    Arguments:
        p: 1 or 2.
        margin: in the units of the scores.
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the examples.
        weight: sample weights, of the leading axes of (...,).
        class_weight: (classes,) the factors w, which the mean does not divide by (PyTorch's rule for this loss).

    Raises:
        RangeError: p other than 1 or 2, or a class out of range (NaN inside a trace).
        ShapeError, DtypeError: targets that do not fit the scores.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.multi_margin(jnp.array([[1.0, 0.5, 0.0, -1.0]]), jnp.array([0])))
        0.125

    Source: Weston and Watkins, Support Vector Machines for Multi-Class Pattern Recognition, 1999.
    """
    where = "multi_margin"
    if p not in (1, 2):
        raise RangeError("p of 1 or 2", got=describe(p), fix="choose p=1 or p=2.", where=where)
    (x,), dtype = widen(floating(scores, "scores", where))
    t = real(targets, "targets", where)
    if x.ndim == 0 or x.shape[-1] == 0 or t.shape != x.shape[:-1]:
        raise ShapeError(
            f"integer targets {list(x.shape[:-1])} beside scores {describe(x)} of shape (..., classes)",
            got=describe(t),
            fix="put the class axis last in the scores, and give one integer class per example.",
            where=where,
        )
    classes = x.shape[-1]
    known = class_index(t, classes, where, ignore_index=None)
    excess = hinged(margin - known.pick(x)[..., None] + x) ** p
    others = jnp.arange(classes) != known.at[..., None]
    loss = jnp.sum(jnp.where(others, excess, 0), axis=-1) / classes
    w = class_weights(class_weight, classes, x.dtype, where)
    return reduced(loss if w is None else w[known.at] * loss, dtype, reduction, weight, where)


@answering
def multilabel_margin(
    scores: ArrayLike, targets: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Hinge loss over labels: every true label's score must beat every false one's by 1.

    ``loss = 1/labels · Σ_{true j} Σ_{false c} max(0, 1 - scores_j + scores_c)``

    Shapes:
        scores (..., labels). Targets of booleans or floats are multi-hot, (..., labels). Targets of integers are
        lists of true labels as in PyTorch, (..., labels), ended by the first -1;
        one listed twice counts twice. The result is (...,) with ``"none"``.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the examples.
        weight: sample weights, of the leading axes of (...,).

    Raises:
        RangeError: a multi-hot target other than 0 or 1, or a label out of range, where values are known.
        ShapeError, DtypeError: arguments of unlike shapes, or scores that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> scores = jnp.array([[0.1, 0.2, 0.4, 0.8]])
        >>> round(float(losses.multilabel_margin(scores, jnp.array([[3, 0, -1, 1]]))), 4)
        0.85
        >>> round(float(losses.multilabel_margin(scores, jnp.array([[True, False, False, True]]))), 4)
        0.85

    Source: PyTorch, ``MultiLabelMarginLoss``.
    """
    where = "multilabel_margin"
    x, t = floating(scores, "scores", where), real(targets, "targets", where)
    same_shape(where, scores=x, targets=t)
    (x,), dtype = widen(x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ShapeError("scores of shape (..., labels)", got=describe(x), fix="put the labels last.", where=where)
    true = _label_lists(t, x.shape[-1], where) if jnp.issubdtype(t.dtype, jnp.integer) else t
    if true is t:
        fix = "give one boolean per label, or integers that list the true labels."
        check_values(targets, lambda v: (v == 0) | (v == 1), "multi-hot targets of 0 or 1", where=where, fix=fix)
    true = true.astype(x.dtype)
    excess = hinged(1 - x[..., :, None] + x[..., None, :])
    counted = jnp.where(true[..., None, :] == 0, excess, 0) * true[..., :, None]
    return reduced(jnp.sum(counted, axis=(-2, -1)) / x.shape[-1], dtype, reduction, weight, where)


def _label_lists(t: jax.Array, labels: int, where: str) -> jax.Array:
    """Turn lists of labels (..., labels), ended by -1, into how often each is listed, of the same shape."""
    listed = jnp.cumsum(t < 0, axis=-1) == 0
    known = concrete(t)
    if known is not None:
        live = known[(known < 0).cumsum(axis=-1) == 0]
        if live.size and live.max() >= labels:
            fix = "count labels from 0, and end each list with -1."
            got = f"{describe(known)} with {live.max()}"
            raise RangeError(f"labels in 0 … {labels - 1}, ended by -1", got=got, fix=fix, where=where)
    hot = (t[..., :, None] == jnp.arange(labels)) & listed[..., None]
    return jnp.sum(hot, axis=-2)
