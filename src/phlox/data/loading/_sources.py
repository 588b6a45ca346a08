"""Where a loader reads: columns in memory, items read one by one, and streams that only go forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from phlox.core import ShapeError, StructureError, aligned, describe
from phlox.data._batches import batch
from phlox.data._observations import ObsView, _side_by_side, getobs, is_array, numobs
from phlox.data.readers._foreign import SparseRows, is_from, native

Collate = Callable[[list[Any]], Any]


class Source(Protocol):
    """Observations that can be read in any order."""

    in_memory: bool  # whether reading is no more than copying

    def __len__(self) -> int: ...

    def read(self, index: np.ndarray) -> Any:
        """The batch of some observations, a tree of arrays with the batch as first axis.

        In memory, ``index`` may have more axes; arrays then begin with all of these.
        """
        ...

    def items(self, index: np.ndarray) -> list[Any]:
        """The same observations one by one."""
        ...


def source_of(data: Any, collate: Collate | None, *, one_by_one: bool = False) -> Source | Stream:
    """The way to read some data.

    Raises:
        ShapeError: parts of different numbers. StructureError: an iterator that cannot start over, or no data at all.
    """
    if isinstance(data, PartlyRead):
        return Items(data.data, collate or batch, data.read)
    data = native(data)
    columns = None if collate is not None or one_by_one else _columns(data)
    if columns is not None:
        numobs(columns)  # refuses parts of different numbers
        return Columns(columns)
    if _is_hugging_face(data) and collate is None and not one_by_one:
        return HuggingFaceRows(data)
    if isinstance(data, (tuple, Mapping, int, np.integer)) or (hasattr(data, "__getitem__") and _counted(data)):
        return Items(data, collate or batch)
    return Stream(data, collate or batch)


def _counted(data: Any) -> bool:
    """Whether data tells its length; PyTorch's streams inherit an index that they do not have."""
    return hasattr(data, "__len__") and not (is_from(data, "torch") and hasattr(data, "__iter__"))


def _is_hugging_face(data: Any) -> bool:
    return is_from(data, "datasets") and hasattr(data, "with_format") and hasattr(data, "__len__")


# --- columns in memory --------------------------------------------------------------------------------


class _Chosen:
    """Rows of a column, by an index that is applied when a batch is taken."""

    def __init__(self, column: Any, index: np.ndarray):
        self.column, self.index = column, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: Any) -> Any:
        return self.column[self.index[i]]


def _columns(data: Any) -> Any:
    """The data as arrays side by side, nothing copied that is an array already; None where it is not in memory."""
    if isinstance(data, ObsView):
        found = _columns(data.data)
        return None if found is None else jax.tree.map(lambda column: _Chosen(column, data.index), found)
    if isinstance(data, (tuple, Mapping)) and data:
        found = _side_by_side(_columns, data)
        return None if any(part is None for part in (found.values() if isinstance(found, dict) else found)) else found
    if is_from(data, "torch"):
        tensors = getattr(data, "tensors", None)  # a TensorDataset
        return None if tensors is None else native(tuple(tensors))
    if isinstance(data, SparseRows):
        return data
    if hasattr(data, "iloc"):
        return _frame(data)
    if isinstance(data, list):
        plain = bool(data) and all(isinstance(x, (bool, int, float, np.generic)) for x in data)
        return np.asarray(data) if plain else None
    if isinstance(data, (int, np.integer)) and not isinstance(data, bool):
        return np.arange(data)
    if not is_array(data) or data.ndim == 0:
        return None
    on_host = isinstance(data, np.ndarray) or all(d.platform == "cpu" for d in data.devices())
    return np.asarray(data) if on_host else data


def _frame(data: Any) -> np.ndarray:
    """The numbers of a pandas frame or series; those kept beside a mask are as good where none is missing."""
    array = data.to_numpy()
    if array.dtype.kind == "O" and not data.isna().to_numpy().any():
        kinds = data.dtypes if data.ndim == 2 else [data.dtype]
        own = [getattr(kind, "numpy_dtype", kind) for kind in kinds]
        if all(isinstance(kind, np.dtype) and kind.kind in "biufc" for kind in own):
            array = data.to_numpy(dtype=np.result_type(*own))
    if array.dtype.kind not in "biufc":
        fix = "read it with px.data.Table, which turns categories into codes and fills in what is missing"
        raise StructureError("frames of numbers", got=f"a frame of {array.dtype}", fix=fix, where="DataLoader")
    return array


class Columns:
    """Arrays side by side; a batch is one gather of each, never item by item."""

    in_memory = True

    def __init__(self, columns: Any):
        self._columns = columns
        self._leaves, self._form = jax.tree.flatten(columns)

    def __len__(self) -> int:
        return len(self._leaves[0])

    def read(self, index: np.ndarray) -> Any:
        return jax.tree.unflatten(self._form, [_rows(column, index) for column in self._leaves])

    def items(self, index: np.ndarray) -> list[Any]:
        return [getobs(self._columns, int(i)) for i in index]


def _rows(column: Any, index: np.ndarray) -> Any:
    if isinstance(column, SparseRows):
        return column[index]
    if isinstance(column, _Chosen):
        return _rows(column.column, column.index[index])
    if isinstance(column, np.ndarray):
        return np.take(column, index, axis=0, out=aligned((*index.shape, *column.shape[1:]), column.dtype), mode="clip")
    return _rows_on_device(column, index)


@jax.jit
def _rows_on_device(column: jax.Array, index: Any) -> jax.Array:
    return column[index]


# --- items, one by one --------------------------------------------------------------------------------


class PartlyRead(NamedTuple):
    """A dataset of which somebody has read some observations, which its loader then need not read again."""

    data: Any
    read: dict[int, Any]  # by index; each is given out once


class Items:
    """A dataset whose observations are read one after the other and put together by ``collate``."""

    in_memory = False

    def __init__(self, data: Any, collate: Collate, read: dict[int, Any] | None = None):
        self._data, self._collate, self._already = data, collate, read or {}

    def __len__(self) -> int:
        return numobs(self._data)

    def __repr__(self) -> str:
        return f"Items({self._data!r})"

    def read(self, index: np.ndarray) -> Any:
        return self._collate(self.items(index))

    def items(self, index: np.ndarray) -> list[Any]:
        if not self._already:
            return self._fresh(index.tolist())
        wanted = index.tolist()
        held = {i: self._checked(i, self._already.pop(i)) for i in wanted if i in self._already}
        fresh = iter(self._fresh([i for i in wanted if i not in held]))
        return [held[i] if i in held else next(fresh) for i in wanted]

    def _fresh(self, index: list[int]) -> list[Any]:
        several = getattr(self._data, "__getitems__", None)  # PyTorch's protocol for reading many at once
        return several(index) if several is not None else [self._item(i) for i in index]

    def _item(self, i: int) -> Any:
        try:
            found = getobs(self._data, i) if isinstance(self._data, (tuple, Mapping)) else self._data[i]
        except Exception as error:
            error.add_note(f"while reading observation {i} of {type(self._data).__name__}")
            raise
        return self._checked(i, found)

    def _checked(self, i: int, found: Any) -> Any:
        if found is None:
            fix = "leave empty observations out first: px.data.filterobs, or Grain's to_iter_dataset()"
            raise StructureError(f"an observation at {i}", got="None", fix=fix, where="DataLoader")
        return found


class HuggingFaceRows:
    """A data set of the ``datasets`` package; rows come as dicts of NumPy arrays, many in one reading."""

    in_memory = False

    def __init__(self, data: Any):
        self._data = data.with_format("numpy")

    def __len__(self) -> int:
        return len(self._data)

    def read(self, index: np.ndarray) -> Any:
        rows = self._data[index.tolist()]
        ragged = [name for name, column in rows.items() if np.asarray(column).dtype.kind == "O"]
        if ragged:
            got = f"several in {', '.join(map(repr, ragged))}"
            fix = "give bucket_by= the name of a column of sequences, or a collate function"
            raise ShapeError("columns of one shape", got=got, fix=fix, where="DataLoader")
        return dict(rows)

    def items(self, index: np.ndarray) -> list[Any]:
        return [self._data[int(i)] for i in index]


# --- streams ------------------------------------------------------------------------------------------


class Stream:
    """Observations that only come one after the other: an iterable, or a function that makes one.

    Grain's datasets tell their position and take it back; any other stream is read again up to it.
    """

    def __init__(self, data: Any, collate: Collate):
        if isinstance(data, Iterator) or not (isinstance(data, Iterable) or callable(data)):
            fix = "give what can start over for the next epoch: the list, the dataset, or the function that yields"
            what = "data to read, again for each epoch"
            raise StructureError(what, got=describe(data), fix=fix, where="DataLoader")
        made: Any = data
        self.data: Any = made.with_format("numpy") if is_from(data, "datasets") else made  # lists as arrays
        self.collate = collate

    def start(self, epoch: int) -> Iterator[Any]:
        """A fresh iterator for an epoch."""
        data: Any = self.data
        if hasattr(data, "set_epoch"):  # Hugging Face shuffles by it
            data.set_epoch(epoch)
        return iter(data if isinstance(data, Iterable) else data())
