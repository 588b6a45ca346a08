"""Boxes of detectors: those that overlap better ones go."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_CURE = "boxes and scores, of which as many stay as they overlap (cut the model before it under a transform),"


@OPERATORS.on("NonMaxSuppression", since=10)
def _suppression(call: Call, boxes: Any, scores: Any, *more: Any) -> Any:
    """Rows (image, class, box), image by image, class by class, the best first; outside of transforms alone."""
    given = (None if x is None else call.known(x, "a bound of it").reshape(()).item() for x in call.filled(more, 3))
    most, overlap, least = given
    corners, scores = _corners(call, call.known(boxes, _CURE)), call.known(scores, _CURE)
    rows = [
        (image, kind, box)
        for image, kind in np.ndindex(*scores.shape[:2])
        for box in _best(corners[image], scores[image, kind], most or 0, overlap or 0.0, least)
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def _corners(call: Call, boxes: np.ndarray) -> np.ndarray:
    """(…, 4) as low and high corners, whichever way round the file has them."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if call.get("center_point_box", 0):
        return np.concatenate([first - second / 2, first + second / 2], -1)
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)


def _best(boxes: np.ndarray, scores: np.ndarray, most: int, overlap: float, least: float | None) -> list[int]:
    """The best box, then each next one that none of those overlaps by more."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if len(kept) >= most or (least is not None and scores[i] <= least):
            break
        if not kept or _shared(boxes[i], boxes[kept]).max() <= overlap:
            kept.append(int(i))
    return kept


def _shared(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What a box and each of others share, of what they cover together."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.prod(np.maximum(sides, 0), -1)
    total = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], -1) - both
    return np.where(total > 0, both / np.where(total > 0, total, 1), 0)
