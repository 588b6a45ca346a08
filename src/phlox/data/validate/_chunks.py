"""Data of any kind as chunks of columns, so that a pass over it holds a bounded part of it at a time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError, StructureError, describe
from phlox.data._observations import ObsView, getobs, is_array, is_dataset, numobs
from phlox.data.loading._loader import DataLoader
from phlox.data.loading._sources import Stream
from phlox.data.readers._files import corrupt, extra
from phlox.data.readers._foreign import is_from, is_sparse, is_table
from phlox.data.readers._tables import Table
from phlox.data.validate._arrays import contents_of, summaries_of, whole_of

ROWS = 1 << 16  # of a chunk
_ITEMS = 1 << 10  # of a chunk whose observations are read one by one: they may be images
_WIDE = 512  # features of a row that are columns of their own

Place = tuple[str, int | str | None]
"""Where a column lies: a part of the data, and which of its features or summaries; None for a part of one column."""


@dataclass
class Chunk:
    """Some rows of data.

    Attributes:
        rows: how many.
        columns: by name, (rows,) each.
        places: by name of a column.
        contents: (rows,) uint64 each, what stands for arrays of which columns hold only summaries.
    """

    rows: int
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    contents: list[np.ndarray] = field(default_factory=list)

    def add(self, place: Place, values: np.ndarray, names: Mapping[Place, str]) -> None:
        """Take in a column; a name that is taken gets a number."""
        name = _free(names.get(place) or shown_place(place), self.columns)
        self.columns[name], self.places[name] = values, place


def shown_place(place: Place) -> str:
    """A place as the name of a column.

    >>> shown_place(("x", 2)), shown_place(("image", "mean")), shown_place(("age", None))
    ('x[2]', 'image.mean', 'age')
    """
    part, inner = place
    return part if inner is None else f"{part}[{inner}]" if isinstance(inner, int) else f"{part}.{inner}"


def names_of(names: Any, where: str) -> dict[Place, str]:
    """Names of the features of x by place.

    Raises:
        StructureError: what are no names. RangeError: one twice.
    """
    if names is None:
        return {}
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        fix = 'give a text for each feature of x, such as names=["age", "height"]'
        raise StructureError("names as a list of texts", got=describe(names), fix=fix, where=where)
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise RangeError("names that differ", got=f"{twice!r} twice", fix="rename one", where=where)
    return {("x", i): name for i, name in enumerate(names)}


def chunks_of(data: Any, names: Mapping[Place, str], where: str, rows: int | None = None) -> Iterator[Chunk]:
    """All data, chunk by chunk.

    Arguments:
        data: a frame of pandas, polars or pyarrow; a file of CSV or Parquet; arrays, lists, datasets, tuples and dicts
            of them; a loader; or an iterable of any of these, chunk after chunk.
        names: of columns, by place.
        rows: of a chunk at most.

    Raises:
        ShapeError: data without rows. StructureError: no data.
    """
    several = (_chunk(piece, names, where) for piece in _pieces(data, rows or ROWS, where))
    found = (chunk for chunk in several if chunk.rows)
    first = next(found, None)
    if first is None:
        raise ShapeError("data with rows", got="none", fix="look at what was read", where=where)
    return itertools.chain([first], found)


# --- from data to pieces of it ----------------------------------------------------------------------


def _pieces(data: Any, rows: int, where: str) -> Iterator[Any]:
    if isinstance(data, (str, os.PathLike)):
        return _file(Path(data), rows, where)
    if isinstance(data, Table):
        data = data.data
    if isinstance(data, DataLoader):
        return _loaded(data, rows)
    if is_from(data, "datasets") and hasattr(data, "__len__"):
        return (data[at : at + _ITEMS] for at in range(0, len(data), _ITEMS))
    if is_table(data):
        return (data.slice(at, rows) for at in range(0, max(1, len(data)), rows))
    if is_array(data) or isinstance(data, (tuple, Mapping, list)) or hasattr(data, "iloc") or is_sparse(data):
        size = min(rows, _ITEMS) if _is_read(data) else rows
        return (getobs(data, slice(at, at + size)) for at in range(0, max(1, numobs(data)), size))
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        spans = (range(at, min(at + _ITEMS, len(data))) for at in range(0, len(data), _ITEMS))
        return ([data[i] for i in span] for span in spans)
    stream: Any = data() if callable(data) else data
    if isinstance(stream, Iterable):
        return (piece for batch in stream for piece in _pieces(batch, rows, where))
    fix = "give a frame, arrays, a list of rows, a loader, or the path of a CSV or Parquet file"
    raise StructureError("data", got=describe(data), fix=fix, where=where)


def _is_read(data: Any) -> bool:
    """Whether some part of the data is read one by one."""
    if isinstance(data, (tuple, Mapping)):
        return any(_is_read(part) for part in (data.values() if isinstance(data, Mapping) else data))
    return is_dataset(data)


def _loaded(loader: DataLoader, rows: int) -> Iterator[Any]:
    """What a loader reads, in the order of the data; its own position stays."""
    source: Any = loader._source
    if isinstance(source, Stream):
        items = source.start(0)
        return iter(lambda: list(itertools.islice(items, _ITEMS)), [])
    size = rows if source.in_memory else _ITEMS
    spans = (np.arange(at, min(at + size, len(source))) for at in range(0, len(source), size))
    return (source.read(span) if source.in_memory else source.items(span) for span in spans)


def _file(path: Path, rows: int, where: str) -> Iterator[Any]:
    pandas = extra("pandas", "pandas", "tables", where)
    ending = next((s for s in reversed(path.suffixes) if s.lower() in (".csv", ".parquet", ".tsv")), "").lower()
    if not ending:
        fix = "end its name in .csv, .tsv or .parquet, or read it, and give the frame"
        raise StructureError("a file of CSV or Parquet", got=path.name, fix=fix, where=where)
    read: Callable[[], Iterator[Any]]
    if ending == ".parquet":
        parquet = extra("pyarrow.parquet", "pyarrow", "tables", where)
        read = lambda: parquet.ParquetFile(path).iter_batches(batch_size=rows)  # noqa: E731
    else:
        read = lambda: pandas.read_csv(path, sep="\t" if ending == ".tsv" else ",", chunksize=rows)  # noqa: E731
    try:
        yield from read()
    except OSError as error:
        from phlox.weights import file_error

        raise file_error(error, path, where) from error
    except (ValueError, EOFError) as error:  # pandas' and pyarrow's errors are among them
        raise corrupt("a table", str(error).strip().splitlines()[0], path, where) from error


# --- from a piece to columns ------------------------------------------------------------------------


def _chunk(piece: Any, names: Mapping[Place, str], where: str) -> Chunk:
    found = Chunk(-1)
    _take(found, None, piece, names, where)
    found.rows = max(found.rows, 0)
    return found


def _take(chunk: Chunk, part: str | None, value: Any, names: Mapping[Place, str], where: str) -> None:
    """Take in the columns of a part: parts of it, a table's columns, or an array's features."""
    if isinstance(value, ObsView):
        value = list(value)
    if isinstance(value, list):
        value = _beside(value)
    inner = _inside(value)
    if inner is None:
        return _take_array(chunk, "x" if part is None else part, value, names, where)
    taken = set[str]()
    for name, one in inner:
        own = _free(name if part is None else f"{part}.{name}", taken)
        taken.add(own)
        _take(chunk, own, one, names, where)
    return None


def _inside(value: Any) -> list[tuple[str, Any]] | None:
    """What a part is made of, by name; None of an array."""
    if isinstance(value, Mapping):
        return [(str(name), one) for name, one in value.items()]
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None) or (("x", "y") if len(value) == 2 else range(len(value)))
        return [(str(name), one) for name, one in zip(fields, value, strict=True)]
    if getattr(getattr(value, "dtype", None), "names", None):  # records of NumPy
        return [(name, value[name]) for name in value.dtype.names]
    return _table_columns(value)


def _free(name: str, taken: Container[str]) -> str:
    """A name, with a number where it is taken."""
    several = itertools.chain([name], (f"{name} ({i})" for i in itertools.count(2)))
    return next(one for one in several if one not in taken)


def _beside(rows: list[Any]) -> Any:
    """Observations one after the other as columns side by side: dicts by key, tuples by place."""
    first = next((row for row in rows if row is not None), None)
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for row in rows if row is not None for key in row)
        return {key: [None if row is None else row.get(key) for row in rows] for key in keys}
    if isinstance(first, tuple) and all(isinstance(row, tuple) and len(row) == len(first) for row in rows):
        return tuple(list(column) for column in zip(*rows, strict=True))
    return rows


def _table_columns(value: Any) -> list[tuple[str, Any]] | None:
    """The columns of a frame or a table, names kept twice where they are there twice; None of anything else."""
    if hasattr(value, "iloc"):
        if value.ndim == 1:
            return None
        return [(str(name), value.iloc[:, i]) for i, name in enumerate(value.columns)]
    if not (is_from(value, "polars") or is_from(value, "pyarrow")) or not hasattr(value, "columns"):
        return None
    arrow = is_from(value, "pyarrow")
    several = value.columns if arrow else value.get_columns()
    listed = value.schema.names if arrow else value.columns
    return list(zip(listed, several, strict=True))


def _take_array(chunk: Chunk, part: str, value: Any, names: Mapping[Place, str], where: str) -> None:
    array = whole_of(value, part, where)
    rows = len(array)
    if chunk.rows not in (-1, rows):
        fix = "line the parts up; the first axis counts rows"
        raise ShapeError(f"{chunk.rows} rows of {part!r}", got=str(rows), fix=fix, where=where)
    chunk.rows = rows
    if isinstance(array, np.ndarray) and array.ndim == 1:
        return chunk.add((part, None), array, names)
    if isinstance(array, np.ndarray) and array.ndim == 2 and array.shape[1] <= _WIDE:
        _check_names(names, part, array.shape[1], where)
        for i in range(array.shape[1]):
            chunk.add((part, i), np.ascontiguousarray(array[:, i]), names)
        return None
    chunk.contents.append(contents_of(array))
    for summary, values in summaries_of(array).items():
        chunk.add((part, summary), values, names)
    return None


def _check_names(names: Mapping[Place, str], part: str, features: int, where: str) -> None:
    given: Sequence[Any] = [place for place in names if place[0] == part and isinstance(place[1], int)]
    if given and len(given) != features:
        fix = "name every feature of x, in their order"
        raise ShapeError(f"{features} names for {part!r}", got=str(len(given)), fix=fix, where=where)
