"""Losses on scores of all pairs of a batch, of which those with themselves belong together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.losses._reduce import Reduction, floating, reduced, widen


@answering
def clip_loss(logits: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None) -> jax.Array:
    """Tell each image's own text from all texts of a batch, and each text's own image from all images, by softmax.

    ``loss_i = -(log softmax_j(logits_ij)_i + log softmax_j(logits_ji)_i) / 2``

    Shapes:
        logits (batch, batch): row i has image i's scores with all texts, of which text i is its own. The result is a
        scalar, or (batch,) with ``"none"``.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the pairs.
        weight: (batch,) weights of the pairs.

    Raises:
        ShapeError, DtypeError: logits that are not (batch, batch), or not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.clip_loss(jnp.eye(2))), 4)
        0.3133

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
    """
    scores, dtype = _square(logits, "clip_loss")
    both = jax.nn.log_softmax(jnp.stack([scores, scores.T]), axis=-1)
    own = jnp.diagonal(both, axis1=1, axis2=2)
    return reduced(-jnp.mean(own, axis=0), dtype, reduction, weight, "clip_loss")


@answering
def siglip_loss(logits: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None) -> jax.Array:
    """Tell of each image and each text of a batch whether they belong together, by sigmoid.

    ``loss_i = -Σ_j log σ(z_ij logits_ij)`` with z_ij = 1 where i = j and -1 elsewhere.

    Shapes:
        logits (batch, batch): row i has image i's scores with all texts, of which text i is its own. The result is a
        scalar, or (batch,) with ``"none"``.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the images.
        weight: (batch,) weights of the images.

    Raises:
        ShapeError, DtypeError: logits that are not (batch, batch), or not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.siglip_loss(jnp.array([[0.0]]))), 4)
        0.6931

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023.
    """
    scores, dtype = _square(logits, "siglip_loss")
    signs = 2 * jnp.eye(scores.shape[0], dtype=scores.dtype) - 1
    return reduced(-jnp.sum(jax.nn.log_sigmoid(signs * scores), axis=-1), dtype, reduction, weight, "siglip_loss")


def _square(logits: ArrayLike, where: str) -> tuple[jax.Array, jnp.dtype]:
    """Scores in the wide dtype, and the dtype of the result."""
    array = floating(logits, "logits", where)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        fix = "pass the scores of as many images as texts, those of one pair at the same place."
        raise ShapeError("logits of shape (batch, batch)", got=describe(array), fix=fix, where=where)
    (scores,), dtype = widen(array)
    return scores, dtype
