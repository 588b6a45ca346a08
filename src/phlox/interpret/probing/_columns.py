"""Data as columns: an array of rows, a dict of arrays, or a pandas frame, treated alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, describe


def is_frame(x: Any) -> bool:
    """Whether it is a pandas frame, or another that is made and asked in the same way."""
    return hasattr(x, "columns") and hasattr(x, "iloc")


def names_of(x: Any) -> list[Any]:
    """The names of the columns of a frame or a dict."""
    return list(x.columns) if hasattr(x, "columns") else list(x)


def rows_of(x: Any, where: str) -> int:
    """How many rows there are.

    Raises:
        ShapeError: parts of different lengths, none at all, or no rows.
    """
    parts = [x] if is_frame(x) else [part for part in jax.tree.leaves(x) if np.ndim(part)]
    lengths = {len(part) for part in parts}
    if len(lengths) != 1 or not min(lengths):
        got = "parts of " + " and ".join(map(str, sorted(lengths))) if len(lengths) > 1 else "no rows"
        fix = "give an array (rows, features), a dict of arrays (rows,), or a pandas frame"
        raise ShapeError("data of one number of rows, at least one", got=got, fix=fix, where=where)
    return lengths.pop()


def taken(x: Any, rows: Any) -> Any:
    """Some rows, by a slice or their numbers, in the form that all of them have."""
    if is_frame(x):
        return x.iloc[rows]
    return jax.tree.map(lambda part: np.asarray(part)[rows], x)


def column_of(x: Any, feature: Any, where: str) -> np.ndarray:
    """One feature of all rows: by its number of an array, by its name of a dict or a frame.

    Raises:
        RangeError: there is no such feature.
    """
    if is_frame(x) or isinstance(x, Mapping):
        names = names_of(x)
        if feature not in names:
            fix = "name one of them"
            raise RangeError(f"a feature among {_few(names)}", got=repr(feature), fix=fix, where=where)
        return np.asarray(x[feature])
    array = np.asarray(x)
    if array.ndim != 2:
        fix = "give rows of features, or a dict of columns"
        raise ShapeError("data (rows, features)", got=describe(array), fix=fix, where=where)
    if not isinstance(feature, int | np.integer) or not -array.shape[1] <= feature < array.shape[1]:
        fix = "give its number, the first being 0"
        raise RangeError(f"a feature below {array.shape[1]}", got=repr(feature), fix=fix, where=where)
    return array[:, feature]


def with_column(x: Any, feature: Any, values: Any) -> Any:
    """The same data with other values of one feature; what was given stays as it is."""
    if is_frame(x):
        return x.assign(**{feature: values})
    if isinstance(x, Mapping):
        return {**x, feature: np.asarray(values)}
    changed = np.array(x)
    if changed.dtype.kind != "f" and np.asarray(values).dtype.kind == "f":
        changed = changed.astype(np.float32)  # a whole number of the data may get a fraction
    changed[:, feature] = values
    return changed


def by_name(x: Any, where: str) -> dict[Any, np.ndarray]:
    """All columns by name or, of an array, by number."""
    if is_frame(x) or isinstance(x, Mapping):
        return {name: np.asarray(x[name]) for name in names_of(x)}
    column_of(x, 0, where)
    return dict(enumerate(np.asarray(x).T))


def _few(names: list[Any]) -> str:
    shown = ", ".join(map(str, names[:12]))
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)} of them)"
