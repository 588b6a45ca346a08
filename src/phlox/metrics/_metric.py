"""The Metric: sufficient statistics as State, moved by batches, merged without loss, and read as a value."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from phlox.core import Module, StructureError, at_eager, copy, describe, jit
from phlox.metrics import _sums

Statistics = dict[str, jax.Array]
T = TypeVar("T")


class Metric(Module):
    """The base of metrics: ``update`` takes a batch in, ``compute`` gives the value of all that was taken in.

    What a metric keeps are sums, so the value does not depend on how the data is cut into batches or spread over
    devices. Sums are pairs of float32 (exact counts to 2.8e14). The same calls work line by line, in ``px.jit`` and
    in ``px.scan``. The value is NaN before the first batch, and where a traced batch held what is refused elsewhere.

    A metric of your own is ``from_function``, a class of ``Sums``, or a class of another metric that changes its
    ``update``: ``px.fit``, ``px.evaluate`` and ``Metrics`` call it.
    """

    _default_role = "State"
    _names: ClassVar[tuple[str, ...]] = ()
    _own_update: ClassVar[bool] = False  # whether a class says itself what update does, and not by _read and _measure

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "update" in vars(cls) and "_own_update" not in vars(cls):
            cls._own_update = True

    def update(
        self, prediction: Any, target: Any, weight: ArrayLike | None = None, *, axis_name: str | None = None
    ) -> None:
        """Take a batch in.

        Arguments:
            prediction: what the model says; the class says which shapes.
            target: what is so.
            weight: (batch,) or as the target: how much each example counts; a mask of booleans leaves padding out.
            axis_name: the mapped axis, of ``px.vmap`` or a mesh, over which each place holds a part of the batch.

        Raises:
            ShapeError, DtypeError, RangeError: arguments that do not match; nothing is taken in.
        """
        self._absorb(self._read(prediction, target, weight), axis_name)

    def compute(self) -> Any:
        """The value of all that was taken in, as arrays."""
        return _value(self) if at_eager() else self._value(self._statistics())

    def reset(self) -> None:
        """Forget all that was taken in."""
        self._write(self._zero())

    def merge(self, other: Self) -> None:
        """Take in what another metric of the same construction took in.

        Raises:
            StructureError: the other is of another class or construction.
        """
        if jax.tree.structure(self) != jax.tree.structure(other):
            raise StructureError(
                f"another {self._brief()} of the same arguments",
                got=other._brief() if isinstance(other, Module) else describe(other),
                fix="merge metrics that were constructed alike",
                where=f"{type(self).__name__}.merge",
            )
        if at_eager():
            _merged(self, other._statistics())
        else:
            self._write(self._combine(self._statistics(), other._statistics()))

    # --- what a class says -----------------------------------------------------------------------

    def _zero(self) -> Statistics:
        """The statistics of no data."""
        raise NotImplementedError

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        """The arguments as arrays, checked."""
        raise NotImplementedError

    def _measure(self, *arrays: Any) -> Statistics:
        """The statistics of one batch."""
        raise NotImplementedError

    def _combine(self, a: Statistics, b: Statistics) -> Statistics:
        """The statistics of two lots of data together."""
        return {name: _sums.plus(a[name], b[name]) for name in self._names}

    def _value(self, statistics: Statistics) -> Any:
        """The value of statistics."""
        raise NotImplementedError

    # --- how it runs -----------------------------------------------------------------------------

    def _statistics(self) -> Statistics:
        return {name: getattr(self, name) for name in self._names}

    def _write(self, statistics: Statistics) -> None:
        for name in self._names:
            setattr(self, name, statistics[name])

    def _absorb(self, arrays: tuple[Any, ...], axis_name: str | None) -> None:
        if at_eager() and axis_name is None:
            _absorbed(self, arrays)
            return
        new = jax.lax.stop_gradient(self._measure(*arrays))
        if axis_name is None:
            self._write(self._combine(self._statistics(), new))
        else:
            self._write(_folded(self, new, axis_name))


@jit
def _absorbed(metric: Metric, arrays: tuple[Any, ...]) -> None:
    """One batch line by line, as one compiled call."""
    metric._write(metric._combine(metric._statistics(), metric._measure(*arrays)))


@jit
def _merged(metric: Metric, other: Statistics) -> None:
    metric._write(metric._combine(metric._statistics(), other))


@jit
def _value(metric: Metric) -> Any:
    return metric._value(metric._statistics())


def _folded(metric: Metric, new: Statistics, axis_name: str) -> Statistics:
    """The metric's statistics with those of every place along a mapped axis, the same at every place."""
    size, mine = jax.lax.axis_size(axis_name), jax.lax.axis_index(axis_name)

    def gathered(x: jax.Array) -> jax.Array:  # a sum over places is the same at all of them, and known to be
        wide = x.astype(jnp.int32) if x.dtype == bool else x
        slots = jnp.zeros((size, *wide.shape), wide.dtype).at[mine].set(wide)
        return jax.lax.psum(slots, axis_name).astype(x.dtype)

    every = jax.tree.map(gathered, new)

    def add(i: jax.Array, statistics: Statistics) -> Statistics:
        return metric._combine(statistics, jax.tree.map(lambda x: x[i], every))

    return jax.lax.fori_loop(0, size, add, metric._statistics())


def merge(first: T, *others: T) -> T:
    """A new metric, or collection of metrics, that has taken in all that these took in; they stay as they are.

    Raises:
        StructureError: they were not constructed alike.

    >>> import jax.numpy as jnp, phlox as px
    >>> a, b = px.metrics.Accuracy(), px.metrics.Accuracy()
    >>> a.update(jnp.array([0, 1, 1]), jnp.array([0, 1, 1]))
    >>> b.update(jnp.array([2]), jnp.array([0]))
    >>> float(px.metrics.merge(a, b).compute())
    0.75
    """
    merged: Any = copy(first)
    for other in others:
        merged.merge(other)
    return merged


def spoiled(statistics: Statistics, bad: jax.Array) -> Statistics:
    """Sums that are NaN where ``bad`` is true anywhere: a traced batch cannot be refused, but must not count."""
    nan = jnp.where(jnp.any(bad), jnp.float32(jnp.nan), jnp.float32(0))
    return {name: s + nan for name, s in statistics.items()}
