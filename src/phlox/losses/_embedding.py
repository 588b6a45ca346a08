"""Losses on embeddings: angles, distances, pairs, triplets and contrasts within a batch."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.losses._margin import check_signs
from phlox.losses._reduce import (
    Reduction,
    above_zero,
    check_option,
    check_values,
    floating,
    matched,
    not_negative,
    real,
    reduced,
    same_shape,
    traced,
    widen,
)
from phlox.losses._safe import clamped, hinged
from phlox.nn import lp_norm, rectified, squarable


@answering
def cosine(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Cosine distance between vectors on the last axis.

    ``loss = 1 - prediction·target / (‖prediction‖ ‖target‖)``, each squared norm having 1e-12 added.

    Shapes:
        prediction and target (..., features), the same; the result is a scalar, or (...,) with ``"none"``.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the vectors.
        weight: sample weights, of the leading axes of (...,).

    Raises:
        ShapeError, DtypeError: arguments of unlike shapes, or a prediction that is not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.cosine(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])))
        1.0

    Source: PyTorch, ``cosine_similarity``.
    """
    p, t, dtype = matched(prediction, target, "cosine")
    _check_features(p, "prediction", "cosine")
    return reduced(1 - _similarity(p, t), dtype, reduction, weight, "cosine")


@answering
def cosine_embedding(
    first: ArrayLike,
    second: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Turn vectors of sign 1 the same way and vectors of sign -1 apart.

    ``loss = 1 - cos(first, second)`` where the target is 1, ``max(0, cos(first, second) - margin)`` where it is -1.

    Shapes:
        first and second (..., features), the same; target (...,) of -1 or 1.

    Arguments:
        margin: the cosine in [-1, 1] above which unlike vectors cost.
        reduction, weight: as in ``cosine``.

    Raises:
        RangeError: a target other than -1 or 1 where values are known, or a margin outside [-1, 1].
        ShapeError, DtypeError: arguments that do not fit, or vectors that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> a, b = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])
        >>> float(losses.cosine_embedding(a, b, jnp.array([1])))
        1.0

    Source: PyTorch, ``CosineEmbeddingLoss``.
    """
    where = "cosine_embedding"
    a, b, t = floating(first, "first", where), floating(second, "second", where), real(target, "target", where)
    same_shape(where, first=a, second=b)
    _check_features(a, "first", where)
    if t.shape != a.shape[:-1]:
        fix = "give one sign per pair of vectors."
        expected = f"target {list(a.shape[:-1])} beside vectors {describe(a)}"
        raise ShapeError(expected, got=describe(t), fix=fix, where=where)
    check_signs(target, where)
    check_option("margin", margin, traced(margin) or -1 <= margin <= 1, "within [-1, 1]", where)
    (a, b), dtype = widen(a, b)
    cos = _similarity(a, b)
    return reduced(jnp.where(t > 0, 1 - cos, hinged(cos - margin)), dtype, reduction, weight, where)


@answering
def triplet_margin(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Ask that an anchor be nearer to its positive than to its negative, by a margin.

    ``loss = max(0, d(anchor, positive) - d(anchor, negative) + margin)`` with ``d(x, y) = ‖x - y + eps‖_p``; with
    ``swap``, the distance to the negative is the smaller of those from the anchor and from the positive.

    Shapes:
        anchor, positive and negative (..., features), the same; the result is a scalar, or (...,) with ``"none"``.

    Arguments:
        margin: above 0, in the units of the distance.
        p: order of the norm, 1 or more.
        eps: keeps the gradient finite where two vectors meet.
        swap: use the harder of the two distances to the negative.
        reduction, weight: as in ``cosine``.

    Raises:
        RangeError: margin not above 0, or p below 1.
        ShapeError, DtypeError: arguments of unlike shapes, or not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> a, n = jnp.zeros((1, 2)), jnp.array([[0.0, 0.25]])
        >>> round(float(losses.triplet_margin(a, a, n)), 4)
        0.75

    Source: Balntas et al., Learning Local Feature Descriptors with Triplets and Shallow Networks, 2016.
    """
    where = "triplet_margin"
    above_zero("margin", margin, where)
    check_option("p", p, p >= 1, "of at least 1", where)
    a, b = floating(anchor, "anchor", where), floating(positive, "positive", where)
    c = floating(negative, "negative", where)
    same_shape(where, anchor=a, positive=b, negative=c)
    _check_features(a, "anchor", where)
    (a, b, c), dtype = widen(a, b, c)
    axes = (a.ndim - 1,)
    near, far = lp_norm(a - b + eps, p, axes), lp_norm(a - c + eps, p, axes)
    if swap:
        far = jnp.minimum(far, lp_norm(b - c + eps, p, axes))
    return reduced(clamped(near - far + margin), dtype, reduction, weight, where)


@answering
def siamese_contrastive(
    distances: ArrayLike,
    targets: ArrayLike,
    *,
    margin: float = 1.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Contrastive loss of the distances of pairs, where 0 marks a like pair and 1 an unlike one.

    ``loss = (1 - target) · d² + target · max(0, margin - d)²``

    Shapes:
        distances and targets (batch, ...), the same.

    Arguments:
        margin: how far apart unlike pairs should be, 0 or more.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: margin below 0, or targets outside [0, 1] where values are known.
        ShapeError, DtypeError: arguments of unlike shapes, or distances that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> losses.siamese_contrastive(jnp.array([0.5, 0.25]), jnp.array([0, 1]), reduction="none").tolist()
        [0.25, 0.5625]

    Source: Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping, 2006.
    """
    where = "siamese_contrastive"
    not_negative("margin", margin, where)
    d, t, dtype = matched(distances, targets, where, names=("distances", "targets"))
    fix = "mark like pairs 0 and unlike pairs 1."
    check_values(targets, lambda v: (v >= 0) & (v <= 1), "targets within [0, 1]", where=where, fix=fix)
    loss = (1 - t) * jnp.square(d) + t * jnp.square(rectified(margin - d))
    return reduced(loss, dtype, reduction, weight, where)


@answering
def contrastive(
    first: ArrayLike,
    second: ArrayLike,
    *,
    temperature: float = 0.1,
    kind: Literal["nt_xent", "info_nce"] = "nt_xent",
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Tell each pair of a batch from all its other vectors, by softmax over cosine similarities.

    ``"info_nce"``: ``loss_i = -log softmax_j(cos(first_i, second_j) / temperature)_i``.
    ``"nt_xent"``: the mean over the pair's two vectors of the same loss, each against all 2·batch - 1 others.

    Shapes:
        first and second (batch, features), row i of both being a pair; the result is a scalar, or (batch,).

    Arguments:
        temperature: above 0; lower values look harder at the nearest negatives.
        kind: ``"nt_xent"`` (SimCLR, symmetric) or ``"info_nce"`` (first looks for second; CLIP averages both orders).
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the pairs.
        weight: (batch,) weights of the pairs.

    Raises:
        RangeError: temperature not above 0, or an unknown kind.
        ShapeError, DtypeError: arguments of unlike shapes or not (batch, features), or not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> z = jnp.eye(2)
        >>> round(float(losses.contrastive(z, z, temperature=1.0, kind="info_nce")), 4)
        0.3133

    Source: Chen et al., A Simple Framework for Contrastive Learning, 2020; van den Oord et al., 2018.
    """
    where = "contrastive"
    above_zero("temperature", temperature, where)
    if kind not in ("nt_xent", "info_nce"):
        fix = "choose one of the two."
        raise RangeError('kind "nt_xent" or "info_nce"', got=describe(kind), fix=fix, where=where)
    a, b = floating(first, "first", where), floating(second, "second", where)
    same_shape(where, first=a, second=b)
    if a.ndim != 2:
        fix = "flatten each example into one vector."
        raise ShapeError("vectors of shape (batch, features)", got=describe(a), fix=fix, where=where)
    (a, b), dtype = widen(a, b)
    a, b = _unit(a), _unit(b)
    across = a @ b.T / temperature
    if kind == "info_nce":
        return reduced(-jnp.diagonal(jax.nn.log_softmax(across, axis=-1)), dtype, reduction, weight, where)
    own = jnp.eye(a.shape[0], dtype=bool)  # a vector is no candidate for itself
    of_first = jnp.concatenate([across, jnp.where(own, -jnp.inf, a @ a.T / temperature)], axis=-1)
    of_second = jnp.concatenate([across.T, jnp.where(own, -jnp.inf, b @ b.T / temperature)], axis=-1)
    log_p = jax.nn.log_softmax(jnp.stack([of_first, of_second]), axis=-1)
    loss = -jnp.mean(jnp.diagonal(log_p, axis1=1, axis2=2), axis=0)
    return reduced(loss, dtype, reduction, weight, where)


def _check_features(x: jax.Array, name: str, where: str) -> None:
    if x.ndim == 0 or x.shape[-1] == 0:
        fix = "put the features on the last axis."
        raise ShapeError(f"{name} of shape (..., features)", got=describe(x), fix=fix, where=where)


def _unit(x: jax.Array) -> jax.Array:
    scale = squarable(x, (x.ndim - 1,))
    x = x / scale
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12 / scale / scale)


def _similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(_unit(a) * _unit(b), axis=-1)
