"""Tables from CSV and Parquet files, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError
from phlox.data.readers._files import FilePath, corrupt, extra
from phlox.data.readers._table_encoder import Missing, TableEncoder, _check_columns, _kind, _known, codes_of


@dataclass(frozen=True)
class Table:
    """A table as arrays: what a model reads, what it predicts, and how both came about.

    ``px.DataLoader(table.data, 32)`` gives its batches.

    Arguments:
        x: dict of "numbers", "missing" and "codes", as ``px.data.TableEncoder`` says.
        y: the target: float32 numbers, or int32 numbers of classes; None without one.
        encoder: what made x; fitted to the training data.
        target: the name of the target.
        classes: what the numbers of y stand for; () where y holds numbers.
    """

    x: dict[str, np.ndarray]
    y: np.ndarray | None
    encoder: TableEncoder
    target: str | None = None
    classes: tuple[Any, ...] = ()

    @classmethod
    def of(
        cls,
        frame: Any,
        *,
        target: str | None = None,
        categories: Sequence[str] = (),
        missing: Missing = "mean",
        standardize: bool = True,
        like: Table | None = None,
    ) -> Table:
        """A pandas frame as a table.

        Arguments:
            target: the column to predict. Text, categories and booleans, and the columns named in ``categories``, are
                classes 0, 1, …, in sorted order; other numbers stay as they are.
            categories: columns of numbers that are categories.
            missing, standardize: as for ``px.data.TableEncoder.fit``.
            like: the table of the training data; its encoder, target and classes are used again.

        Raises:
            StructureError: no such column. RangeError: a target that is missing, or of a class that was not seen.
            ShapeError: a frame without rows. DtypeError: a column that was of another kind.

        >>> import pandas, phlox as px
        >>> train = pandas.DataFrame({"size": [1.0, 3.0], "kind": ["cat", "dog"]})
        >>> table = px.data.Table.of(train, target="kind")
        >>> table.x["numbers"].tolist(), table.y.tolist(), table.classes
        ([[-1.0], [1.0]], [0, 1], ('cat', 'dog'))
        >>> px.data.Table.of(pandas.DataFrame({"size": [2.0]}), like=table).x["numbers"].tolist()
        [[0.0]]
        """
        if not len(frame):
            raise ShapeError("a frame with rows", got="none", fix="check the file", where="Table")
        if like is not None:
            known = like.target is not None and like.target in frame.columns
            y = _target(frame[like.target], like.classes, "Table") if known else None
            return cls(like.encoder(frame), y, like.encoder, like.target, like.classes)
        classes, y, inputs = (), None, frame
        if target is not None:
            _check_columns(frame, [target], "Table")
            column, inputs = frame[target], frame.drop(columns=[target])
            text = target in categories or column.dtype.name == "bool" or _kind(column, "Table") == "c"
            classes = _known(column) if text else ()
            y = _target(column, classes, "Table")
        chosen = [name for name in categories if name != target]
        encoder = TableEncoder.fit(inputs, categories=chosen, missing=missing, standardize=standardize)
        return cls(encoder(inputs), y, encoder, target, classes)

    @property
    def data(self) -> Any:
        """(x, y), or x alone without a target: what a loader takes."""
        return self.x if self.y is None else (self.x, self.y)

    def __len__(self) -> int:
        return len(next(iter(self.x.values())))

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}: {array.shape[1]}" for name, array in self.x.items())
        goal = "" if self.target is None else f", target {self.target!r}"
        return f"Table({len(self)} rows, {parts}{goal})"


def _target(column: Any, classes: tuple[Any, ...], where: str) -> np.ndarray:
    name = column.name
    if column.isna().any():
        row, fix = int(column.isna().to_numpy().argmax()), "leave such rows out: there is nothing to learn from them"
        raise RangeError(f"a target {name!r} in each row", got=f"none in row {row}", fix=fix, where=where)
    if not classes:
        return column.to_numpy(dtype=np.float32)
    codes = codes_of(column, classes)
    if (codes < 0).any():
        got, fix = repr(column.iloc[int((codes < 0).argmax())]), "only classes of the training data can be predicted"
        raise RangeError(f"{name!r} among {', '.join(map(repr, classes))}", got=got, fix=fix, where=where)
    return codes.astype(np.int32)


def read_csv(
    path: FilePath,
    *,
    target: str | None = None,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    missing: Missing = "mean",
    standardize: bool = True,
    like: Table | None = None,
    **options: Any,
) -> Table:
    """A CSV file as a table.

    Arguments:
        path: the file, packed or not.
        target: the column to predict.
        columns: those to read, the target among them; None is all.
        categories, missing, standardize, like: as for ``px.data.Table.of``.
        options: for ``pandas.read_csv``, such as ``sep=";"``.

    Raises:
        MissingExtraError: pandas is not installed.
        CorruptFileError: no table, or rows of more columns than the first. Others as ``px.data.Table.of``.

    >>> import pathlib, tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "train.csv")
    ...     _ = path.write_text("size,colour,price\\n1,red,10\\n3,blue,30\\n,red,20\\n")
    ...     table = px.data.read_csv(path, target="price")
    >>> table, table.x["codes"].ravel().tolist(), table.y.tolist()
    (Table(3 rows, numbers: 1, missing: 1, codes: 1, target 'price'), [2, 1, 2], [10.0, 30.0, 20.0])
    """
    pandas = extra("pandas", "pandas", "tables", "read_csv")
    frame = _read(lambda: pandas.read_csv(path, **options), path, "read_csv")
    return Table.of(
        _chosen(frame, columns, "read_csv"),
        target=target,
        categories=categories,
        missing=missing,
        standardize=standardize,
        like=like,
    )


def read_parquet(
    path: FilePath,
    *,
    target: str | None = None,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    missing: Missing = "mean",
    standardize: bool = True,
    like: Table | None = None,
    **options: Any,
) -> Table:
    """A Parquet file as a table; arguments and errors as ``px.data.read_csv``.

    Arguments:
        options: for ``pandas.read_parquet``.

    Raises:
        MissingExtraError: pandas or pyarrow is not installed. Others as ``px.data.read_csv``.
    """
    pandas = extra("pandas", "pandas", "tables", "read_parquet")
    extra("pyarrow", "pyarrow", "tables", "read_parquet")
    frame = _read(lambda: pandas.read_parquet(path, **options), path, "read_parquet")
    return Table.of(
        _chosen(frame, columns, "read_parquet"),
        target=target,
        categories=categories,
        missing=missing,
        standardize=standardize,
        like=like,
    )


def _read(read: Callable[[], Any], path: FilePath, where: str) -> Any:
    try:
        return read()
    except (ValueError, EOFError) as error:  # pandas' and pyarrow's errors are among them
        raise corrupt("a table", str(error).strip().splitlines()[0], path, where) from error


def _chosen(frame: Any, columns: Sequence[str] | None, where: str) -> Any:
    if columns is None:
        return frame
    _check_columns(frame, columns, where)
    return frame[list(columns)]
