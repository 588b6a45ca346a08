"""What counts as data: how many observations it holds, and how to take some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.data.readers._foreign import is_sparse, is_table, native

Index = int | slice | Sequence[int] | np.ndarray


def numobs(data: Any) -> int:
    """How many observations data holds.

    An array holds one in each row of its first axis, a pandas frame in each row, a list in each item. A tuple or a
    dict holds several kinds of data side by side, all of the same number. Anything else with a length that can be
    indexed is a dataset. A whole number n stands for the observations 0 … n − 1.

    Raises:
        ShapeError: parts of different numbers, or something that holds no observations.

    >>> import numpy as np, phlox as px
    >>> px.data.numobs({"image": np.zeros((3, 8, 8)), "label": [0, 1, 1]})
    3
    """
    if isinstance(data, (int, np.integer)) and not isinstance(data, bool):
        return int(data)
    if is_array(data) and data.ndim > 0:
        return data.shape[0]
    if is_sparse(data):
        return int(data.shape[0])  # pyright: ignore[reportAttributeAccessIssue]  # told by its package
    if isinstance(data, (tuple, Mapping)):
        counts = {name: numobs(part) for name, part in _parts(data)}
        if len(set(counts.values())) == 1:
            return next(iter(counts.values()))
        got = ", ".join(f"{name}: {count}" for name, count in counts.items()) or "no part"
        fix = "line the parts up; the first axis counts observations, and a list its items"
        raise ShapeError("as many observations in each part", got=got, fix=fix, where="numobs")
    no_dataset = (str, bool, np.generic, np.ndarray, jax.Array)
    if not isinstance(data, no_dataset) and hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return len(data)
    fix = "give an array with a first axis, a list, a frame, a dataset, or a tuple or dict of such"
    raise ShapeError("data that holds observations", got=describe(data), fix=fix, where="numobs")


def getobs(data: Any, index: Index | None = None) -> Any:
    """Observations of data: one for a number, several for a slice, numbers or a mask, all without an index.

    Arrays, frames, lists, and tuples and dicts of them give what they are made of. Of a dataset or a view, several
    come as a view, which reads them when they are asked for; ``getobs(view)`` reads them all.

    Raises:
        RangeError: a number out of range. ShapeError: as ``numobs``; a mask of another length.

    >>> import numpy as np, phlox as px
    >>> data = {"x": np.arange(6).reshape(3, 2), "y": ["a", "b", "c"]}
    >>> px.data.getobs(data, 1)
    {'x': array([2, 3]), 'y': 'b'}
    >>> px.data.getobs(data, [2, 0])["y"]
    ['c', 'a']
    """
    if index is None:
        if is_dataset(data):
            return [data[i] for i in range(len(data))]
        return _side_by_side(getobs, data) if isinstance(data, (tuple, Mapping)) else data
    return _taken(data, _checked(index, numobs(data)))


def _taken(data: Any, index: int | slice | np.ndarray) -> Any:
    if isinstance(data, (tuple, Mapping)):
        return _side_by_side(lambda part: _taken(part, index), data)
    if isinstance(data, (int, np.integer)):
        return np.arange(data)[index] if not isinstance(index, int) else index
    if hasattr(data, "iloc"):
        return data.iloc[index]
    if is_table(data) or is_sparse(data):
        return native(data)[index] if isinstance(index, int) else _rows_of_table(data, index)
    if is_array(data) or isinstance(index, int):
        return data[index]
    if isinstance(data, list):
        return data[index] if isinstance(index, slice) else [data[i] for i in index]
    return ObsView(data, np.arange(len(data))[index])


def _rows_of_table(table: Any, index: slice | np.ndarray) -> Any:
    """Some rows of a table of polars, pyarrow or SciPy, as such a table."""
    rows = np.arange(numobs(table))[index]
    return table.take(rows) if hasattr(table, "take") and not hasattr(table, "tocsr") else table[rows]


def _checked(index: Any, count: int) -> int | slice | np.ndarray:
    if isinstance(index, slice):
        return index
    numbers = np.asarray(index)
    if numbers.dtype == bool:
        if numbers.shape != (count,):
            fix = "give one boolean for each observation"
            raise ShapeError(f"a mask of shape ({count},)", got=describe(numbers), fix=fix, where="getobs")
        return np.flatnonzero(numbers)
    numbers = numbers.astype(int) if numbers.size == 0 else numbers
    if numbers.dtype.kind not in "iu" or ((numbers < -count) | (numbers >= count)).any():
        fix = "count observations from 0"
        got = f"{numbers.ravel().tolist()[:5]}"
        raise RangeError(f"whole numbers in 0 … {count - 1}", got=got, fix=fix, where="getobs")
    return int(numbers) if numbers.ndim == 0 else numbers.ravel()


def is_array(x: Any) -> TypeGuard[np.ndarray | jax.Array]:
    """True for arrays of NumPy and JAX."""
    return isinstance(x, (np.ndarray, jax.Array))


def is_dataset(x: Any) -> bool:
    """True where observations are read one by one: neither an array nor a frame, a list, or parts side by side."""
    if is_array(x) or isinstance(x, (tuple, Mapping, list, int, np.integer)) or hasattr(x, "iloc"):
        return False
    return not (is_table(x) or is_sparse(x))


def _parts(data: tuple[Any, ...] | Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return list(data.items()) if isinstance(data, Mapping) else list(enumerate(data))


def _side_by_side(fn: Callable[[Any], Any], data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: fn(part) for name, part in data.items()}
    return type(data)(*map(fn, data)) if hasattr(data, "_fields") else tuple(map(fn, data))


# --- views ------------------------------------------------------------------------------------------


class ObsView:
    """Some observations of data, read when they are asked for; a number gives one, a slice or numbers a view.

    Arguments:
        data: what ``numobs`` can count.
        index: which observations, in this order, repeated or not; None is all.

    >>> import phlox as px
    >>> view = px.data.ObsView(["a", "b", "c", "d"], [3, 1, 1])
    >>> len(view), view[0], list(view[1:])
    (3, 'd', ['b', 'b'])
    """

    data: Any
    index: np.ndarray

    def __init__(self, data: Any, index: Index | None = None):
        count = numobs(data)
        chosen = np.arange(count) if index is None else _checked(index, count)
        chosen = np.arange(count)[chosen] if isinstance(chosen, slice) else np.atleast_1d(np.asarray(chosen))
        if isinstance(data, ObsView):  # a view of a view is one view
            data, chosen = data.data, data.index[chosen]
        self.data, self.index = data, chosen

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: Any) -> Any:
        found = _checked(i, len(self))
        return getobs(self.data, int(self.index[found])) if isinstance(found, int) else ObsView(self, found)

    def __iter__(self) -> Iterator[Any]:
        return (getobs(self.data, int(i)) for i in self.index)

    def __repr__(self) -> str:
        return f"ObsView({len(self)} of {numobs(self.data)} observations)"


class _Lazy:
    """A dataset of ``count`` observations, each made when it is asked for."""

    def __init__(self, count: int, read: Callable[[int], Any], name: str):
        self._count, self._read, self._name = count, read, name

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: Any) -> Any:
        found = _checked(i, self._count)
        if not isinstance(found, int):
            return ObsView(self, found)
        return self._read(found + self._count if found < 0 else found)

    def __iter__(self) -> Iterator[Any]:
        return map(self._read, range(self._count))

    def __repr__(self) -> str:
        return f"{self._name} of {self._count} observations"


def mapobs(fn: Callable[[Any], Any], data: Any) -> Any:
    """A dataset whose observations are those of data under ``fn``, computed whenever one is read.

    >>> import phlox as px
    >>> squares = px.data.mapobs(lambda n: n * n, [1, 2, 3])
    >>> len(squares), squares[2], list(squares)
    (3, 9, [1, 4, 9])
    """
    return _Lazy(numobs(data), lambda i: fn(getobs(data, i)), f"mapobs({getattr(fn, '__name__', fn)})")


def joinobs(*data: Any) -> Any:
    """A dataset of the observations of all data, one after the other.

    >>> import phlox as px
    >>> list(px.data.joinobs(["a", "b"], ["c"]))
    ['a', 'b', 'c']
    """
    ends = np.cumsum([numobs(part) for part in data], dtype=int)

    def read(i: int) -> Any:
        part = int(np.searchsorted(ends, i, side="right"))
        return getobs(data[part], i - (int(ends[part - 1]) if part else 0))

    return _Lazy(int(ends[-1]) if len(ends) else 0, read, "joinobs")


def filterobs(fn: Callable[[Any], bool], data: Any) -> Any:
    """The observations of data for which ``fn`` is true; each is read once, now.

    >>> import numpy as np, phlox as px
    >>> px.data.filterobs(lambda row: row["y"] > 0, {"x": np.arange(3), "y": np.array([1, 0, 2])})["x"].tolist()
    [0, 2]
    """
    return getobs(data, np.array([i for i in range(numobs(data)) if fn(getobs(data, i))], dtype=int))


def sliding_windows(data: Any, size: int, *, stride: int = 1) -> Any:
    """A dataset of windows of ``size`` neighbouring observations, ``stride`` apart; an incomplete last one is left out.

    Raises:
        RangeError: a size or a stride below 1.

    >>> import phlox as px
    >>> list(px.data.sliding_windows([1, 2, 3, 4, 5, 6], 3, stride=2))
    [[1, 2, 3], [3, 4, 5]]
    """
    size, stride = whole("sliding_windows", "size", size), whole("sliding_windows", "stride", stride)
    count = max(0, (numobs(data) - size) // stride + 1)
    return _Lazy(count, lambda i: getobs(data, slice(i * stride, i * stride + size)), "sliding_windows")


def whole(where: str, name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        fix = f"give {name} a value of {least} or more"
        raise RangeError(f"{name} to be a whole number of at least {least}", got=repr(value), fix=fix, where=where)
    return int(value)
