"""Partial dependence and ICE: one feature moved over a grid in every row, all else kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.interpret.probing._answers import Target, answers, scores_of
from phlox.interpret.probing._columns import column_of, rows_of, taken, with_column


@dataclass(frozen=True)
class Dependence:
    """What a model answers where one feature is moved: a curve for each row, and their mean.

    Arguments:
        feature: its name or number.
        grid: the values that it was given, (points,).
        curves: the answers, (rows, points): individual conditional expectations.
    """

    feature: Any
    grid: np.ndarray
    curves: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Partial dependence, (points,): the mean of the curves."""
        return self.curves.mean(0)

    @property
    def centred(self) -> np.ndarray:
        """The curves less their first point, (rows, points): c-ICE, which shows where they are not parallel."""
        return self.curves - self.curves[:, :1]

    def __repr__(self) -> str:
        rows, points = self.curves.shape
        low, high = self.mean.min(), self.mean.max()
        return f"Dependence({self.feature!r}: {points} points, {rows} rows, mean from {low:.4g} to {high:.4g})"


def partial_dependence(
    model: Any,
    x: Any,
    feature: Any,
    *,
    grid: Any = None,
    points: int = 50,
    target: Target = None,
    batch_size: int = 4096,
) -> Dependence:
    r"""How a model's answer depends on one feature: $\hat f_s(v) = \frac1n \sum_i f(v, x_{i, \setminus s})$.

    In every row the feature is set to each value of a grid; the curves of single rows are ICE, their mean is partial
    dependence. Where features go together, rows are asked about that cannot be: the curves show it by their spread.

    Shapes:
        x: (rows, features), a dict of columns (rows,), or a pandas frame.

    Arguments:
        model: a Module or a function of such data; it infers, and stays as it is.
        feature: its number of an array, its name of a dict or frame.
        grid: the values, (points,); by default the distinct ones where these are no more than ``points``, else equal
            steps from the 5th to the 95th percentile.
        points: of the default grid, at least 2.
        target: the class (its column of the answer), a function of one row's answer, or None where a row is answered
            by one number.
        batch_size: rows that are asked at once.

    Raises:
        RangeError: no such feature or class, too few points, a feature of text without a grid that is too long.
        ShapeError: an answer of several numbers without a target.

    Source: Friedman, "Greedy function approximation", 2001; Goldstein et al., "Peeking inside the black box:
    visualizing statistical learning with plots of individual conditional expectation", 2015.

    >>> import numpy as np, phlox as px
    >>> x = np.array([[0.0, 1.0], [1.0, 3.0]])
    >>> found = px.interpret.partial_dependence(lambda x: x[:, 0] * x[:, 1], x, 0)
    >>> found.grid.tolist(), found.mean.tolist(), found.curves.tolist()
    ([0.0, 1.0], [0.0, 2.0], [[0.0, 1.0], [0.0, 3.0]])
    """
    where = "px.interpret.partial_dependence"
    column = column_of(x, feature, where)
    values = default_grid(column, points, where) if grid is None else np.asarray(grid)
    if values.ndim != 1 or not values.size:
        fix = "give values such as [0, 1, 2]"
        raise RangeError("a grid (points,)", got=f"shape {values.shape}", fix=fix, where=where)
    rows = rows_of(x, where)
    every = taken(x, np.tile(np.arange(rows), len(values)))
    moved = with_column(every, feature, np.repeat(values, rows))
    scores = scores_of(answers(model, moved, where, batch_size), target, where)
    return Dependence(feature, values, scores.reshape(len(values), rows).T)


def default_grid(column: np.ndarray, points: int, where: str) -> np.ndarray:
    """Values for a feature: its own where they are few, else equal steps between the 5th and 95th percentile.

    Raises:
        RangeError: fewer than two points, or texts of which there are more.
    """
    if points < 2:
        raise RangeError("at least 2 points", got=repr(points), fix="leave it out for 50", where=where)
    own = np.unique(column[~_missing(column)])
    if len(own) <= points:
        return own
    if column.dtype.kind not in "fiub":
        fix = "give grid=, those that are to be tried"
        raise RangeError(f"at most {points} values of a feature of text", got=str(len(own)), fix=fix, where=where)
    low, high = np.nanpercentile(column.astype(np.float64), [5, 95])
    return np.linspace(low, high, points)


def _missing(column: np.ndarray) -> np.ndarray:
    return np.array([value is None or value != value for value in column.tolist()], bool)
