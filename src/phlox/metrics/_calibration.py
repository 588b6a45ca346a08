"""Calibration: whether what is told with 80 % is so in 80 % of the cases."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import State
from phlox.metrics import _reading, _sums
from phlox.metrics._metric import Metric, Statistics, spoiled


class CalibrationError(Metric):
    r"""The expected calibration error, $\sum_b n_b |\mathrm{acc}_b - \mathrm{conf}_b| / n$ over bins of confidence.

    With ``classes=True`` predictions are over classes, the confidence is the largest probability and right is what
    it points at; else predictions are of yes, and the share of yes in a bin is held against the mean probability.
    A bin holds $(b / B, (b + 1) / B]$, the first one 0 too.

    Shapes:
        prediction: (...) probabilities or logits, with ``classes=True`` (..., classes); target: (...) of 0 and 1, or
        integer classes; weight: (...) or its leading axes; value: ().

    Arguments:
        bins: how many bins there are, B.
        classes: predictions are over classes.
        norm: ``"l1"`` is the mean over bins, ``"l2"`` the root of the mean of squares, ``"max"`` the worst bin.
        logits: predictions are logits; else they are probabilities.

    Raises:
        RangeError: no bins, another norm; from ``update`` probabilities outside [0, 1], targets that are no class.
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> error = px.metrics.CalibrationError(bins=10)
    >>> error.update(jnp.array([0.75, 0.75, 0.75, 0.75]), jnp.array([1, 1, 0, 0]))
    >>> float(error.compute())
    0.25
    """

    count: State  # (2, bins) sums of weights, as pairs
    confidence: State  # (2, bins) sums of weight · probability
    correct: State  # (2, bins) sums of the weights where it is so
    _names = ("count", "confidence", "correct")
    classes: bool
    logits: bool

    def __init__(
        self,
        bins: int = 15,
        *,
        classes: bool = False,
        norm: Literal["l1", "l2", "max"] = "l1",
        logits: bool = False,
    ):
        self.bins: int = _reading.size("CalibrationError", "bins", bins)
        self.norm: str = _reading.option("CalibrationError", "norm", norm, ("l1", "l2", "max"))
        self.classes, self.logits = bool(classes), logits
        self.reset()

    def _zero(self) -> Statistics:
        return {name: _sums.zeros(self.bins) for name in self._names}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "CalibrationError.update"
        if not self.classes:
            return _reading.read_binary(prediction, target, weight, where, logits=self.logits)
        p, t, w = _reading.read_classes(prediction, target, weight, None, where, scores_only=True)
        _reading.check_scores(p, w, where, logits=self.logits)
        return p, t, w

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        p = p.astype(jnp.promote_types(p.dtype, jnp.float32))
        if self.classes:
            bad = _reading.bad_classes(p, t, w, None)
            right = jnp.argmax(p, axis=-1) == t
            p = jnp.max(jax.nn.softmax(p, axis=-1) if self.logits else p, axis=-1)
            bad |= ~((p >= 0) & (p <= 1)) & (w != 0)
        else:
            bad = _reading.bad_binary(p, t, w, logits=self.logits)
            right, p = t != 0, jax.nn.sigmoid(p) if self.logits else p
        edges = jnp.linspace(0, 1, self.bins + 1, dtype=p.dtype)[1:-1]
        at = jnp.searchsorted(edges, p, side="left")
        p = jnp.where(w == 0, 0, p)
        sums = {"count": w, "confidence": w * p, "correct": w * right}
        return spoiled({k: _sums.exact(_sums.counted(at, v, self.bins)) for k, v in sums.items()}, bad)

    def _value(self, statistics: Statistics) -> jax.Array:
        count, confidence, correct = (_sums.total(statistics[name]) for name in self._names)
        gap = jnp.abs(correct - confidence) / jnp.where(count == 0, 1, count)
        if self.norm == "max":
            return jnp.max(gap) + 0 / jnp.sum(count)  # NaN of no data
        if self.norm == "l2":
            return jnp.sqrt(jnp.sum(count * gap**2) / jnp.sum(count))
        return jnp.sum(count * gap) / jnp.sum(count)
