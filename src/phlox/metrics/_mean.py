"""Means: of numbers, of a loss, and of surprise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import DtypeError, RangeError, ShapeError, State, describe
from phlox.metrics import _reading, _sums
from phlox.metrics._metric import Metric, Statistics, spoiled


class Average(Metric):
    """The weighted mean of numbers; what they are, a class says."""

    total: State  # (2,) sum of weight · value, as a pair
    count: State  # (2,) sum of the weights, as a pair
    _names = ("total", "count")

    def _zero(self) -> Statistics:
        return {"total": _sums.zeros(), "count": _sums.zeros()}

    def _averaged(self, values: jax.Array, weight: jax.Array) -> Statistics:
        values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
        counted = jnp.where(weight == 0, 0, values)  # NaN and infinity in padding do not count
        sums = {"total": _sums.exact(jnp.sum(counted * weight)), "count": _sums.exact(jnp.sum(weight))}
        return spoiled(sums, ~(weight >= 0))

    def _value(self, statistics: Statistics) -> jax.Array:
        return _sums.total(statistics["total"]) / _sums.total(statistics["count"])


class Mean(Average):
    r"""The mean of numbers such as losses, $\sum w v / \sum w$, or of a loss of prediction and target.

    Without ``loss``, ``update(values, weight=...)`` takes numbers: the mean loss of a batch has the weight of its
    size. With it, ``update(prediction, target, weight)`` computes the loss of each place.

    Shapes:
        values, or what the loss returns: any; weight: the same, or its leading axes; value: ().

    Arguments:
        loss: a function of ``px.losses``, or one that takes ``(prediction, target, reduction="none")`` as they do.

    Raises:
        ShapeError: from ``update``, weights that do not match; a target without a loss, or none with one.

    >>> import jax.numpy as jnp, phlox as px
    >>> loss = px.metrics.Mean()
    >>> loss.update(jnp.array(0.5), weight=jnp.array(32)); loss.update(jnp.array(1.0), weight=jnp.array(8))
    >>> round(float(loss.compute()), 4)
    0.6
    """

    _own_update = False  # below only what may be left out differs

    def __init__(self, loss: Callable[..., jax.Array] | None = None):
        self.loss = loss
        self.reset()

    def update(
        self, prediction: Any, target: Any = None, weight: ArrayLike | None = None, *, axis_name: str | None = None
    ) -> None:
        """Take numbers in, or with a loss predictions and targets; as ``Metric.update``."""
        super().update(prediction, target, weight, axis_name=axis_name)

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "Mean.update"
        if (target is None) != (self.loss is None):
            told = "values alone" if self.loss is None else "a prediction and a target"
            fix = "pass weights by name, weight=..." if self.loss is None else "pass the target second"
            got = "a second argument" if self.loss is None else "no target"
            raise ShapeError(told, got=got, fix=fix, where=where)
        values = prediction if self.loss is None else self.loss(prediction, target, reduction="none")
        values = _reading.real(values, "value", where)
        return values, _reading.weights(weight, values.shape, where)

    def _measure(self, *arrays: Any) -> Statistics:
        return self._averaged(*arrays)


class Perplexity(Average):
    r"""How many equally likely words a model hesitates between, $\exp(-\sum w \log p_y / \sum w)$.

    Shapes:
        prediction: (..., classes) probabilities, or logits; target: (...) integer classes;
        weight: (...) or its leading axes, such as the mask of padding; value: ().

    Arguments:
        logits: predictions are logits, whose softmax is the probability; else they are probabilities.
        losses: predictions are what a loss gives for each word, $-\log p_y$ in nats, (...), and there is no target;
            a mean over words is one number, whose weight is how many they are.

    Raises:
        RangeError: logits and losses; from ``update``, probabilities outside [0, 1], targets that are no class.
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Jelinek, Mercer, Bahl and Baker, "Perplexity: a measure of difficulty of speech recognition tasks", 1977.

    >>> import jax.numpy as jnp, phlox as px
    >>> perplexity = px.metrics.Perplexity(logits=True)
    >>> perplexity.update(jnp.zeros((2, 3, 5)), jnp.zeros((2, 3), int))
    >>> round(float(perplexity.compute()), 4)
    5.0
    >>> perplexity = px.metrics.Perplexity(losses=True)
    >>> perplexity.update(jnp.log(jnp.array([2.0, 8.0])))
    >>> round(float(perplexity.compute()), 4)
    4.0
    """

    logits: bool
    losses: bool

    _own_update = False  # below only what may be left out differs

    def __init__(self, *, logits: bool = False, losses: bool = False):
        if logits and losses:
            fix = "choose what predictions are"
            raise RangeError("logits or losses", got="both", fix=fix, where="Perplexity")
        self.logits, self.losses = logits, losses
        self.reset()

    def update(
        self, prediction: Any, target: Any = None, weight: ArrayLike | None = None, *, axis_name: str | None = None
    ) -> None:
        """Take predictions and targets in, or with ``losses`` losses alone; as ``Metric.update``."""
        super().update(prediction, target, weight, axis_name=axis_name)

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "Perplexity.update"
        if (target is None) != self.losses:
            told = "losses alone" if self.losses else "a prediction and a target"
            fix = "pass weights by name, weight=..." if self.losses else "pass the target second, or say losses=True"
            raise ShapeError(told, got="no target" if target is None else "a second argument", fix=fix, where=where)
        if self.losses:
            values = _reading.real(prediction, "loss", where)
            return values, _reading.weights(weight, values.shape, where)
        p, t, w = _reading.read_classes(prediction, target, weight, None, where, scores_only=True)
        _reading.check_scores(p, w, where, logits=self.logits)
        return p, t, w

    def _measure(self, *arrays: Any) -> Statistics:
        if self.losses:
            return self._averaged(*arrays)
        p, t, w = arrays
        p = p.astype(jnp.promote_types(p.dtype, jnp.float32))
        at = jnp.clip(t, 0, p.shape[-1] - 1)[..., None]
        own = jnp.take_along_axis(p, at, axis=-1)[..., 0]
        surprise = jax.nn.logsumexp(p, axis=-1) - own if self.logits else -jnp.log(own)
        bad = _reading.bad_classes(p, t, w, None)
        if not self.logits:
            bad |= (~((p >= 0) & (p <= 1)).all(-1)) & (w != 0)
        return spoiled(self._averaged(surprise, w), bad)

    def _value(self, statistics: Statistics) -> jax.Array:
        return jnp.exp(super()._value(statistics))


def numbers(prediction: Any, target: Any, weight: Any, where: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Real numbers of one shape, and their weights."""
    p, t = _reading.real(prediction, "prediction", where), _reading.real(target, "target", where)
    _reading.same_shape(p, t, where)
    if p.dtype == bool or t.dtype == bool:
        fix = "use the accuracies for decisions, or convert with .astype(float)"
        raise DtypeError("numbers", got=f"{describe(p)} and {describe(t)}", fix=fix, where=where)
    return p, t, _reading.weights(weight, t.shape, where)


def wide(x: jax.Array) -> jax.Array:
    """An array in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
