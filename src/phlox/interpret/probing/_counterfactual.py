"""The nearest row that a model answers otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.interpret.probing._columns import by_name, rows_of


@dataclass(frozen=True)
class Counterfactual:
    """A row, and the nearest one that is answered otherwise.

    Arguments:
        row, nearest: their numbers.
        distance: between them.
        changes: by feature, what the one and the other has, where they differ.
    """

    row: int
    nearest: int
    distance: float
    changes: dict[Any, tuple[Any, Any]]


def nearest_counterfactual(
    x: Any, predictions: Any, row: int, *, norm: int = 1, at_least: float | None = None
) -> Counterfactual:
    r"""The nearest row that has another prediction, by $d(a, b) = (\sum_j |a_j - b_j|^p / σ_j^p)^{1/p}$.

    Numbers are measured by their standard deviation over the data. Of features of text, equal ones are at distance 0,
    others at the probability that two rows have the same value. Of equally near rows the first is taken.

    Shapes:
        x: (rows, features), a dict of columns (rows,), or a pandas frame; predictions: (rows,).

    Arguments:
        x: numbers, texts; a missing one differs from every other by one standard deviation.
        predictions: classes, or with ``at_least`` numbers.
        row: the one that is asked about.
        norm: p, 1 or 2.
        at_least: how far predictions must be apart to count as other ones, above 0.

    Raises:
        RangeError: no such row, another norm, or no row with another prediction.
        ShapeError: predictions that are not one for each row.

    Source: Wexler et al., "The What-If Tool: interactive probing of machine learning models", 2019.

    >>> import phlox as px
    >>> x = [[0.0, 0.0], [1.0, 4.0], [3.0, 0.0], [4.0, 4.0]]
    >>> px.interpret.nearest_counterfactual(x, [0, 0, 1, 1], 0).nearest
    2
    """
    where = "px.interpret.nearest_counterfactual"
    x = x if hasattr(x, "keys") or hasattr(x, "columns") else np.asarray(x)
    rows, predicted = rows_of(x, where), np.asarray(predictions)
    if predicted.shape != (rows,):
        fix = "give the predicted class of each row"
        raise ShapeError(f"predictions ({rows},)", got=describe(predicted), fix=fix, where=where)
    if not 0 <= row < rows:
        raise RangeError(f"a row from 0 to {rows - 1}", got=repr(row), fix="count from 0", where=where)
    if norm not in (1, 2):
        raise RangeError("norm 1 or 2", got=repr(norm), fix="choose one of them", where=where)
    columns = by_name(x, where)
    other = _others(predicted, row, at_least, where)
    total = np.zeros(rows)
    for column in columns.values():
        total += _apart(column, row) ** norm
    nearest = int(np.argmin(np.where(other, total, np.inf)))
    changes = {
        name: (column[row].item(), column[nearest].item()) if isinstance(column[row], np.generic)
        else (column[row], column[nearest])
        for name, column in columns.items() if column[row] != column[nearest]
    }  # fmt: skip
    return Counterfactual(row, nearest, float(total[nearest] ** (1 / norm)), changes)


def _others(predicted: np.ndarray, row: int, at_least: float | None, where: str) -> np.ndarray:
    """Which rows are answered otherwise."""
    if at_least is not None and not at_least > 0:
        raise RangeError("at_least above 0", got=repr(at_least), fix="leave it out for classes", where=where)
    other = predicted != predicted[row] if at_least is None else np.abs(predicted - predicted[row]) >= at_least
    if not other.any():
        fix = "there is no counterfactual among the data; give more rows" + ("" if at_least is None else ", or less")
        raise RangeError("a row that is answered otherwise", got="none", fix=fix, where=where)
    return other


def _apart(column: np.ndarray, row: int) -> np.ndarray:
    """How far each row is from one, in one feature."""
    if column.dtype.kind in "fiub":
        values = column.astype(np.float64)
        deviation = np.nanstd(values)
        apart = np.abs(values - values[row]) / (deviation if deviation > 0 else 1)
        missing = np.isnan(values)
        return np.where(missing | missing[row], (missing != missing[row]).astype(np.float64), apart)
    _, counts = np.unique(column.astype(str), return_counts=True)
    same = float(((counts / len(column)) ** 2).sum())
    return np.where(column.astype(str) == str(column[row]), 0.0, same)
