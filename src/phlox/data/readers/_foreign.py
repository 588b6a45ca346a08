"""Arrays, tables and loaders of other libraries, told by the package that they come from, so that none is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import DtypeError, RangeError

_TABLES = ("polars", "pyarrow")


def is_from(x: Any, package: str) -> bool:
    """Whether the class of an object, or one that it builds on, is of a package."""
    return any(c.__module__.partition(".")[0] == package for c in type(x).__mro__)


def is_table(x: Any) -> bool:
    """Whether an object is a column or a table of polars or pyarrow."""
    return any(is_from(x, package) for package in _TABLES) and hasattr(x, "__len__")


def is_sparse(x: Any) -> bool:
    """Whether an object is a sparse matrix or array of SciPy."""
    return is_from(x, "scipy") and hasattr(x, "tocsr")


def native(data: Any, where: str = "DataLoader") -> Any:
    """Data with each array and table of another library as a NumPy array; nothing is copied that can be shared.

    Tensors of PyTorch and TensorFlow, columns and tables of polars and pyarrow, buffers, and whatever speaks
    ``__dlpack__`` or ``__array__`` become arrays; a sparse matrix becomes ``SparseRows``. All else stays as it is.

    Raises:
        RangeError: missing values, which an array would fill with something.
    """
    if isinstance(data, (np.ndarray, jax.Array)):
        return _unmasked(data, where) if isinstance(data, np.ma.MaskedArray) else data
    if isinstance(data, tuple):
        parts = (native(part, where) for part in data)
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    if isinstance(data, dict):
        return {name: native(part, where) for name, part in data.items()}
    if isinstance(data, (str, bytes, list, Mapping)) or hasattr(data, "iloc"):
        return data
    if is_from(data, "torch"):
        return _tensor(data) if hasattr(data, "detach") else data
    if is_table(data):
        return _table(data, where)
    if is_sparse(data):
        return SparseRows(data.tocsr())
    return _spoken(data)


def _spoken(data: Any) -> Any:
    """An array by one of the protocols; what is read by index, such as a file's data set, is left where it lies."""
    if isinstance(data, (memoryview, bytearray)) or is_from(data, "array"):
        return np.asarray(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not is_from(data, "tensorflow"):
        return data
    if hasattr(data, "__dlpack__"):
        return _by_dlpack(data)
    return np.asarray(data) if hasattr(data, "__array__") and not isinstance(data, type) else data


def _by_dlpack(data: Any) -> Any:
    """What lies on the CPU as NumPy's, that of other devices as JAX's; bfloat16, which NumPy has not, through JAX."""
    if data.__dlpack_device__()[0] != 1:
        return jax.dlpack.from_dlpack(data)
    try:
        return np.from_dlpack(data)
    except (BufferError, RuntimeError):
        return np.asarray(jax.dlpack.from_dlpack(data))


def _tensor(tensor: Any) -> np.ndarray:
    """A tensor of PyTorch; NumPy shares its memory where it lies on the CPU."""
    tensor = tensor.detach().cpu()
    if str(tensor.layout) != "torch.strided":
        tensor = tensor.to_dense()
    if str(tensor.dtype) == "torch.bfloat16":  # NumPy has none: the same bits under the name that JAX gives them
        return tensor.view(sys.modules["torch"].int16).numpy().view(jax.numpy.bfloat16)
    return tensor.numpy()


def _unmasked(array: np.ma.MaskedArray[Any, Any], where: str) -> np.ndarray:
    hidden = int(np.ma.count_masked(array))
    if hidden:
        raise _missing(f"a masked array with {hidden} hidden values", ".filled(…)", where)
    return np.asarray(array.data)


def _table(table: Any, where: str) -> np.ndarray:
    """A column (rows,) or a table (rows, columns) of numbers; strings stay strings, for whoever wants them."""
    columns = _columns(table)
    for name, column in columns.items():
        missing = column.null_count() if callable(column.null_count) else column.null_count
        if missing:
            raise _missing(f"{missing} missing in {name}", ".fill_null(…)", where)
    arrays = [np.asarray(column.to_numpy()) for column in columns.values()]
    return np.column_stack(arrays) if hasattr(table, "columns") else arrays[0]


def _columns(table: Any) -> dict[str, Any]:
    if not hasattr(table, "columns"):
        return {"the column": table}
    names = getattr(table, "column_names", None) or table.columns  # pyarrow's, or polars' own
    series = table.columns if hasattr(table, "column_names") else table.get_columns()
    return {f"column {name!r}": column for name, column in zip(names, series, strict=True)}


def _missing(got: str, call: str, where: str) -> RangeError:
    fix = f"fill them in or leave the rows out first, for example by {call}; px.data.Table does it for tables"
    return RangeError("data without missing values", got=got, fix=fix, where=where)


class SparseRows:
    """The rows of a sparse matrix, which become an ordinary array batch by batch."""

    def __init__(self, rows: Any):
        self._rows = rows

    def __len__(self) -> int:
        return self._rows.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """One row (columns,) for a number, (..., columns) for an array of numbers."""
        if isinstance(index, (int, np.integer)):
            return self._rows[[index]].toarray()[0]
        if isinstance(index, slice):
            return self._rows[index].toarray()
        found = self._rows[np.ravel(index)].toarray()
        return found.reshape(*np.shape(index), found.shape[-1])


# --- loaders of others ------------------------------------------------------------------------------


def native_batches(batches: Iterable[Any], where: str) -> Iterator[Any]:
    """Batches with every tensor of another library as a NumPy array."""
    return (native(tuple(batch) if type(batch) is list else batch, where) for batch in batches)


class IndexedBatches:
    """The batches of a ``PyDataset`` of Keras, which gives whole batches by index."""

    def __init__(self, data: Any):
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        yield from (self._data[i] for i in range(len(self._data)))
        self._data.on_epoch_end()  # where it shuffles

    def __repr__(self) -> str:
        return f"{type(self._data).__name__} of {len(self)} batches"


def batches_of(data: Any) -> Any:
    """A loader of another library as something to iterate over; None where data is no loader of one."""
    if is_from(data, "keras") and hasattr(data, "on_epoch_end") and hasattr(data, "__getitem__"):
        return IndexedBatches(data)
    if is_from(data, "torch") and hasattr(data, "batch_sampler"):
        return data
    return data if is_from(data, "tensorflow") and hasattr(data, "element_spec") else None


def has_own_order(loader: Any) -> bool:
    """Whether a loader says of itself that it gives the data in another order, without telling which."""
    if is_from(loader, "torch") and hasattr(loader, "batch_sampler"):
        sampler = loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)
        return type(sampler).__name__ not in ("SequentialSampler", "_InfiniteConstantSampler")
    return False


def refuse_kind(array: Any, at: str, where: str) -> None:
    """Refuse an array that holds no numbers, with what makes numbers of it.

    Raises:
        DtypeError: strings, objects, dates, records.
    """
    kind = getattr(getattr(array, "dtype", None), "kind", "f")
    if kind not in "OUSTMmV" or not np.size(array):
        return
    if kind in "Mm":
        got, fix = f"{array.dtype}", "count from a day of your choice: (dates - first) / np.timedelta64(1, 'D')"
    elif kind == "V":
        if jax.numpy.issubdtype(array.dtype, jax.numpy.number):  # NumPy takes bfloat16 and its like for records
            return
        got, fix = f"records {array.dtype}", "pass a dict of the fields, {name: records[name]}"
    else:
        got, fix = _object_of(array)
    raise DtypeError(f"numbers in data{at}", got=got, fix=fix, where=where)


def _object_of(array: Any) -> tuple[str, str]:
    """What an array of strings or objects holds that is no number, and the cure."""
    flat = np.asarray(array).ravel()
    odd = next((i for i, v in enumerate(flat) if not isinstance(v, (bool, int, float, complex, np.number))), None)
    if odd is None:
        return "numbers as Python objects", 'convert them: .astype("float32")'
    shown = flat[odd].item() if isinstance(flat[odd], np.generic) else flat[odd]
    if isinstance(shown, (str, bytes)):
        fix = "encode them: names, y = np.unique(strings, return_inverse=True); y counts the classes from 0"
        return f"strings such as {shown!r}", fix
    place = [int(i) for i in np.unravel_index(odd, np.shape(array))]
    fix = 'fill in what is missing, and convert: .astype("float32"); px.data.Table does both for tables'
    return f"{shown!r} at {place}", fix
