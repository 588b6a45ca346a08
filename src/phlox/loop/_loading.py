"""Data in any form as something that gives batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import RangeError, describe


def loader_of(
    data: Any, batch_size: int, seed: int | None, *, where: str = "px.fit", weight: Any = None
) -> Iterable[Any]:
    """What gives the batches: arrays get a ``px.DataLoader``, and whatever gives batches already is left alone.

    Arguments:
        data: an array, a tuple or dict of arrays, a dataset with a length and an index, a loader, or a list of batches.
        batch_size: examples in a batch, for data that comes without batches.
        seed: of the order, or None for the order of the data.
        where: who speaks in errors.
        weight: (examples,) joined to a tuple of arrays as its last part.

    Raises:
        RangeError: data that is none, a batch size below 1, weights for data that comes in batches.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        fix = "give a whole number"
        raise RangeError("a batch_size of at least 1", got=repr(batch_size), fix=fix, where=where)
    if weight is not None:
        data = _weighted(data, weight, where)
    if _has_batches(data):
        return data
    if not (_is_array(data) or isinstance(data, (tuple, Mapping)) or hasattr(data, "__getitem__")):
        raise RangeError(
            "arrays, a tuple or dict of arrays, a px.DataLoader, or batches that can be iterated",
            got=describe(data),
            fix="pass for example (x, y)",
            where=where,
        )
    from phlox.data import DataLoader  # Grain is slow to import

    return DataLoader(data, batch_size=batch_size, shuffle=seed is not None, seed=seed or 0)


def _has_batches(data: Any) -> bool:
    if _is_array(data) or isinstance(data, (tuple, Mapping)):
        return False
    return isinstance(data, list) or (hasattr(data, "__iter__") and not hasattr(data, "__getitem__"))


def _is_array(data: Any) -> bool:
    return isinstance(data, (np.ndarray, jax.Array))


def _weighted(data: Any, weight: Any, where: str) -> Any:
    if not isinstance(data, tuple) or len(data) != 2:
        raise RangeError(
            "data (x, y) for sample_weight",
            got=f"a tuple of {len(data)}" if isinstance(data, tuple) else describe(data),
            fix="put the weights into the batches: (x, y, weight)",
            where=where,
        )
    return (*data, np.asarray(weight))
