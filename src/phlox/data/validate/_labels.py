"""px.data.validate.label_noise: examples whose label is likely to be wrong, by predictions of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.data.validate._column import printable
from phlox.data.validate._listed import listed


@dataclass(frozen=True)
class LabelNoise:
    """Examples whose label is likely to be wrong.

    Attributes:
        rows: (found,) which, the most certain first.
        given, suggested: (found,) the label that each has, and the one that it is likely to be.
        margins: (found,) by how much more probable the suggested one is.
        joint: (classes, classes) the estimated share of examples that have one label and are another.
        classes: names.
    """

    rows: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray
    joint: np.ndarray
    classes: tuple[str, ...]

    @property
    def share(self) -> float:
        """The estimated share of wrong labels."""
        return float(1 - np.trace(self.joint))

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        rows = [
            (str(row), printable(self.classes[given]), printable(self.classes[better]), f"{margin:.2f}")
            for row, given, better, margin in zip(
                self.rows[:10], self.given, self.suggested, self.margins, strict=False
            )
        ]
        more = [f"… {len(self) - 10} more"] if len(self) > 10 else []
        head = f"{len(self)} labels are likely to be wrong, {self.share:.1%} by estimate"
        return "\n".join([head, listed(("row", "label", "rather", "margin"), rows), *more])

    __repr__ = __str__


def label_noise(labels: Any, probabilities: Any, *, classes: Sequence[str] | None = None) -> LabelNoise:
    r"""Examples whose label is likely to be wrong, by confident learning.

    Of each class j, $t_j$ is the mean probability of j over the examples that are labelled so. An example counts as j
    where its probability of j is at least $t_j$, and of several such classes as the most probable one. By these counts,
    scaled so that each label is as frequent as it is, the joint distribution of labels and classes is estimated. Of
    each label as many examples are found as it expects to be wrong: those in which another class is most ahead of the
    label ("prune by class").

    The probabilities must be of models that did not see the example: those of cross-validation, ``px.data.kfolds``.

    Shapes:
        labels: (n,) whole numbers from 0; probabilities: (n, classes).

    Arguments:
        classes: names of the classes.

    Raises:
        ShapeError: other shapes, or another number of names. RangeError: labels that are no class, rows that are no
            probabilities.

    Source: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", 2021.

    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.05, 0.95]]
    >>> label_noise([0, 0, 0, 1, 1], probabilities, classes=["cat", "dog"])
    1 labels are likely to be wrong, 20.0% by estimate
    row  label  rather  margin
      2  cat    dog       0.80
    """
    y, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    _check(y, p, classes)
    count = p.shape[1]
    sizes = np.bincount(y, minlength=count)
    thresholds = np.array([p[y == j, j].mean() if sizes[j] else np.inf for j in range(count)])
    confident = np.where(p >= thresholds, p, -1.0)
    better, counted = confident.argmax(1), confident.max(1) >= 0
    joint = _joint(y[counted], better[counted], sizes)
    others = np.where(np.arange(count) == y[:, None], -1.0, p)
    suggested = others.argmax(1)
    margins = others.max(1) - p[np.arange(len(y)), y]
    found = _most_likely(y, margins, joint)
    names = tuple(classes) if classes is not None else tuple(map(str, range(count)))
    return LabelNoise(found, y[found], suggested[found], margins[found], joint, names)


def _most_likely(y: np.ndarray, margins: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Of each label as many examples as the joint distribution expects to be wrong, those with the largest margins."""
    found = []
    for label, wrong in enumerate(joint.sum(1) - np.diag(joint)):
        rows = np.flatnonzero((y == label) & (margins > 0))
        found.append(rows[np.argsort(-margins[rows], kind="stable")[: round(wrong * len(y))]])
    rows = np.sort(np.concatenate(found))
    return rows[np.argsort(-margins[rows], kind="stable")]


def _joint(labels: np.ndarray, better: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The share of examples by label and class; where none of a label is counted, they are what they are called."""
    counts = np.zeros((len(sizes), len(sizes)))
    np.add.at(counts, (labels, better), 1)
    empty = counts.sum(1) == 0
    counts[empty, empty] = 1
    return counts / counts.sum(1, keepdims=True) * sizes[:, None] / sizes.sum()


def _check(y: np.ndarray, p: np.ndarray, classes: Sequence[str] | None) -> None:
    where = "label_noise"
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(p):
        got, fix = f"{describe(y)} and {describe(p)}", "give a label and a row of probabilities for each example"
        raise ShapeError("labels (n,), probabilities (n, classes)", got=got, fix=fix, where=where)
    if y.dtype.kind not in "iu" or (y < 0).any() or (y >= p.shape[1]).any():
        got, fix = describe(y) if y.dtype.kind not in "iu" else f"{y.min()} … {y.max()}", "count classes from 0"
        raise RangeError(f"labels from 0 to {p.shape[1] - 1}", got=got, fix=fix, where=where)
    odd = ~((p >= 0).all(1) & np.isclose(p.sum(1), 1, atol=1e-3))
    if odd.any():
        row = int(odd.argmax())
        fix = "give the softmax of the model's scores"
        raise RangeError("rows of probabilities", got=f"{p[row].tolist()} in row {row}"[:80], fix=fix, where=where)
    if classes is not None and len(classes) != p.shape[1]:
        fix = "name every class"
        raise ShapeError(f"{p.shape[1]} classes", got=str(len(classes)), fix=fix, where=where)
