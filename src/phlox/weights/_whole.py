"""Arrays that several processes hold parts of, whole on the host of each, one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


def is_cut(value: Any) -> bool:
    """Whether this process holds only a part of an array."""
    return isinstance(value, jax.Array) and not (value.is_fully_addressable or value.is_fully_replicated)


def whole(value: Any) -> Any:
    """An array that every process has whole; where it was in parts, all of them call this."""
    if not is_cut(value):
        return value
    everywhere = NamedSharding(value.sharding.mesh, PartitionSpec())
    return jax.jit(_same, out_shardings=everywhere)(value)


def _same(value: Any) -> Any:
    return value


def any_of_all(mine: bool, values: Iterable[Any]) -> bool:
    """Whether it is so in some process of those that arrays lie over; all of them call this."""
    mesh = next(value.sharding.mesh for value in values if is_cut(value))
    where = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    told = jax.make_array_from_callback((mesh.size,), where, lambda _: np.full(1, mine))
    return bool(np.asarray(whole(told)).any())
