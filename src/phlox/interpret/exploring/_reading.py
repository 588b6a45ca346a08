"""What is given as data: a frame, columns, arrays or a file, as rows, pictures or texts."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import MissingExtraError, RangeError, ShapeError, describe
from phlox.interpret.exploring._observations import Observations, Pictures, Prepare, Rows, Texts, as_columns
from phlox.weights import CorruptFileError, FileError, file_error

_WHERE = "px.interpret.explore"
_TARGETS = ("y", "target", "labels", "label")
_INPUTS = ("x", "images", "data")


@dataclass(frozen=True)
class Asked:
    """How data is to be read, as ``px.interpret.explore`` has it."""

    target: Any = None  # a name, or what is right
    features: Sequence[Any] | None = None
    text: str | None = None
    prepare: Prepare = None
    most: int = 100_000
    seed: int = 0


def read_data(data: Any, asked: Asked) -> Observations:
    """Data as observations; of more than ``asked.most`` a sample is drawn.

    Raises:
        FileError: a file that is none, or is damaged. MissingExtraError: what reads it is not installed.
        RangeError, ShapeError: data that makes no observations.
    """
    if isinstance(data, str | os.PathLike):
        data = _of_file(Path(data))
    if isinstance(data, tuple):
        data, asked = _pair(data, asked)
    if hasattr(data, "columns") or isinstance(data, Mapping):
        return _of_columns(data, asked)
    if isinstance(data, list) and data and isinstance(data[0], str):
        return _sampled(lambda rows, target: Texts([data[i] for i in rows], {}, target, asked.prepare),
                        len(data), asked.target, asked)  # fmt: skip
    return _of_array(np.asarray(data), asked)


def _pair(data: tuple[Any, ...], asked: Asked) -> tuple[Any, Asked]:
    if len(data) != 2 or asked.target is not None:
        fix = "give (inputs, what is right), or the inputs and target="
        got = f"a tuple of {len(data)}" + ("" if asked.target is None else ", and target=")
        raise RangeError("a pair of inputs and what is right", got=got, fix=fix, where=_WHERE)
    inputs, target = data
    return inputs, Asked(target, asked.features, asked.text, asked.prepare, asked.most, asked.seed)


def _of_array(array: np.ndarray, asked: Asked) -> Observations:
    target = asked.target
    if isinstance(target, str):
        fix = "give the target as an array, or data with names: a frame, or a dict of columns"
        raise RangeError("a target (rows,) beside an array", got=repr(target), fix=fix, where=_WHERE)
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3, 4) or not array.size:
        fix = "give rows (rows, features), pictures (rows, height, width, channels), a list of texts, or columns"
        raise ShapeError("numbers (rows, features) or pictures", got=describe(array), fix=fix, where=_WHERE)
    if array.ndim == 2:
        names = list(asked.features or (f"x{i}" for i in range(array.shape[1])))
        if len(names) != array.shape[1]:
            fix = "name each column"
            raise RangeError(f"{array.shape[1]} features", got=str(len(names)), fix=fix, where=_WHERE)
        table = {str(name): array[:, i] for i, name in enumerate(names)}
        return _sampled(lambda rows, target: Rows(_some(table, rows), {}, target, asked.prepare, False),
                        len(array), target, asked)  # fmt: skip
    return _sampled(lambda rows, target: Pictures(array[rows], {}, target, asked.prepare), len(array), target, asked)


def _of_columns(data: Any, asked: Asked) -> Observations:
    columns = as_columns(data)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or not min(lengths):
        fix = "give columns (rows,) of one length, at least one row"
        raise ShapeError("a table with rows", got=f"columns of {sorted(lengths) or 'none'}", fix=fix, where=_WHERE)
    target = asked.target
    if isinstance(target, str):
        _check_names(columns, [target], "target")
        target = columns.pop(target)
    if asked.text is not None:
        _check_names(columns, [asked.text], "text")
        texts = columns.pop(asked.text)
        return _sampled(
            lambda rows, right: Texts([str(texts[i]) for i in rows], _some(columns, rows), right, asked.prepare),
            len(texts), target, asked,
        )  # fmt: skip
    names = _features(columns, asked)
    chosen = {name: columns.pop(name) for name in names}
    frame = hasattr(data, "columns")
    return _sampled(
        lambda rows, right: Rows(_some(chosen, rows), _some(columns, rows), right, asked.prepare, frame),
        lengths.pop(), target, asked,
    )  # fmt: skip


def _features(columns: Mapping[str, np.ndarray], asked: Asked) -> list[str]:
    if asked.features is not None:
        names = [str(name) for name in asked.features]
        _check_names(columns, names, "features")
    else:
        names = [name for name, column in columns.items() if asked.prepare is not None or column.dtype.kind in "fiub"]
    if not names:
        fix = "give features=, or prepare= where columns of texts are features"
        raise RangeError("at least one feature", got="none", fix=fix, where=_WHERE)
    texts = [name for name in names if columns[name].dtype.kind not in "fiub"]
    if texts and asked.prepare is None:
        fix = "give prepare=, such as the px.data.TableEncoder that the model was trained with"
        raise RangeError("features that are numbers", got=f"{texts[0]!r}, texts", fix=fix, where=_WHERE)
    return names


def _check_names(columns: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    lacking = [name for name in names if name not in columns]
    if lacking:
        shown = ", ".join(list(columns)[:12]) + (", …" if len(columns) > 12 else "")
        raise RangeError(f"{what} among {shown}", got=repr(lacking[0]), fix="name one of these", where=_WHERE)


def _sampled(make: Callable[[np.ndarray, Any], Observations], count: int, target: Any, asked: Asked) -> Observations:
    """All of them, or as many as are looked at, in their order.

    Raises:
        ShapeError: a target that is not one for each.
    """
    right = None if target is None else np.asarray(target)
    if right is not None and right.shape != (count,):
        fix = "give one for each observation"
        raise ShapeError(f"a target ({count},)", got=describe(right), fix=fix, where=_WHERE)
    rows = np.arange(count)
    if count > asked.most:
        rows = np.sort(np.random.default_rng(asked.seed).choice(count, asked.most, replace=False))
    return make(rows, None if right is None else right[rows])


def _some(columns: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in columns.items()}


# --- files ---------------------------------------------------------------------------------------


def _of_file(path: Path) -> Any:
    """A frame of a table's file, or (inputs, target) of arrays in a file.

    Raises:
        FileError: there is none, or none of a known kind. CorruptFileError: it is damaged.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv", ".parquet", ".npz"):
        fix = "give a .csv, .tsv or .parquet table, or a .npz file with arrays x and y"
        raise FileError("a table, or arrays in a .npz file", got=path.name, fix=fix, where=_WHERE)
    if not path.is_file():
        raise FileError("a file", got=f"{path}, which is none", fix="check the path", where=_WHERE)
    try:
        return _arrays(path) if kind == ".npz" else _frame(path, kind)
    except MissingExtraError:
        raise
    except OSError as error:
        raise file_error(error, path, _WHERE) from error
    except Exception as error:  # each library has its own
        fix = "write the file anew"
        raise CorruptFileError(
            f"{path.name} to be a {kind} file", got=str(error)[:200], fix=fix, where=_WHERE
        ) from error


def _frame(path: Path, kind: str) -> Any:
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        fix = 'pip install "phlox[tables]"'
        raise MissingExtraError("pandas", got=str(error), fix=fix, where=_WHERE) from error
    if kind == ".parquet":
        return pandas.read_parquet(path)
    return pandas.read_csv(path, sep="\t" if kind == ".tsv" else ",")


def _arrays(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    inputs = next((arrays.pop(name) for name in _INPUTS if name in arrays), None)
    if inputs is None:
        fix = f"call them {_INPUTS[0]} and {_TARGETS[0]}"
        raise ValueError(f"arrays {', '.join(arrays) or 'none'}; {fix}")
    target = next((arrays.pop(name) for name in _TARGETS if name in arrays), None)
    if inputs.dtype.kind == "U":
        inputs = inputs.tolist()
    return inputs if target is None else (inputs, target)
