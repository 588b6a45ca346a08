"""What is told for what: the confusion matrix, and what is read from it."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import State
from phlox.metrics import _reading, _sums
from phlox.metrics._metric import Metric, Statistics, spoiled


class _Confusion(Metric):
    """The weight of each pair of true and predicted class."""

    counts: State  # (2, classes, classes) true class by predicted class, as pairs
    _names = ("counts",)
    classes: int

    def _zero(self) -> Statistics:
        return {"counts": _sums.zeros(self.classes, self.classes)}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        return _reading.read_classes(prediction, target, weight, self.classes, f"{type(self).__name__}.update")

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        told = _reading.decided(p, t.ndim)
        inside = (t >= 0) & (t < self.classes) & (told >= 0) & (told < self.classes)
        pair = jnp.where(inside, t.astype(jnp.int32) * self.classes + told, -1)
        counts = _sums.counted(pair, w, self.classes**2).reshape(self.classes, self.classes)
        return spoiled({"counts": _sums.exact(counts)}, _reading.bad_classes(p, t, w, self.classes))

    def _value(self, statistics: Statistics) -> Any:
        return self._of(_sums.total(statistics["counts"]))

    def _of(self, counts: jax.Array) -> Any:
        """The value of counts (classes, classes)."""
        raise NotImplementedError


class ConfusionMatrix(_Confusion):
    r"""How often, or with what weight, each class (row) was taken for each class (column).

    Shapes:
        prediction: (..., classes) logits or probabilities, or (...) integer classes; target: (...) integer classes;
        weight: (...) or its leading axes; value: (classes, classes), true by predicted.

    Arguments:
        classes: how many there are.
        normalize: None counts; ``"true"`` divides by rows, ``"pred"`` by columns, ``"all"`` by everything. An empty
            row or column gives 0.

    Raises:
        RangeError: fewer than 2 classes, another ``normalize``; from ``update`` targets that are no class.
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    >>> import jax.numpy as jnp, phlox as px
    >>> matrix = px.metrics.ConfusionMatrix(2)
    >>> matrix.update(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]))
    >>> matrix.compute().tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """

    def __init__(self, classes: int, *, normalize: Literal["true", "pred", "all"] | None = None):
        self.classes: int = _reading.size("ConfusionMatrix", "classes", classes, 2)
        self.normalize: str | None = _reading.option(
            "ConfusionMatrix", "normalize", normalize, (None, "true", "pred", "all")
        )
        self.reset()

    def _of(self, counts: jax.Array) -> jax.Array:
        if self.normalize is None:
            return counts
        axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
        under = counts.sum(axis=axis, keepdims=True)
        return counts / jnp.where(under == 0, 1, under)


class MeanIoU(_Confusion):
    r"""Intersection over union, $TP / (TP + FP + FN)$, as the mean over the classes that occur.

    Classes in neither prediction nor target have no part in the mean; with ``average=None`` they are NaN.

    Shapes:
        prediction: (..., classes) logits or probabilities, or (...) integer classes; target: (...) integer classes;
        weight: (...) or its leading axes, such as ``target != 255``; value: (), or (classes,) with ``average=None``.

    Arguments:
        classes: how many there are.
        average: ``"macro"`` or None.

    Raises:
        RangeError: fewer than 2 classes, another average; from ``update`` targets that are no class.
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Everingham et al., "The Pascal visual object classes challenge", 2010.

    >>> import jax.numpy as jnp, phlox as px
    >>> iou = px.metrics.MeanIoU(3)
    >>> iou.update(jnp.array([[0, 1], [1, 1]]), jnp.array([[0, 0], [1, 1]]))
    >>> round(float(iou.compute()), 4)
    0.5833
    """

    def __init__(self, classes: int, *, average: Literal["macro"] | None = "macro"):
        self.classes: int = _reading.size("MeanIoU", "classes", classes, 2)
        self.average: str | None = _reading.option("MeanIoU", "average", average, ("macro", None))
        self.reset()

    def _of(self, counts: jax.Array) -> jax.Array:
        own = jnp.diagonal(counts)
        union = jnp.sum(counts, axis=0) + _without(counts).diagonal()
        iou = own / union
        if self.average is None:
            return iou
        return jnp.sum(jnp.where(union == 0, 0, iou)) / jnp.sum(union != 0)


class CohenKappa(_Confusion):
    r"""Agreement beyond chance, $1 - \sum w_{ij} O_{ij} / \sum w_{ij} E_{ij}$.

    O are the observed shares of pairs of classes, E those of independent raters with the same habits, and w what a
    disagreement costs. The value is NaN where prediction and target are of one class only.

    Shapes:
        prediction: (..., classes) logits or probabilities, or (...) integer classes; target: (...) integer classes;
        weight: (...) or its leading axes; value: ().

    Arguments:
        classes: how many there are.
        weights: the cost of taking class i for j: None is 1, ``"linear"`` \|i − j\|, ``"quadratic"`` (i − j)².

    Raises:
        RangeError: fewer than 2 classes, other weights; from ``update`` targets that are no class.
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Cohen, "A coefficient of agreement for nominal scales", 1960; "Weighted kappa", 1968.

    >>> import jax.numpy as jnp, phlox as px
    >>> kappa = px.metrics.CohenKappa(2)
    >>> kappa.update(jnp.array([0, 1, 1, 1]), jnp.array([0, 0, 1, 1]))
    >>> float(kappa.compute())
    0.5
    """

    def __init__(self, classes: int, *, weights: Literal["linear", "quadratic"] | None = None):
        self.classes: int = _reading.size("CohenKappa", "classes", classes, 2)
        self.weights: str | None = _reading.option("CohenKappa", "weights", weights, (None, "linear", "quadratic"))
        self.reset()

    def _of(self, counts: jax.Array) -> jax.Array:
        apart = jnp.abs(jnp.arange(self.classes)[:, None] - jnp.arange(self.classes))
        cost = {None: apart != 0, "linear": apart, "quadratic": apart**2}[self.weights].astype(counts.dtype)
        observed = counts / jnp.sum(counts)
        expected = observed.sum(1)[:, None] * observed.sum(0)
        return 1 - jnp.sum(cost * observed) / jnp.sum(cost * expected)


class MatthewsCorrelation(_Confusion):
    r"""The correlation of predicted and true classes, in [−1, 1].

    $(c s - \sum p_k t_k) / \sqrt{(s^2 - \sum p_k^2)(s^2 - \sum t_k^2)}$ with c right of s, class k predicted $p_k$ and
    true $t_k$ times; 0 where either is of one class only.

    Shapes:
        prediction: (..., classes) logits or probabilities, or (...) integer classes; target: (...) integer classes;
        weight: (...) or its leading axes; value: ().

    Arguments:
        classes: how many there are.

    Raises:
        RangeError: fewer than 2 classes; from ``update`` targets that are no class.
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004.

    >>> import jax.numpy as jnp, phlox as px
    >>> matthews = px.metrics.MatthewsCorrelation(2)
    >>> matthews.update(jnp.array([0, 1, 1, 1]), jnp.array([0, 0, 1, 1]))
    >>> round(float(matthews.compute()), 4)
    0.5774
    """

    def __init__(self, classes: int):
        self.classes: int = _reading.size("MatthewsCorrelation", "classes", classes, 2)
        self.reset()

    def _of(self, counts: jax.Array) -> jax.Array:
        # Sums of what is beside the diagonal, in place of differences that cancel where one class is nearly all.
        p = counts / jnp.sum(counts)
        told, true = p.sum(0), p.sum(1)
        in_row, in_column = _without(p).diagonal(), _without(p.T).diagonal()
        elsewhere = jnp.sum(jnp.where(jnp.eye(self.classes, dtype=bool), 0, _without(p)), axis=0)
        both = jnp.sum(jnp.diagonal(p) * elsewhere - in_row * in_column)
        spread = jnp.sum(told * _without(told)) * jnp.sum(true * _without(true))
        return jnp.where(spread == 0, 0, both / jnp.sqrt(jnp.where(spread == 0, 1, spread)))


def _without(x: jax.Array) -> jax.Array:
    """The sums along the last axis without each element: of (..., n) again (..., n), without cancellation."""
    zero = jnp.zeros_like(x[..., :1])
    before = jnp.cumsum(jnp.concatenate([zero, x[..., :-1]], axis=-1), axis=-1)
    behind = jnp.cumsum(jnp.concatenate([zero, x[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    return before + behind
