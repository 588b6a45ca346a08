"""Arrays of any library as columns; images and other arrays of a row as a few numbers each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phlox.core import ShapeError, describe
from phlox.data.readers._foreign import is_from, is_sparse, native
from phlox.data.validate._values import digest, objects

Ragged = list[np.ndarray]
"""Arrays of a row each that differ in shape."""


def whole_of(value: Any, part: str, where: str) -> np.ndarray | Ragged:
    """A part of the data as one array with a row first, or as one array for each row where these differ.

    Raises:
        ShapeError: an array without a first axis.
    """
    if hasattr(value, "iloc"):
        return _series(value)
    if isinstance(value, np.ma.MaskedArray):
        found = np.array(np.ma.getdata(value), object)
        found[np.ma.getmaskarray(value)] = None
        return found
    if is_from(value, "polars") or is_from(value, "pyarrow"):
        return _of_table(value)
    if isinstance(value, list):
        return _of_list(value)
    value = value.toarray() if is_sparse(value) else native(value, where)
    array = np.asarray(value)
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its like, of which NumPy knows no kind
        array = array.astype(np.float32)
    if array.ndim == 0:
        fix = "the first axis counts rows: give several of them"
        raise ShapeError(f"an array with rows for {part!r}", got=describe(value), fix=fix, where=where)
    return array


def summaries_of(array: np.ndarray | Ragged) -> dict[str, np.ndarray]:
    """What is kept of arrays of a row each: shape, and mean, standard deviation, least and largest number.

    >>> summaries_of([np.zeros((2, 3)), np.ones((4, 4, 1))])["shape"].tolist()
    ['2×3', '4×4×1']
    """
    shapes = objects("×".join(map(str, row.shape)) or "one" for row in array)
    functions: dict[str, Callable[[Any], Any]] = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}
    return {"shape": shapes} | {name: _each(function, array) for name, function in functions.items()}


def contents_of(array: np.ndarray | Ragged) -> np.ndarray:
    """(rows,) uint64, one for each content."""
    return np.array([digest(repr(row.shape).encode() + np.ascontiguousarray(row).tobytes()) for row in array], "u8")


def _each(function: Callable[[Any], Any], array: np.ndarray | Ragged) -> np.ndarray:
    numbers = [row.size > 0 and row.dtype.kind in "biuf" for row in array]
    found = [function(row.astype(np.float64)) if ok else np.nan for row, ok in zip(array, numbers, strict=True)]
    return np.array(found, np.float64)


def _series(series: Any) -> np.ndarray:
    """A column of pandas; times of a zone as those of UTC."""
    dtype = series.dtype
    if getattr(dtype, "tz", None) is not None:
        return series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    if isinstance(dtype, np.dtype):
        return series.to_numpy()
    return objects(series.astype(object).tolist())


def _of_table(column: Any) -> np.ndarray:
    """A column of polars or pyarrow; whole numbers stay whole where some are missing."""
    nulls = column.null_count() if callable(column.null_count) else column.null_count
    if not nulls:
        try:
            found = column.to_numpy()
        except (TypeError, ValueError, NotImplementedError):  # pyarrow copies only where it is told to
            found = None
        if found is not None and found.ndim == 1 and found.dtype.kind in "biufM":
            return found
    return objects(column.to_pylist() if hasattr(column, "to_pylist") else column.to_list())


def _of_list(values: Sequence[Any]) -> np.ndarray | Ragged:
    """Plain values as a column; arrays and rows of numbers stacked where they are of one shape."""
    first = next((v for v in values if v is not None), None)
    if isinstance(first, np.generic) or not (isinstance(first, list) or hasattr(first, "__array__")):
        return objects(values)
    try:
        rows = [np.asarray(v) for v in values]
    except ValueError:  # rows that are ragged within
        return objects(values)
    if any(row.dtype.kind not in "biuf" or row.ndim == 0 for row in rows):
        return objects(values)
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else rows
