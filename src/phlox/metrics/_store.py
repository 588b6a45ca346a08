"""Rows kept one behind the other in arrays of fixed size, for what no sum is sufficient for."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, at_eager
from phlox.metrics import _reading, _sums
from phlox.metrics._metric import Metric, Statistics

LIMIT = 2**24  # beyond, float32 does not count rows


class Kept(Metric):
    """Keeps what counts of each batch: arrays (capacity, ...), of which the first ``seen`` rows are in use.

    Rows of weight 0 are not kept. ``seen`` goes on counting past the capacity, so that an overflow is known.
    """

    _summed: ClassVar[tuple[str, ...]] = ()  # statistics that are sums beside the rows
    capacity: int | None
    weight: Any  # (capacity,) not 0 where a row is in use
    seen: Any  # () rows kept

    def _check_capacity(self, name: str, capacity: int | None) -> None:
        if capacity is not None and _reading.size(name, "capacity", capacity) > LIMIT:
            fix = "use bins= for so many"
            raise RangeError(f"capacity of at most {LIMIT}", got=repr(capacity), fix=fix, where=name)
        self.capacity = capacity

    def _combine(self, a: Statistics, b: Statistics) -> Statistics:
        if self.capacity is None:
            return super()._combine(a, b)
        keep = b["weight"] != 0
        at = jnp.where(keep, a["seen"] + jnp.cumsum(keep) - 1, self.capacity)
        rows = [n for n in self._names if n not in ("seen", *self._summed)]
        kept = {n: a[n].at[at].set(b[n].astype(a[n].dtype), mode="drop") for n in rows}
        return {**kept, **{n: _sums.plus(a[n], b[n]) for n in self._summed}, "seen": a["seen"] + b["seen"]}

    def _rows(self, weight: jax.Array, **arrays: jax.Array) -> Statistics:
        """A batch in the form that is kept."""
        return {**arrays, "weight": weight, "seen": jnp.sum(weight != 0, dtype=jnp.int32)}

    def _check_room(self, new: Any) -> None:
        """Refuse more rows than there is room for, where it is known."""
        if self.capacity is None or not at_eager():
            return
        seen = _reading.concrete(self.seen)
        rows = _reading.concrete(new)
        if seen is None or rows is None or seen + np.count_nonzero(rows) <= self.capacity:
            return
        raise RangeError(
            f"at most capacity={self.capacity} rows",
            got=f"{int(seen)} so far and {np.count_nonzero(rows)} more",
            fix="construct it with a larger capacity, call reset() between epochs, or use bins= where there is such",
            where=f"{type(self).__name__}.update",
        )

    def merge(self, other: Any) -> None:
        """Take in what another metric of the same construction took in; as ``Metric.merge``."""
        if isinstance(other, type(self)) and self.capacity is not None and other.capacity == self.capacity:
            self._check_room(other.weight)
        super().merge(other)
