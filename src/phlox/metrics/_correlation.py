"""Explained variance and correlation, of values and of ranks."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import DtypeError, ShapeError, State, describe
from phlox.metrics import _reading, _sums
from phlox.metrics._mean import numbers, wide
from phlox.metrics._metric import Metric, Statistics, spoiled
from phlox.metrics._store import Kept


def _centred(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The weighted mean over the first axis, and the distances from it; what has no weight does not count."""
    x = jnp.where(w == 0, 0, x)
    count = jnp.sum(w, axis=0)
    mean = jnp.sum(x * w, axis=0) / jnp.where(count == 0, 1, count)
    return mean, jnp.where(w == 0, 0, x - mean)


def _unit(sizes: Any) -> jax.Array:
    """A power of two above all sizes along the first axis, whose squares do not vanish in it; 0 where all are 0."""
    largest = jnp.max(jnp.abs(jnp.asarray(sizes, jnp.float32)), axis=0, initial=0)
    _, exponent = jnp.frexp(largest)
    power = jnp.ldexp(jnp.float32(1), jnp.minimum(exponent, 127))
    return jnp.where((largest > 0) & jnp.isfinite(largest), power, 0)


def _in_unit(x: jax.Array, unit: jax.Array) -> jax.Array:
    return x / jnp.where(unit == 0, 1, unit)


def _pooled(a: Statistics, b: Statistics, pairs: dict[str, tuple[str, str]]) -> Statistics:
    """Counts, means and sums of squares around the mean of two lots of data together.

    ``pairs`` says which means a sum of products belongs to. Sums of squares around zero would cancel, and those of tiny
    or huge numbers leave the range of float32: they are kept in units, a power of two for each mean.
    """
    na, nb = _sums.total(a["count"]), _sums.total(b["count"])
    n = jnp.where(na + nb == 0, 1, na + nb)
    pooled = {"count": _sums.plus(a["count"], b["count"])}
    step: dict[str, jax.Array] = {}
    for name in sorted({name for pair in pairs.values() for name in pair}):
        mean, unit = f"mean_{name}", f"unit_{name}"
        apart = _sums.total(_sums.plus(b[mean], -a[mean]))
        pooled[mean] = _sums.plus(a[mean], _sums.exact(apart * (nb / n)))
        apart = jnp.where(na * nb == 0, 0, apart)  # from a lot that holds nothing
        pooled[unit] = _unit([a[unit] / 2, b[unit] / 2, apart])
        step[name] = _in_unit(apart, pooled[unit])
    for name, (left, right) in pairs.items():
        between = _sums.exact(step[left] * step[right] * (na * (nb / n)))
        pooled[name] = _sums.plus(_added(a, b, name, pooled, left, right), between)
    return pooled


def _added(a: Statistics, b: Statistics, name: str, pooled: Statistics, left: str, right: str) -> jax.Array:
    """The sum of two sums of products, each brought from its own units into the common ones."""
    left, right = f"unit_{left}", f"unit_{right}"
    old, new = (lot[name] * _in_unit(lot[left], pooled[left]) * _in_unit(lot[right], pooled[right]) for lot in (a, b))
    return _sums.plus(old, new)


class R2Score(Metric):
    r"""The share of variance that is explained, $1 - \sum w (y - \hat y)^2 / \sum w (y - \bar y)^2$.

    Shapes:
        prediction, target: any, the same, each element an example; with ``outputs`` (..., outputs), each column by
        itself. weight: the same without outputs, or its leading axes; value: (), or (outputs,) with ``average=None``.

    Arguments:
        outputs: how many columns there are; None takes all elements as one.
        average: ``"macro"`` is the mean over columns, None no mean.

    Raises:
        RangeError: no outputs, another average. ShapeError: from ``update``, shapes that differ.

    The value is NaN for a constant target, and before the second example.

    Source: Draper and Smith, "Applied regression analysis", 3rd edition, 1998, section 1.3.

    >>> import jax.numpy as jnp, phlox as px
    >>> score = px.metrics.R2Score()
    >>> score.update(jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 2.0, 3.0]))
    >>> float(score.compute())
    0.5
    """

    count: State  # (2, outputs) sums of weights, as pairs
    mean_y: State  # (2, outputs) mean target
    unit_y: State  # (outputs,) what distances from it are counted in
    unit_error: State  # (outputs,) what errors are counted in
    variance: State  # (2, outputs) sums of squares around the mean
    residual: State  # (2, outputs) sums of squared errors
    _names = ("count", "mean_y", "unit_y", "unit_error", "variance", "residual")

    def __init__(self, *, outputs: int | None = None, average: Literal["macro"] | None = "macro"):
        self.outputs: int | None = None if outputs is None else _reading.size("R2Score", "outputs", outputs)
        self.average: str | None = _reading.option("R2Score", "average", average, ("macro", None))
        self.reset()

    def _zero(self) -> Statistics:
        shape = self.outputs or 1
        return {name: jnp.zeros(shape) if name.startswith("unit") else _sums.zeros(shape) for name in self._names}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "R2Score.update"
        p, t, _ = numbers(prediction, target, None, where)
        if self.outputs is None:
            return p, t, _reading.weights(weight, t.shape, where)
        if t.ndim == 0 or t.shape[-1] != self.outputs:
            fix = "put the outputs last, or construct the metric for as many as there are"
            raise ShapeError(f"a target of (..., {self.outputs})", got=describe(t), fix=fix, where=where)
        return p, t, _reading.weights(weight, t.shape[:-1], where)

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        p, t = (wide(x).reshape(-1, self.outputs or 1) for x in (p, t))
        bad = ~(w >= 0)
        w = jnp.broadcast_to(w.reshape(-1, 1), t.shape)
        mean, apart = _centred(t, w)
        error = jnp.where(w == 0, 0, p - t)
        units = {"unit_y": _unit(apart), "unit_error": _unit(error)}
        apart, error = _in_unit(apart, units["unit_y"]), _in_unit(error, units["unit_error"])
        sums = {"count": w, "variance": w * apart**2, "residual": w * error**2}
        exact = {k: _sums.exact(jnp.sum(v, axis=0)) for k, v in sums.items()}
        return spoiled({**exact, "mean_y": _sums.exact(mean)}, bad) | units

    def _combine(self, a: Statistics, b: Statistics) -> Statistics:
        pooled = _pooled(a, b, {"variance": ("y", "y")})
        pooled["unit_error"] = _unit([a["unit_error"] / 2, b["unit_error"] / 2])
        return {**pooled, "residual": _added(a, b, "residual", pooled, "error", "error")}

    def _value(self, statistics: Statistics) -> jax.Array:
        variance = _sums.total(statistics["variance"])
        ratio = _in_unit(statistics["unit_error"], statistics["unit_y"])
        score = 1 - _sums.total(statistics["residual"]) / jnp.where(variance > 0, variance, jnp.nan) * ratio**2
        return score if self.average is None and self.outputs else jnp.mean(score)


class PearsonCorrelation(Metric):
    r"""The linear correlation of prediction and target, $s_{xy} / \sqrt{s_{xx} s_{yy}}$.

    Shapes:
        prediction, target: any, the same, each element an example; weight: the same, or its leading axes; value: ().

    Raises:
        ShapeError: from ``update``, shapes that differ.

    The value is NaN where either is constant.

    Source: Pearson, "Notes on regression and inheritance in the case of two parents", 1895.

    >>> import jax.numpy as jnp, phlox as px
    >>> correlation = px.metrics.PearsonCorrelation()
    >>> correlation.update(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 3.0, 2.0]))
    >>> round(float(correlation.compute()), 4)
    0.5
    """

    count: State  # (2,) sum of weights, as a pair
    mean_x: State  # (2,) mean prediction
    mean_y: State  # (2,) mean target
    unit_x: State  # () what distances of the prediction from its mean are counted in
    unit_y: State  # () the same of the target
    xx: State  # (2,) sum of squares of the prediction around its mean
    xy: State  # (2,) sum of products
    yy: State  # (2,) sum of squares of the target around its mean
    _names = ("count", "mean_x", "mean_y", "unit_x", "unit_y", "xx", "xy", "yy")

    def __init__(self) -> None:
        self.reset()

    def _zero(self) -> Statistics:
        return {name: jnp.zeros(()) if name.startswith("unit") else _sums.zeros() for name in self._names}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        return numbers(prediction, target, weight, "PearsonCorrelation.update")

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = (x.ravel() for x in arrays)
        mean_x, x = _centred(wide(p), w)
        mean_y, y = _centred(wide(t), w)
        units = {"unit_x": _unit(x), "unit_y": _unit(y)}
        x, y = _in_unit(x, units["unit_x"]), _in_unit(y, units["unit_y"])
        sums = {"count": jnp.sum(w), "mean_x": mean_x, "mean_y": mean_y}
        sums |= {"xx": jnp.sum(w * x * x), "xy": jnp.sum(w * x * y), "yy": jnp.sum(w * y * y)}
        return spoiled({k: _sums.exact(v) for k, v in sums.items()}, ~(w >= 0)) | units

    def _combine(self, a: Statistics, b: Statistics) -> Statistics:
        return _pooled(a, b, {"xx": ("x", "x"), "xy": ("x", "y"), "yy": ("y", "y")})

    def _value(self, statistics: Statistics) -> jax.Array:
        xx, xy, yy = (_sums.total(statistics[name]) for name in ("xx", "xy", "yy"))
        return xy / (jnp.sqrt(xx) * jnp.sqrt(yy))


class SpearmanCorrelation(Kept):
    r"""The correlation of the ranks of prediction and target, equal values sharing their mean rank.

    Ranks need all values: as many as the capacity are kept in State. One more is an error line by line, and NaN in a
    compiled program.

    Shapes:
        prediction, target: any, the same, each element an example; weight: a mask of booleans, the same or its
        leading axes; value: ().

    Arguments:
        capacity: how many examples are kept, at most 2^24.

    Raises:
        RangeError: a capacity out of range; from ``update``, more than it.
        ShapeError, DtypeError: from ``update``, shapes that differ, weights that are no mask.

    Source: Spearman, "The proof and measurement of association between two things", 1904.

    >>> import jax.numpy as jnp, phlox as px
    >>> correlation = px.metrics.SpearmanCorrelation(capacity=10)
    >>> correlation.update(jnp.array([1.0, 10.0, 100.0]), jnp.array([1.0, 3.0, 2.0]))
    >>> round(float(correlation.compute()), 4)
    0.5
    """

    prediction: State  # (capacity,)
    target: State  # (capacity,)
    weight: State  # (capacity,) booleans, true where in use
    seen: State  # () rows kept
    _names = ("prediction", "target", "weight", "seen")

    def __init__(self, *, capacity: int):
        self._check_capacity("SpearmanCorrelation", capacity)
        self.reset()

    def _zero(self) -> Statistics:
        assert self.capacity is not None
        empty = {"prediction": jnp.zeros(self.capacity), "target": jnp.zeros(self.capacity)}
        return {**empty, "weight": jnp.zeros(self.capacity, bool), "seen": jnp.zeros((), jnp.int32)}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = "SpearmanCorrelation.update"
        if weight is not None and jnp.asarray(weight).dtype != bool:
            fix = "leave examples out by a mask, such as weight > 0: ranks have no weights"
            raise DtypeError("a mask of booleans as weight", got=describe(weight), fix=fix, where=where)
        p, t, w = numbers(prediction, target, weight, where)
        self._check_room(w)
        return p, t, w

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = (x.ravel() for x in arrays)
        return self._rows(w != 0, prediction=wide(p), target=wide(t))

    def _value(self, statistics: Statistics) -> jax.Array:
        used = statistics["weight"]
        x, y = (_ranks(statistics[name], used) for name in ("prediction", "target"))
        (_, x), (_, y) = _centred(x, used), _centred(y, used)
        full = jnp.where(statistics["seen"] > used.size, jnp.nan, 0)  # more was given than was kept
        return jnp.sum(x * y) / (jnp.sqrt(jnp.sum(x * x)) * jnp.sqrt(jnp.sum(y * y))) + full


def _ranks(x: jax.Array, used: jax.Array) -> jax.Array:
    """The ranks of what is used, from 1, equal values sharing their mean; NaN where a value is none."""
    ordered = jnp.sort(jnp.where(used, x, jnp.inf))
    below, count = jnp.searchsorted(ordered, x, side="left"), jnp.sum(used)
    to = jnp.minimum(jnp.searchsorted(ordered, x, side="right"), count)
    return (below + to + 1) / 2 + jnp.where(jnp.any(used & jnp.isnan(x)), jnp.nan, 0)
