"""Data in any form as something that gives batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, describe
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
    if not isinstance(data, Iterator) and not is_plain(data):
        from phlox.data import batches_of, native

        theirs = batches_of(data)
        data = native(data, where) if theirs is None else theirs
    if weight is not None:
        data = _weighted(data, weight, where)
    if has_batches(data):
        check_batches(data, where)
        return data
    data = _with_arrays(data)
    check_numbers(data, where)
    if not (_is_array(data) or isinstance(data, (tuple, Mapping)) or hasattr(data, "__getitem__")):
        raise RangeError(
            "arrays, a tuple or dict of arrays, a px.DataLoader, or batches that can be iterated",
            got=told(data),
            fix="pass px.DataLoader(function, batch_size=32) for a function that yields examples, or a list of batches"
            if callable(data)
            else "pass for example (x, y)",
            where=where,
        )
    known = _with_first_item(data, where)
    from phlox.data import DataLoader  # slow to import

    try:
        ordered = seed is None or _is_stream(data)  # who makes a stream shuffles it, or a loader with a window does
        whole = (0, 1)  # what of it several processes need, the training knows
        return DataLoader(known, batch_size=batch_size, shuffle=not ordered, seed=seed or 0, shard=whole)
    except ShapeError as error:  # of numobs
        error.where = where
        raise


def is_plain(tree: Any) -> bool:
    """Whether a tree holds nothing but arrays of NumPy and JAX, and numbers."""
    known = (jax.Array, bool, int, float, complex, np.generic)
    return all(type(leaf) is np.ndarray or isinstance(leaf, known) for leaf in jax.tree.leaves(tree))


def plain_batches(batches: Iterable[Any], where: str) -> Iterator[Any]:
    """Batches of other libraries' tensors as batches of arrays; others as they are."""
    coming = iter(batches)
    for first in coming:
        if is_plain(first):
            yield first
            yield from coming
        else:
            from phlox.data import native_batches  # slow to import

            yield from native_batches(itertools.chain([first], coming), where)


def _is_stream(data: Any) -> bool:
    """Whether examples come one after the other, without an index."""
    if _is_array(data) or isinstance(data, (tuple, Mapping)) or hasattr(data, "iloc"):
        return False  # told without reading its columns, which the loader does
    from phlox.data import Stream, source_of

    return isinstance(source_of(data, None), Stream)


def _with_first_item(data: Any, where: str) -> Any:
    """Refuse an object whose items may be examples or batches: only its maker knows, and the numbers would differ.

    Its first item was then read, which what is returned keeps, so that it is not read again.

    Raises:
        RangeError: every part of its first item has the same first axis, as a batch has.
    """
    known = ("phlox", "torch", "datasets", "grain", "polars", "pyarrow", "scipy", "pandas")
    if _is_array(data) or isinstance(data, (tuple, Mapping)) or hasattr(data, "iloc"):
        return data
    from phlox.data import PartlyRead, is_from

    if any(is_from(data, name) for name in known) or not hasattr(data, "__len__") or not len(data):
        return data
    item = data[0]
    parts = list(item.values()) if isinstance(item, Mapping) else item if isinstance(item, (tuple, list)) else []
    sizes = {np.shape(part)[:1] for part in parts}
    if len(parts) > 1 and len(sizes) == 1 and min(sizes)[:1] > (1,):
        raise RangeError(
            "to be told whether the items are examples or batches",
            got=f"{told(data)} whose first item has {min(sizes)[0]} rows in every part",
            fix="pass px.DataLoader(data, batch_size) for examples, or [data[i] for i in range(len(data))] for batches",
            where=where,
        )
    return PartlyRead(data, {0: item})


def has_batches(data: Any) -> bool:
    """Whether data comes in batches, not in observations."""
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


def check_axis(x: Any, target: Any, where: str) -> None:
    """Refuse a single example (x, y) in the place of a batch: its target has no axis at all."""
    if isinstance(target, (Mapping, tuple, list)):  # targets by output
        return
    if np.ndim(target) == 0 and np.ndim(x) > 0:
        raise ShapeError(
            "batches (x, y) with an axis of examples in both",
            got=f"{describe(x)} and a single number",
            fix="pass (x, y) as arrays of all examples, or px.DataLoader(pairs, batch_size) for a list of pairs",
            where=where,
        )


def check_numbers(data: Any, where: str, at: str = "") -> None:
    """Refuse what is no number, ``at`` being where in the data."""
    if isinstance(data, (tuple, Mapping)):
        for name, part in data.items() if isinstance(data, Mapping) else enumerate(data):
            check_numbers(part, where, f"{at}[{name!r}]")
        return
    if _is_array(data) or hasattr(data, "iloc"):
        kind = getattr(getattr(data, "dtype", None), "kind", "O")
        if kind not in "biufc":
            from phlox.data import refuse_kind  # slow to import

            refuse_kind(np.asarray(data) if hasattr(data, "iloc") and data.ndim == 1 else data, at, where)
