"""ROC and precision-recall curves by slice, and the confusion matrix, through px.metrics."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import jit
from phlox.interpret.probing._rates import read_decisions
from phlox.metrics import ROCAUC, AveragePrecision, ConfusionMatrix, PrecisionRecallCurve, ROCCurve


@dataclass(frozen=True)
class ScoreCurves:
    """The curves of one slice, without points that repeat another; NaN where a kind of rows is lacking.

    Arguments:
        false_positive_rate, true_positive_rate: of the ROC curve, from (0, 0) to (1, 1), (points,).
        precision, recall: from (1, 0) on, (points,).
        area, average_precision: below the one, and the other.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    area: float
    average_precision: float


def curves_by_slice(scores: Any, target: Any, slices: Any = None, where: str = "curves") -> dict[Any, ScoreCurves]:
    """The curves of each slice, by its name; scores may be any numbers."""
    read = read_decisions(scores, target, slices, None, where)
    return {
        name: _curves(read.scores[read.codes == i], read.positive[read.codes == i])
        for i, name in enumerate(read.names)
    }  # fmt: skip


def confusion(predicted: Any, target: Any, classes: int) -> np.ndarray:
    """How many rows of each class (a row of the matrix) are called which, (classes, classes)."""
    matrix = ConfusionMatrix(classes)
    matrix.update(jnp.asarray(predicted, jnp.int32), jnp.asarray(target, jnp.int32))
    return np.asarray(matrix.compute())


def _curves(scores: np.ndarray, positive: np.ndarray) -> ScoreCurves:
    """Rows are filled up to a power of two, by such that weigh nothing, so that few programs are compiled."""
    room = 1 << (len(scores) - 1).bit_length()
    fill = room - len(scores)
    padded = np.pad(_ranks(scores), (0, fill)), np.pad(positive, (0, fill)), np.pad(np.ones(len(scores)), (0, fill))
    roc, pr, area, average = _measured(room)(*(jnp.asarray(a, jnp.float32) for a in padded))
    fpr, tpr = _distinct(roc.false_positive_rate, roc.true_positive_rate)
    recall, precision = _distinct(pr.recall[::-1], pr.precision[::-1])
    return ScoreCurves(fpr, tpr, precision, recall, float(area), float(average))


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Scores by their order alone: what differs in 64 bits also differs in 32."""
    return np.unique(scores, return_inverse=True)[1]


@functools.lru_cache(maxsize=32)
def _measured(room: int) -> Any:
    """All that is measured of so many scores, compiled."""

    @jit
    def measured(scores: Any, positive: Any, weight: Any) -> Any:
        metrics = [
            ROCCurve(capacity=room, logits=True), PrecisionRecallCurve(capacity=room, logits=True),
            ROCAUC(capacity=room, logits=True), AveragePrecision(capacity=room, logits=True),
        ]  # fmt: skip
        for metric in metrics:
            metric.update(scores, positive.astype(jnp.int32), weight)
        return [metric.compute() for metric in metrics]

    return measured


def _distinct(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points of a curve, each once."""
    points = np.stack([np.asarray(x), np.asarray(y)], 1)
    keep = np.append(True, (points[1:] != points[:-1]).any(1) & ~np.isnan(points[1:]).all(1))
    return points[keep, 0], points[keep, 1]
