"""What a table's columns become: numbers scaled, categories counted, as they were in the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, Module, RangeError, State, StructureError

Missing = Literal["mean", "median", "error"]
Categories = dict[str, tuple[Any, ...]]


class TableEncoder(Module):
    """The columns of a frame as arrays, by what ``px.data.TableEncoder.fit`` found in the training data.

    Columns of numbers and booleans are filled in where they are missing, and standardised, $y = (x - μ) / σ$. Other
    columns become codes: 0 for what is missing or was not seen, and 1, 2, … for the categories, in sorted order; so a
    ``px.Embedding`` of a column takes ``encoder.sizes[name]`` codes. It is a Module, its statistics State:
    an attribute of a model, or by itself, ``px.save`` and ``px.load`` keep all of it, names and categories too.

    Shapes:
        frame: (n, columns); ``encoder(frame)`` is a dict of "numbers" (n, numbers) float32, "missing" (n, numbers)
            bool, and "codes" (n, categories) int32; what there is no column for is left out, "missing" also where
            none was missing in the training data.

    Arguments:
        fill, mean, std: what each number is filled in with, μ, and σ.
        numbers: names of the columns of numbers.
        categories: for each other column its categories.
        marks: whether "missing" is among the results.

    Raises:
        StructureError: a frame that lacks a column. DtypeError: text where numbers were.

    >>> import pandas, phlox as px
    >>> frame = pandas.DataFrame({"age": [20.0, None, 40.0], "city": ["Rome", "Oslo", None]})
    >>> encoder = px.data.TableEncoder.fit(frame)
    >>> encoder.categories, encoder.sizes
    ({'city': ('Oslo', 'Rome')}, {'city': 3})
    >>> new = encoder(pandas.DataFrame({"age": [30.0, None], "city": ["Bonn", "Oslo"]}))
    >>> new["numbers"].tolist(), new["missing"].tolist(), new["codes"].tolist()
    ([[0.0], [0.0]], [[False], [True]], [[0], [1]])
    """

    fill: State  # (numbers,)
    mean: State  # (numbers,)
    std: State  # (numbers,)
    numbers: tuple[str, ...]
    marks: bool

    def __init__(self, fill: Any, mean: Any, std: Any, *, numbers: Sequence[str], categories: Categories, marks: bool):
        self.fill, self.mean, self.std = (jnp.asarray(a, jnp.float32) for a in (fill, mean, std))
        self.numbers, self.marks = tuple(numbers), marks
        self._categories = tuple((name, tuple(known)) for name, known in categories.items())

    @property
    def categories(self) -> Categories:
        """For each column of categories, what they are; code n stands for number n − 1."""
        return dict(self._categories)

    @property
    def sizes(self) -> dict[str, int]:
        """For each column of categories, how many codes it has."""
        return {name: len(known) + 1 for name, known in self._categories}

    @classmethod
    def fit(
        cls, frame: Any, *, categories: Sequence[str] = (), missing: Missing = "mean", standardize: bool = True
    ) -> Self:
        """The encoder of a pandas frame.

        Arguments:
            frame: the training data.
            categories: columns of numbers that are categories, such as postcodes.
            missing: numbers are filled in with their mean or median; "error" refuses missing ones.
            standardize: False leaves numbers as they are.

        Raises:
            StructureError: no such column. DtypeError: a column of dates or the like. RangeError: missing numbers
                that are refused, or a column without any.
        """
        where = "TableEncoder.fit"
        if missing not in ("mean", "median", "error"):
            fix = "choose one of them"
            raise RangeError("missing to be mean, median or error", got=repr(missing), fix=fix, where=where)
        _check_columns(frame, categories, where)
        kinds = {name: "c" if name in categories else _kind(frame[name], where) for name in frame.columns}
        numbers = [name for name, kind in kinds.items() if kind == "n"]
        values = _numbers(frame, numbers, where)
        gone = np.isnan(values)
        _check_missing(numbers, gone, missing, where)
        fill = np.nanmedian(values, axis=0) if missing == "median" else np.nanmean(values, axis=0)
        fill = fill if numbers else np.zeros(0)
        filled = np.where(gone, fill, values)
        mean = filled.mean(0) if standardize else np.zeros(len(numbers))
        std = filled.std(0) if standardize else np.ones(len(numbers))
        std = np.where(std <= 1e-12 * np.abs(mean), 1.0, std)
        known = {name: _known(frame[name]) for name, kind in kinds.items() if kind == "c"}
        return cls(fill, mean, std, numbers=numbers, categories=known, marks=bool(gone.any()))

    def __call__(self, frame: Any) -> dict[str, np.ndarray]:
        where = "TableEncoder"
        _check_columns(frame, [*self.numbers, *self.categories], where)
        found = {}
        if self.numbers:
            values = _numbers(frame, self.numbers, where)
            gone = np.isnan(values)
            fill, mean, std = (np.asarray(a, np.float64) for a in (self.fill, self.mean, self.std))
            found["numbers"] = ((np.where(gone, fill, values) - mean) / std).astype(np.float32)
            if self.marks:
                found["missing"] = gone
        if self._categories:
            codes = [codes_of(frame[name], known) + 1 for name, known in self._categories]
            found["codes"] = np.stack(codes, axis=1).astype(np.int32)
        return found


def codes_of(column: Any, known: Sequence[Any]) -> np.ndarray:
    """The place of each value among the known ones, −1 for others and for what is missing."""
    place = {value: i for i, value in enumerate(known)}
    return np.array([place.get(_plain(value), -1) for value in column.tolist()], np.int64)


def _plain(value: Any) -> Any:
    """A value that JSON keeps as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _known(column: Any) -> tuple[Any, ...]:
    """What a column holds, sorted; the categories of a categorical column in their own order."""
    if column.dtype.name == "category":
        return tuple(_plain(value) for value in column.cat.categories.tolist())
    return tuple(sorted({_plain(value) for value in column.dropna().tolist()}, key=lambda v: (str(type(v)), v)))


def _kind(column: Any, where: str) -> str:
    """``n`` for numbers and booleans, ``c`` for text and categories."""
    from pandas.api import types

    if column.dtype.name == "category" or types.is_object_dtype(column) or types.is_string_dtype(column):
        return "c"
    if types.is_numeric_dtype(column) and not types.is_complex_dtype(column):
        return "n"
    fix = "make numbers of it, such as column.dt.year, or leave it out with columns="
    raise DtypeError(f"numbers or categories in column {column.name!r}", got=str(column.dtype), fix=fix, where=where)


def _numbers(frame: Any, names: Sequence[str], where: str) -> np.ndarray:
    columns = []
    for name in names:
        if _kind(frame[name], where) != "n":
            got, fix = str(frame[name].dtype), "find the text among the numbers of that column"
            raise DtypeError(f"numbers in column {name!r}", got=got, fix=fix, where=where)
        columns.append(frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
    return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0))


def _check_columns(frame: Any, names: Sequence[str] | Mapping[str, Any], where: str) -> None:
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        got, fix = ", ".join(map(str, frame.columns)), "give the columns that it was fitted to"
        raise StructureError(f"columns {', '.join(map(str, lacking))}", got=got, fix=fix, where=where)


def _check_missing(names: Sequence[str], gone: np.ndarray, missing: Missing, where: str) -> None:
    if gone.all(axis=0).any() and len(gone):
        got, fix = names[int(gone.all(axis=0).argmax())], "leave it out with columns="
        raise RangeError("a number in each column", got=f"none in {got!r}", fix=fix, where=where)
    if missing == "error" and gone.any():
        row, column = np.argwhere(gone)[0]
        fix = "give missing='mean' or 'median', or leave such rows out"
        raise RangeError("no missing numbers", got=f"one in {names[column]!r}, row {row}", fix=fix, where=where)
