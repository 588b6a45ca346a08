"""Decisions by slice: the four counts of each, and the measures of fairness that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError, describe

Thresholds = float | Mapping[Any, float]
ALL = "all"


@dataclass(frozen=True)
class Fairness:
    """How the decisions of a model fall on slices of the data: counts, rates, and how far slices are apart.

    Rates are NumPy arrays (slices,), NaN where there is nothing to count. Differences are the largest rate of a slice
    less the smallest, 0 at best; ratios the smallest by the largest, 1 at best. Slices without a rate do not count.

    Arguments:
        slices: what the slices are called, sorted.
        thresholds: from which score on each calls a row positive, (slices,).
        true_positive, false_positive, true_negative, false_negative: sums of weights, (slices,).
    """

    slices: tuple[Any, ...]
    thresholds: np.ndarray
    true_positive: np.ndarray
    false_positive: np.ndarray
    true_negative: np.ndarray
    false_negative: np.ndarray

    @property
    def count(self) -> np.ndarray:
        """Rows of each slice, by weight."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def selection_rate(self) -> np.ndarray:
        """The share that is called positive."""
        return _share(self.true_positive + self.false_positive, self.count)

    @property
    def base_rate(self) -> np.ndarray:
        """The share that is positive."""
        return _share(self.true_positive + self.false_negative, self.count)

    @property
    def accuracy(self) -> np.ndarray:
        """The share that is called what it is."""
        return _share(self.true_positive + self.true_negative, self.count)

    @property
    def true_positive_rate(self) -> np.ndarray:
        """Recall: of the positive, the share that is called so."""
        return _share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def false_positive_rate(self) -> np.ndarray:
        """Of the negative, the share that is called positive."""
        return _share(self.false_positive, self.false_positive + self.true_negative)

    @property
    def precision(self) -> np.ndarray:
        """Of what is called positive, the share that is."""
        return _share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def demographic_parity_difference(self) -> float:
        """How far selection rates are apart."""
        return _difference(self.selection_rate)

    @property
    def demographic_parity_ratio(self) -> float:
        """The smallest selection rate by the largest."""
        return _ratio(self.selection_rate)

    @property
    def equal_opportunity_difference(self) -> float:
        """How far true positive rates are apart."""
        return _difference(self.true_positive_rate)

    @property
    def equal_opportunity_ratio(self) -> float:
        """The smallest true positive rate by the largest."""
        return _ratio(self.true_positive_rate)

    @property
    def equalized_odds_difference(self) -> float:
        """The larger of the differences of true and of false positive rates."""
        return float(np.max([_difference(self.true_positive_rate), _difference(self.false_positive_rate)]))

    @property
    def equalized_odds_ratio(self) -> float:
        """The smaller of the ratios of true and of false positive rates."""
        return float(np.min([_ratio(self.true_positive_rate), _ratio(self.false_positive_rate)]))

    @property
    def predictive_parity_difference(self) -> float:
        """How far precisions are apart."""
        return _difference(self.precision)

    @property
    def accuracy_difference(self) -> float:
        """How far accuracies are apart."""
        return _difference(self.accuracy)

    def measures(self) -> dict[str, float]:
        """The numbers that compare slices, by name."""
        return {name: getattr(self, name) for name in MEASURES}

    def rates(self) -> dict[str, np.ndarray]:
        """The rates of the slices, by name, (slices,) each."""
        return {name: getattr(self, name) for name in RATES}

    def numbers(self, prefix: str = "fairness") -> dict[str, float]:
        """All of it as scalars by name, as loggers take them; what is NaN is left out."""
        found = {f"{prefix}/{name}": value for name, value in self.measures().items()}
        for name, values in ({"threshold": self.thresholds} | self.rates()).items():
            found |= {f"{prefix}/{one}/{name}": float(v) for one, v in zip(self.slices, values, strict=True)}
        return {name: float(value) for name, value in found.items() if np.isfinite(value)}

    def __repr__(self) -> str:
        head = ["slice", "rows", "threshold", *(name.replace("_", " ") for name in RATES)]
        table = [head]
        for i, name in enumerate(self.slices):
            rates = (f"{values[i]:.3f}" for values in self.rates().values())
            table.append([str(name), f"{self.count[i]:g}", f"{self.thresholds[i]:.4g}", *rates])
        widths = [max(len(row[k]) for row in table) for k in range(len(head))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        lines += [f"{name.replace('_', ' ')}: {value:.3f}" for name, value in self.measures().items()]
        return "\n".join(lines)


RATES = ("base_rate", "selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy")
MEASURES = (
    "demographic_parity_difference", "demographic_parity_ratio", "equal_opportunity_difference",
    "equal_opportunity_ratio", "equalized_odds_difference", "equalized_odds_ratio", "predictive_parity_difference",
    "accuracy_difference",
)  # fmt: skip


def fairness(
    scores: Any, target: Any, slices: Any = None, *, thresholds: Thresholds = 0.5, weight: Any = None
) -> Fairness:
    """How decisions fall on slices of the data: a row is called positive from a score on.

    Shapes:
        scores: (rows,) larger for what is likelier positive; target: (rows,) 0 or 1; slices: (rows,) names; weight:
            (rows,).

    Arguments:
        slices: which slice each row belongs to; None for one of all rows.
        thresholds: of all slices, or by slice; a score that equals it counts as positive.
        weight: of each row, at least 0.

    Raises:
        ShapeError: arrays of different lengths. RangeError: a target that is neither 0 nor 1, a slice without a
            threshold, a score that is no number.

    Source: Hardt, Price and Srebro, "Equality of opportunity in supervised learning", 2016; Agarwal et al., "A
    reductions approach to fair classification", 2018, for the differences.

    >>> import phlox as px
    >>> found = px.interpret.fairness([0.9, 0.2, 0.6, 0.7], [1, 1, 0, 1], ["a", "a", "b", "b"])
    >>> found.selection_rate.tolist(), found.equal_opportunity_difference
    ([0.5, 1.0], 0.5)
    """
    where = "px.interpret.fairness"
    read = read_decisions(scores, target, slices, weight, where)
    limits = _limits(thresholds, read.names, where)
    called = read.scores >= limits[read.codes]
    return counted(called, read, limits)


@dataclass(frozen=True)
class Decisions:
    """Checked arrays: scores and truths of rows, the number of each one's slice, weights."""

    scores: np.ndarray
    positive: np.ndarray  # (rows,) booleans
    names: tuple[Any, ...]
    codes: np.ndarray  # (rows,)
    weight: np.ndarray


def read_decisions(scores: Any, target: Any, slices: Any, weight: Any, where: str) -> Decisions:
    """Arrays that go together.

    Raises:
        ShapeError, RangeError: they do not.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(target)
    named = np.full(len(values), ALL) if slices is None else np.asarray(slices)
    weights = np.ones(len(values)) if weight is None else np.asarray(weight, np.float64)
    given = {"scores": values, "target": truth, "slices": named, "weight": weights}
    for name, array in given.items():
        if array.shape != (len(values),) or not len(values):
            fix = "give one of each for every row"
            raise ShapeError(f"{name} ({len(values) or 'rows'},)", got=describe(array), fix=fix, where=where)
    if not np.isin(truth, (0, 1)).all():
        odd, fix = truth[~np.isin(truth, (0, 1))][0], "say target == the class that counts as positive"
        raise RangeError("a target of 0 and 1", got=repr(odd), fix=fix, where=where)
    if np.isnan(values).any():
        fix = "leave rows without a score out"
        raise RangeError("scores that are numbers", got=f"{int(np.isnan(values).sum())} NaN", fix=fix, where=where)
    if not (weights >= 0).all():
        raise RangeError("weights of at least 0", got=repr(weights.min()), fix="0 leaves a row out", where=where)
    names, codes = np.unique(named.astype(str) if named.dtype == object else named, return_inverse=True)
    return Decisions(values, truth == 1, tuple(names.tolist()), codes, weights)


def counted(called: np.ndarray, read: Decisions, limits: np.ndarray) -> Fairness:
    """The four counts of each slice."""

    def tally(which: np.ndarray) -> np.ndarray:
        return np.bincount(read.codes, read.weight * which, len(read.names))

    yes = read.positive
    return Fairness(
        read.names, limits, tally(called & yes), tally(called & ~yes), tally(~called & ~yes), tally(~called & yes)
    )


def _limits(thresholds: Thresholds, names: tuple[Any, ...], where: str) -> np.ndarray:
    if not isinstance(thresholds, Mapping):
        return np.full(len(names), float(thresholds))
    lacking = [name for name in names if name not in thresholds]
    if lacking:
        fix = "give one for each, or one number for all"
        raise RangeError(
            f"thresholds of {', '.join(map(repr, names))}", got=f"none of {lacking[0]!r}", fix=fix, where=where
        )
    return np.array([thresholds[name] for name in names], np.float64)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _over(values: np.ndarray, measure: Callable[[float, float], float]) -> float:
    there = values[~np.isnan(values)]
    return measure(there.min(), there.max()) if len(there) else float("nan")


def _difference(values: np.ndarray) -> float:
    return _over(values, lambda low, high: float(high - low))


def _ratio(values: np.ndarray) -> float:
    """The smallest by the largest; where all are 0 they are equal, and the ratio is 1."""
    return _over(values, lambda low, high: float(low / high) if high > 0 else 1.0)
