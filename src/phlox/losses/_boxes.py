"""Losses of boxes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import ShapeError, describe
from phlox.losses._one_call import one_call
from phlox.losses._reduce import Reduction, matched, reduced
from phlox.nn.functional import generalized_box_iou


@one_call("reduction")
def generalized_iou(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    r"""One minus the generalised IoU of each box with its own target, which also draws boxes apart together.

    $1 - IoU + |C - A \cup B| / |C|$, with C the smallest box around both.

    Shapes:
        prediction and target (..., 4), corners x1 <= x2, y1 <= y2; the loss is a scalar, or (...) with
        ``reduction="none"``.

    Arguments:
        prediction: boxes as corners; ``px.nn.functional.box_convert`` makes them from centres and sizes.
        reduction: ``"mean"`` is Σ weight·loss / Σ weight; ``"sum"`` over the number of objects is DETR's.
        weight: one weight per box, or per leading axes; 0 for padding.

    Raises:
        ShapeError, DtypeError: arguments of unlike shapes, a last axis that is not 4.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.generalized_iou(jnp.array([[0.0, 0.0, 1.0, 1.0]]), jnp.array([[3.0, 0.0, 4.0, 1.0]])))
        1.5

    Source: Rezatofighi et al., Generalized Intersection over Union, 2019.
    """
    p, t, dtype = matched(prediction, target, "generalized_iou")
    if p.ndim < 1 or p.shape[-1] != 4:
        fix = "give four numbers for each box, along the last axis."
        raise ShapeError("boxes (..., 4)", got=describe(jnp.asarray(prediction)), fix=fix, where="generalized_iou")
    each = 1 - generalized_box_iou(p[..., None, :], t[..., None, :])[..., 0, 0]
    return reduced(each, dtype, reduction, weight, "generalized_iou")
