"""Where what a checkpoint holds is to lie: as what a run has in its place, so that each process reads its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from phlox.core import is_key
from phlox.parallel import meant

Arrays = Mapping[str, Any]


class Places:
    """Where arrays lie, by part and path.

    Arguments:
        parts: the arrays of each Module by the name of its part.
        model: the part whose arrays what callbacks keep may be like: the best weights so far, by the same paths.
    """

    def __init__(self, parts: Mapping[str, Arrays], model: str = "model"):
        self._parts = parts
        spread = {path: (v.sharding, v.shape) for path, v in parts.get(model, {}).items() if is_spread(v)}
        self._known: dict[str, tuple[Sharding | None, tuple[int, ...]]] = dict(spread)

    def __call__(self, path: list[str], form: jax.ShapeDtypeStruct) -> Sharding | None:
        """Where an array goes; None for one that comes whole, to the host."""
        part, at = path[0], path[-1]
        if part in self._parts:
            there = self._parts[part].get(at)
            if there is None or not is_spread(there):
                return None
            return there.sharding if (there.shape, there.dtype) == (form.shape, form.dtype) else None
        return meant(at, form.shape, self._known, None)


def is_spread(value: Any) -> bool:
    """Whether an array lies in parts on several devices, or whole on devices of several processes."""
    if not isinstance(value, jax.Array) or is_key(value) or len(value.sharding.device_set) == 1:
        return False
    return not (value.is_fully_replicated and value.is_fully_addressable)


def laid(value: Any, there: Any) -> jax.Array:
    """An array, the same in every process that has it, where another one lies; one that came there stays."""
    if isinstance(value, jax.Array) and (not value.is_fully_addressable or is_spread(value)):
        return value
    several = isinstance(there, jax.Array) and len(there.sharding.device_set) > 1
    if not several:
        return jax.numpy.array(value)
    if is_key(value):
        words = laid(jax.random.key_data(value), jax.random.key_data(there))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(value))
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, there.sharding, lambda index: host[index])
