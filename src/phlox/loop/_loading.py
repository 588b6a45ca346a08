"""Data in any form as something that gives batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import DtypeError, RangeError, ShapeError, describe
from phlox.loop._checks import check_whole, told


def loader_of(
    data: Any, batch_size: int, seed: int | None, *, where: str = "px.fit", weight: Any = None
) -> Iterable[Any]:
    """What gives the batches: arrays get a ``px.DataLoader``, and whatever gives batches already is left alone.

    Arguments:
        data: an array, a tuple or dict of arrays or lists of numbers, a dataset with a length and an index, a loader,
            or a list of batches.
        batch_size: examples in a batch, for data that comes without batches.
        seed: of the order, or None for the order of the data.
        where: who speaks in errors.
        weight: (examples,) joined to a tuple of arrays as its last part.

    Raises:
        RangeError: data that is none, a batch size below 1, weights for data that comes in batches.
        DtypeError: strings.
        ShapeError: parts of different lengths.
    """
    check_whole("batch_size", batch_size, 1, where)
    if weight is not None:
        data = _weighted(data, weight, where)
    if _has_batches(data):
        check_batches(data, where)
        return data
    data = _with_arrays(data)
    check_numbers(data, where)
    if not (_is_array(data) or isinstance(data, (tuple, Mapping)) or hasattr(data, "__getitem__")):
        raise RangeError(
            "arrays, a tuple or dict of arrays, a px.DataLoader, or batches that can be iterated",
            got=told(data),
            fix="pass for example (x, y)",
            where=where,
        )
    from phlox.data import DataLoader  # Grain is slow to import

    try:
        return DataLoader(data, batch_size=batch_size, shuffle=seed is not None, seed=seed or 0)
    except ShapeError as error:  # of numobs
        error.where = where
        raise


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


def _with_arrays(data: Any) -> Any:
    """Data with the lists of numbers in it as arrays."""
    if isinstance(data, tuple) and not hasattr(data, "_fields"):
        return tuple(_with_arrays(part) for part in data)
    if isinstance(data, dict):
        return {name: _with_arrays(part) for name, part in data.items()}
    if not isinstance(data, list) or not _is_table(data):
        return data
    array = np.asarray(data)
    return array if array.dtype.kind == "U" else array.astype(jax.dtypes.canonicalize_dtype(array.dtype))


def _is_table(rows: list[Any]) -> bool:
    """Whether a list holds nothing but numbers or strings, or lists of one length of them, and so on."""
    if all(isinstance(row, (bool, int, float, str, np.generic)) for row in rows):
        return bool(rows)
    return all(isinstance(row, list) and len(row) == len(rows[0]) and _is_table(row) for row in rows)


def check_batches(data: Any, where: str) -> None:
    """Refuse a list of lists of numbers, which is data without batches, not a list of batches."""
    if isinstance(data, list) and data and isinstance(data[0], list) and _is_table(data[0]):
        raise ShapeError(
            "a list of batches, such as tuples (x, y) of arrays",
            got=f"a list of {len(data)} lists of numbers",
            fix="pass data that comes without batches as a tuple: (x, y)",
            where=where,
        )


def check_numbers(data: Any, where: str, at: str = "") -> None:
    """Refuse strings where numbers are needed, ``at`` being where in the data."""
    if isinstance(data, (tuple, Mapping)):
        for name, part in data.items() if isinstance(data, Mapping) else enumerate(data):
            check_numbers(part, where, f"{at}[{name!r}]")
        return
    text = _a_string(data)
    if text is not None:
        raise DtypeError(
            f"numbers in data{at}",
            got=f"strings such as {text!r}",
            fix="encode them: names, y = np.unique(strings, return_inverse=True); y counts the classes from 0",
            where=where,
        )


def _a_string(column: Any) -> str | None:
    """The first entry of an array, or of a pandas series, that is a string."""
    kind = getattr(getattr(column, "dtype", None), "kind", "O")
    if kind not in "UO" or not (_is_array(column) or hasattr(column, "iloc")) or not np.size(column):
        return None
    first = np.asarray(column).flat[0]
    return str(first) if isinstance(first, str) else None
