"""DETR's loss, for which every object is matched to one query; and what its answers mean: boxes with scores.

The matching is exact, by optax's Hungarian algorithm, and runs in compiled code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from phlox.core import DtypeError, RangeError, ShapeError, StructureError, describe
from phlox.losses import cross_entropy
from phlox.models.vision._detr import DetrOutput
from phlox.models.vision._detr_config import DetrConfig
from phlox.nn.functional import box_convert, generalized_box_iou, softmax

Targets = Mapping[str, Any]


def detr_loss(output: DetrOutput, targets: Targets, *, config: DetrConfig | None = None) -> jax.Array:
    r"""The loss of a set of objects: $\mathrm{CE} + c_1 L_1 + c_2 (1 - \mathrm{GIoU})$, with each object's own query.

    Where the output has those of earlier layers, each of them is matched and adds its loss.

    Shapes:
        output: logits (batch, queries, classes + 1), boxes (batch, queries, 4); targets: ``"labels"``
        (batch, objects), -1 for padding, and ``"boxes"`` (batch, objects, 4): centre, width and height as shares of the
        picture; the loss is a scalar.

    Arguments:
        config: whose costs and coefficients count; those of the paper by default.

    Raises:
        StructureError: targets without these names, or no ``DetrOutput``. ShapeError: targets that do not fit the
            output. DtypeError: labels that are no integers. RangeError: a label of no class; in compiled code, where
            values are not at hand, it is not seen.

    Source: Carion et al., "End-to-end object detection with transformers", 2020, section 3.1.

    >>> import jax.numpy as jnp, phlox as px
    >>> output = px.models.DetrOutput(jnp.zeros((1, 3, 5)), jnp.full((1, 3, 4), 0.5))
    >>> targets = {"labels": jnp.array([[2, -1]]), "boxes": jnp.full((1, 2, 4), 0.5)}
    >>> round(float(px.models.detr_loss(output, targets)), 4)  # the box fits, and the classes are a guess
    1.6094
    """
    config = DetrConfig() if config is None else config
    coefficients = {"bbox": config.bbox_loss_coefficient, "giou": config.giou_loss_coefficient}
    parts = detr_losses(output, targets, config=config)
    kinds = {name: name.split("_")[1] for name in parts if name.startswith("loss_")}
    return jnp.sum(jnp.stack([parts[name] * coefficients.get(kind, 1) for name, kind in kinds.items()]))


def detr_losses(output: DetrOutput, targets: Targets, *, config: DetrConfig | None = None) -> dict[str, jax.Array]:
    """The parts of ``detr_loss``, each a scalar, by the names that transformers gives them.

    ``loss_ce``, ``loss_bbox`` and ``loss_giou``, and ``cardinality_error``, by how many the found objects are too many
    or too few; with ``_0``, ``_1``, … behind it what the earlier layers of the decoder give.

    Shapes, arguments, errors: as :func:`detr_loss`.

    >>> import jax.numpy as jnp, phlox as px
    >>> output = px.models.DetrOutput(jnp.zeros((1, 3, 5)), jnp.full((1, 3, 4), 0.5))
    >>> parts = px.models.detr_losses(output, {"labels": jnp.array([[2]]), "boxes": jnp.full((1, 1, 4), 0.4)})
    >>> round(float(parts["loss_bbox"]), 4)
    0.4
    """
    config = DetrConfig() if config is None else config
    _check_output(output, "detr_loss")
    labels, boxes = _targets(output, targets)
    layers = [output, *output.auxiliary]
    every = DetrOutput(jnp.concatenate([y.logits for y in layers]), jnp.concatenate([y.boxes for y in layers]))
    found = match(every, jnp.tile(labels, (len(layers), 1)), jnp.tile(boxes, (len(layers), 1, 1)), config)
    parts = {}
    for i, (layer, places) in enumerate(zip(layers, jnp.split(found, len(layers)), strict=True)):
        own = _losses(layer, places, labels, boxes, config)
        parts |= {f"{name}_{i - 1}" if i else name: loss for name, loss in own.items()}
    return parts


def detections(output: DetrOutput, sizes: Any = None, *, threshold: float = 0.0) -> dict[str, jax.Array]:
    """What a DETR found: of each query the box, the best class and its probability.

    The form is what ``px.metrics.MeanAveragePrecision`` reads.

    Shapes:
        sizes: (batch, 2), height and width of each picture in pixels; ``"boxes"`` (batch, queries, 4), corners in
        pixels, or as shares of the picture without sizes; ``"scores"`` (batch, queries); ``"labels"`` (batch, queries).

    Arguments:
        threshold: what does not score above it gets the label -1.

    Raises:
        StructureError: no ``DetrOutput``. ShapeError: sizes of another shape.

    >>> import jax.numpy as jnp, phlox as px
    >>> output = px.models.DetrOutput(jnp.array([[[0.0, 9.0, 0.0]]]), jnp.array([[[0.5, 0.5, 0.2, 0.4]]]))
    >>> found = px.models.detections(output, jnp.array([[100, 200]]), threshold=0.5)
    >>> found["boxes"].round().tolist(), found["labels"].tolist()
    ([[[80.0, 30.0, 120.0, 70.0]]], [[1]])
    """
    _check_output(output, "detections")
    chances = softmax(output.logits)[..., :-1]
    scores, boxes = chances.max(-1), box_convert(output.boxes, "cxcywh", "xyxy")
    labels = jnp.where(scores > threshold, chances.argmax(-1), -1)
    if sizes is not None:
        height, width = _sizes(sizes, len(boxes))
        boxes = boxes * jnp.stack([width, height, width, height], -1)[:, None].astype(boxes.dtype)
    return {"boxes": boxes, "scores": scores, "labels": labels}


def match(output: DetrOutput, labels: jax.Array, boxes: jax.Array, config: DetrConfig) -> jax.Array:
    """The query of each object (batch, objects), of all assignments the cheapest together; -1 for padding.

    Where there are more objects than queries, those that have none get -1 too. A cost that is not finite counts as
    larger than any other.
    """
    chances = jnp.swapaxes(softmax(output.logits), 1, 2)
    of_class = -jnp.take_along_axis(chances, jnp.maximum(labels, 0)[..., None], 1)
    distance = jnp.abs(boxes[:, :, None] - output.boxes[:, None]).sum(-1)
    overlap = generalized_box_iou(_corners(boxes), _corners(output.boxes))
    costs = config.class_cost * of_class + config.bbox_cost * distance - config.giou_cost * overlap
    costs = jax.lax.stop_gradient(costs.astype(jnp.promote_types(costs.dtype, jnp.float32)))
    usable = (labels >= 0)[..., None] & jnp.isfinite(costs)
    far = 2 * (1 + jnp.max(jnp.where(usable, jnp.abs(costs), 0), (1, 2), keepdims=True, initial=0)) * labels.shape[1]
    rows, columns = jax.vmap(optax.assignment.hungarian_algorithm)(jnp.where(usable, costs, far))
    found = jnp.full(labels.shape, -1).at[jnp.arange(len(labels))[:, None], rows].set(columns)
    return jnp.where(labels >= 0, found, -1)


def _losses(
    output: DetrOutput, found: jax.Array, labels: jax.Array, boxes: jax.Array, config: DetrConfig
) -> dict[str, jax.Array]:
    """The parts of one layer, with the query that was found for each object."""
    batch, queries, classes = output.logits.shape
    places = jnp.where(found < 0, queries, found)  # beyond the last: nowhere
    wanted = jnp.full((batch, queries), classes - 1).at[jnp.arange(batch)[:, None], places].set(labels, mode="drop")
    weights = jnp.ones(classes, output.logits.dtype).at[-1].set(config.eos_coefficient)
    here, ours = (found >= 0)[..., None], jnp.take_along_axis(output.boxes, jnp.maximum(found, 0)[..., None], 1)
    ours, theirs = jnp.where(here, ours, 0.5), jnp.where(here, boxes, 0.5)
    objects = jnp.maximum((labels >= 0).sum(), 1)
    overlap = generalized_box_iou(_corners(ours)[:, :, None], _corners(theirs)[:, :, None])[..., 0, 0]
    seen = (output.logits.argmax(-1) != classes - 1).sum(1)
    return {
        "loss_ce": cross_entropy(output.logits, wanted, class_weight=weights),
        "loss_bbox": jnp.abs(ours - theirs).sum() / objects,
        "loss_giou": (1 - overlap).sum() / objects,
        "cardinality_error": jnp.abs(seen - (labels >= 0).sum(1)).mean(dtype=output.logits.dtype),
    }


def _corners(boxes: jax.Array) -> jax.Array:
    return box_convert(boxes, "cxcywh", "xyxy")


def _targets(output: DetrOutput, targets: Targets) -> tuple[jax.Array, jax.Array]:
    """Labels and boxes, checked."""
    if not isinstance(targets, Mapping) or not {"labels", "boxes"} <= set(targets):
        fix = 'pass {"labels": (batch, objects), "boxes": (batch, objects, 4)}, padded with the label -1'
        raise StructureError("targets with labels and boxes", got=describe(targets), fix=fix, where="detr_loss")
    labels, boxes = jnp.asarray(targets["labels"]), jnp.asarray(targets["boxes"])
    if labels.ndim != 2 or len(labels) != len(output.logits) or boxes.shape != (*labels.shape, 4):
        expected = f"labels ({len(output.logits)}, objects) and boxes ({len(output.logits)}, objects, 4)"
        fix = "pad the objects of each picture to the same number, with the label -1"
        raise ShapeError(expected, got=f"{describe(labels)} and {describe(boxes)}", fix=fix, where="detr_loss")
    _check_labels(labels, output.logits.shape[-1] - 1)
    return labels, boxes.astype(output.boxes.dtype)


def _check_labels(labels: jax.Array, classes: int) -> None:
    """Refuse labels that are no whole numbers, and those outside -1 … classes - 1 where their values are at hand.

    Raises:
        DtypeError: no whole numbers. RangeError: no class.
    """
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise DtypeError("labels of integers", got=describe(labels), fix="labels.astype(int)", where="detr_loss")
    if isinstance(labels, Tracer):
        return
    numbers = np.asarray(labels)
    if numbers.size and (numbers.min() < -1 or numbers.max() >= classes):
        got = f"labels from {numbers.min()} to {numbers.max()}"
        fix = "count classes from 0, pad with -1, and leave out the class of none"
        raise RangeError(f"labels from -1 to {classes - 1}", got=got, fix=fix, where="detr_loss")


def _check_output(output: Any, where: str) -> None:
    if not isinstance(output, DetrOutput):
        fix = "pass what a DETR with a head gives"
        raise StructureError("a DetrOutput", got=describe(output), fix=fix, where=where)


def _sizes(sizes: Any, batch: int) -> tuple[jax.Array, jax.Array]:
    """Heights and widths (batch,)."""
    if jnp.shape(sizes) != (batch, 2):
        fix = "give height and width of each picture"
        raise ShapeError(f"sizes ({batch}, 2)", got=describe(sizes), fix=fix, where="detections")
    both = jnp.asarray(sizes)
    return both[:, 0], both[:, 1]
