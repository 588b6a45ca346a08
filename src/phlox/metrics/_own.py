"""Metrics of one's own: from a function, from sums, and of one output among several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, State, StructureError, describe
from phlox.metrics import _reading, _sums
from phlox.metrics._mean import Average
from phlox.metrics._metric import Metric, Statistics, spoiled


class FromFunction(Average):
    """The mean over examples of a function's values; made by ``from_function``."""

    function: Callable[[Any, Any], Any]
    name: str

    def __init__(self, function: Callable[[Any, Any], Any], name: str):
        self.function, self.name = function, name
        self.reset()

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = f"{self.name}.update"
        values = _per_example(self.function(prediction, target), "the function's values", where)
        return values, _reading.weights(weight, values.shape, where)

    def _measure(self, *arrays: Any) -> Statistics:
        return self._averaged(*arrays)


def from_function(function: Callable[[Any, Any], Any], name: str | None = None) -> FromFunction:
    r"""A metric from a plain function: the mean of its values over examples, $\sum w f(\hat y, y) / \sum w$.

    Shapes:
        prediction, target: what the function takes, arrays or a dict of them; the function's values: (batch, ...), a
        number for each example (or for each of its elements); weight: (batch,) or as the values; value: ().

    Arguments:
        function: ``function(prediction, target)``, of JAX operations, that does not average over the batch itself:
            padding could not be left out then.
        name: what it is called in messages and in ``metrics=[...]``; the function's name unless given.

    Raises:
        RangeError: no function. ShapeError: from ``update``, a function that gives one number for the whole batch.

    >>> import jax.numpy as jnp, phlox as px
    >>> within = px.metrics.from_function(lambda p, t: abs(p - t) < 0.5, name="within a half")
    >>> within.update(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.2, 4.0, 2.9]))
    >>> round(float(within.compute()), 4)
    0.6667
    """
    if not callable(function):
        fix = "pass the function itself, such as lambda prediction, target: abs(prediction - target)"
        where = "from_function"
        raise RangeError("a function of (prediction, target)", got=describe(function), fix=fix, where=where)
    return FromFunction(function, name or getattr(function, "__name__", type(function).__name__))


class Sums(Metric):
    r"""A metric that is a function of sums over examples: say what is summed, and what the value is.

    A class gives ``names``, ``measure`` and ``value``; weights, padding, batches, devices and merging are done here,
    and sums are exact as those of every metric. What two numbers a ratio takes are two sums, of which neither is a
    mean: the value is then that of all data at once.

    Shapes:
        what ``measure`` gives by name: (batch, ...) each; weight: (batch,) or their leading axes; the sums: () each.

    Raises:
        RangeError: from the constructor, a class without ``names``. StructureError: from ``update``, other names.

    >>> import jax.numpy as jnp, phlox as px
    >>> class RelativeError(px.metrics.Sums):
    ...     names = ("error", "size")
    ...
    ...     def measure(self, prediction, target):
    ...         return {"error": abs(prediction - target), "size": abs(target)}
    ...
    ...     def value(self, sums):
    ...         return sums["error"] / sums["size"]
    >>> error = RelativeError()
    >>> error.update(jnp.array([1.0, 3.0]), jnp.array([2.0, 2.0])); error.update(jnp.array([4.0]), jnp.array([4.0]))
    >>> float(error.compute())
    0.25
    """

    names: ClassVar[tuple[str, ...]] = ()
    sums: State  # (2, names) sums of weight · value, as pairs
    _names = ("sums",)

    def __init__(self) -> None:
        name = type(self).__name__
        if not self.names or isinstance(self.names, str):
            fix = 'write names = ("error", "size") in the class'
            raise RangeError("names of sums, a tuple", got=repr(self.names), fix=fix, where=name)
        self.reset()

    def measure(self, prediction: Any, target: Any) -> dict[str, Any]:
        """Numbers for each example, by name; what they are summed to, ``value`` gets."""
        raise NotImplementedError

    def value(self, sums: dict[str, jax.Array]) -> Any:
        """The value of the sums."""
        raise NotImplementedError

    def _zero(self) -> Statistics:
        return {"sums": _sums.zeros(len(self.names))}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where, found = f"{type(self).__name__}.update", self.measure(prediction, target)
        if not isinstance(found, dict) or set(found) != set(self.names):
            got = ", ".join(found) if isinstance(found, dict) else describe(found)
            fix = "let measure return a dict of the names of the class"
            raise StructureError(f"sums {', '.join(self.names)}", got=got, fix=fix, where=where)
        values = [_per_example(found[name], name, where) for name in self.names]
        return tuple((v, _reading.weights(weight, v.shape, where)) for v in values)

    def _measure(self, *arrays: Any) -> Statistics:
        parts, bad = [], jnp.zeros((), bool)
        for values, weight in arrays:
            wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
            parts.append(_sums.exact(jnp.sum(jnp.where(weight == 0, 0, wide) * weight)))
            bad |= jnp.any(~(weight >= 0))
        return spoiled({"sums": jnp.stack(parts, axis=-1)}, bad)

    def _value(self, statistics: Statistics) -> Any:
        return self.value(dict(zip(self.names, _sums.total(statistics["sums"]), strict=True)))


class Select(Metric):
    """A metric of one output among several: of a model that gives a dict or a tuple.

    Shapes: as those of the metric, after the choice.

    Arguments:
        metric: what is measured.
        prediction: which output: a key, a number in a tuple, or a function of all outputs; None takes what is given.
        target: which target, likewise.

    Raises:
        RangeError: no metric. StructureError: from ``update``, an output that there is not.

    >>> import jax.numpy as jnp, phlox as px
    >>> accuracy = px.metrics.Select(px.metrics.Accuracy(), "label", target="label")
    >>> accuracy.update({"label": jnp.array([[0.9, 0.1]]), "box": jnp.zeros((1, 4))}, {"label": jnp.array([0])})
    >>> float(accuracy.compute())
    1.0
    """

    metric: Metric
    prediction: Any
    target: Any

    def __init__(self, metric: Metric, prediction: Any = None, *, target: Any = None):
        if not isinstance(metric, Metric):
            fix = "give the metric first: px.metrics.Select(px.metrics.Accuracy(), 'logits')"
            raise RangeError("a metric", got=describe(metric), fix=fix, where="Select")
        self.metric, self.prediction, self.target = metric, prediction, target

    @property
    def _own_update(self) -> bool:  # type: ignore[override]
        return self.metric._own_update

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        p, t = _chosen(prediction, self.prediction, "prediction"), _chosen(target, self.target, "target")
        return self.metric._read(p, t, weight)

    def _absorb(self, arrays: tuple[Any, ...], axis_name: str | None) -> None:
        self.metric._absorb(arrays, axis_name)

    def update(self, prediction: Any, target: Any, weight: Any = None, *, axis_name: str | None = None) -> None:
        """Take a batch in, as the metric's ``update`` does."""
        p, t = _chosen(prediction, self.prediction, "prediction"), _chosen(target, self.target, "target")
        over = {} if axis_name is None else {"axis_name": axis_name}
        self.metric.update(p, t, weight, **over)

    def compute(self) -> Any:
        """The metric's value."""
        return self.metric.compute()

    def reset(self) -> None:
        """Forget all that was taken in."""
        self.metric.reset()

    def merge(self, other: Any) -> None:
        """Take in what another one took in."""
        self.metric.merge(other.metric if isinstance(other, Select) else other)


def _chosen(given: Any, choice: Any, name: str) -> Any:
    if choice is None:
        return given
    if callable(choice):
        return choice(given)
    try:
        return given[choice]
    except (KeyError, IndexError, TypeError):
        keys = list(given) if isinstance(given, dict) else range(len(given)) if isinstance(given, (tuple, list)) else ()
        there = ", ".join(map(repr, keys)) or describe(given)
        fix = "choose one of those that are there"
        raise StructureError(f"a {name} with {choice!r}", got=there, fix=fix, where="Select.update") from None


def _per_example(values: Any, name: str, where: str) -> jax.Array:
    values = _reading.real(values, name, where)
    if values.ndim == 0:
        fix = "leave out the mean over the batch: padding and weights are taken care of here"
        raise ShapeError(f"{name} of shape (batch, ...)", got=describe(values), fix=fix, where=where)
    return values
