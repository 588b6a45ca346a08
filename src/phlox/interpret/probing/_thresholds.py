"""Thresholds by slice: the cheapest for all, the cheapest for each, or those that make rates equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from phlox.core import RangeError
from phlox.interpret.probing._rates import Decisions, read_decisions

Goal = Literal["single", "by slice", "demographic parity", "equal opportunity", "equal accuracy"]
GOALS: tuple[Goal, ...] = ("single", "by slice", "demographic parity", "equal opportunity", "equal accuracy")
_MOST = 1000  # thresholds that are tried of each slice, and rates that are tried for all


def choose_thresholds(
    scores: Any,
    target: Any,
    slices: Any = None,
    *,
    goal: Goal = "single",
    false_positive_cost: float = 1.0,
    false_negative_cost: float = 1.0,
    weight: Any = None,
) -> dict[Any, float]:
    """Thresholds for slices of the data, at the least cost of wrong decisions that a goal allows.

    ``"single"`` is one for all; ``"by slice"`` the best of each. The others want rates of slices as near to each other
    as thresholds allow: of what is called positive (demographic parity), of that among the positive (equal
    opportunity), of right decisions (equal accuracy). For each rate that could be common, each slice takes its nearest;
    of the rates within a thousandth of the nearest that slices can come, the cheapest is taken.

    Shapes:
        scores, target, slices, weight: as for ``px.interpret.fairness``.

    Arguments:
        goal: which.
        false_positive_cost, false_negative_cost: of one wrong decision, above 0; equal ones maximise accuracy.

    Returns:
        A threshold by slice: halfway between two scores, or infinite where all or none is called positive. Of more
        than a thousand scores of a slice, a thousand quantiles are tried.

    Raises:
        RangeError: another goal, a cost that is not above 0, or a slice without positives for equal opportunity.
            Others as ``px.interpret.fairness``.

    Source: Hardt, Price and Srebro, "Equality of opportunity in supervised learning", 2016; Wexler et al., "The
    What-If Tool", 2019, for the goals.

    >>> import phlox as px
    >>> scores, target, sex = [0.1, 0.4, 0.6, 0.3, 0.7, 0.9], [0, 0, 1, 0, 0, 1], ["f", "f", "f", "m", "m", "m"]
    >>> found = px.interpret.choose_thresholds(scores, target, sex, goal="by slice")
    >>> {name: round(value, 3) for name, value in found.items()}
    {'f': 0.5, 'm': 0.8}
    """
    where = "px.interpret.choose_thresholds"
    read = read_decisions(scores, target, slices, weight, where)
    if goal not in GOALS:
        raise RangeError(f"a goal among {', '.join(GOALS)}", got=repr(goal), fix="choose one of them", where=where)
    costs = (false_positive_cost, false_negative_cost)
    if not min(costs) > 0:
        raise RangeError("costs above 0", got=repr(min(costs)), fix="give how bad a wrong decision is", where=where)
    if goal == "single":
        best = _cheapest(_swept(read, np.ones(len(read.scores), bool), costs))
        return dict.fromkeys(read.names, best)
    sweeps = [_swept(read, read.codes == i, costs) for i in range(len(read.names))]
    if goal == "by slice":
        return {name: _cheapest(sweep) for name, sweep in zip(read.names, sweeps, strict=True)}
    rates = [getattr(sweep, goal.replace(" ", "_")) for sweep in sweeps]
    for name, rate in zip(read.names, rates, strict=True):
        if np.isnan(rate).any():
            fix = "choose another goal, or leave the slice out"
            raise RangeError("positives in every slice", got=f"none in {name!r}", fix=fix, where=where)
    return _equal(read.names, sweeps, rates)


@dataclass(frozen=True)
class _Sweep:
    """A slice's threshold lowered from above all scores: what each costs, and its rates, (thresholds,)."""

    thresholds: np.ndarray
    cost: np.ndarray
    demographic_parity: np.ndarray
    equal_opportunity: np.ndarray
    equal_accuracy: np.ndarray


def _swept(read: Decisions, rows: np.ndarray, costs: tuple[float, float]) -> _Sweep:
    scores, positive, weight = read.scores[rows], read.positive[rows], read.weight[rows]
    order = np.argsort(-scores, kind="stable")
    scores, positive, weight = scores[order], positive[order], weight[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # the last of equal scores
    if len(ends) > _MOST:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, _MOST).round().astype(int))]
    yes, no = (np.append(0, np.cumsum(weight * truth)[ends]) for truth in (positive, ~positive))
    following = np.append(scores, -np.inf)[ends + 1]
    thresholds = np.append(np.inf, np.where(np.isinf(following), -np.inf, (scores[ends] + following) / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return _Sweep(
            thresholds,
            costs[0] * no + costs[1] * (yes[-1] - yes),
            (yes + no) / (yes[-1] + no[-1]),
            yes / yes[-1],
            (yes + no[-1] - no) / (yes[-1] + no[-1]),
        )


def _cheapest(sweep: _Sweep) -> float:
    return float(sweep.thresholds[np.argmin(sweep.cost)])


def _equal(names: tuple[Any, ...], sweeps: list[_Sweep], rates: list[np.ndarray]) -> dict[Any, float]:
    """Of rates that could be common, the cheapest among those that the slices come nearest to."""
    common = np.unique(np.concatenate(rates))
    if len(common) > _MOST:
        common = np.linspace(common[0], common[-1], _MOST)
    chosen, apart, cost = [], [], np.zeros(len(common))
    for sweep, rate in zip(sweeps, rates, strict=True):
        away = np.abs(rate[None] - common[:, None])  # (common, thresholds)
        nearest = away.min(1, keepdims=True)
        pick = np.where(away <= nearest, sweep.cost, np.inf).argmin(1)  # the cheapest of equally near ones
        chosen.append(sweep.thresholds[pick])
        apart.append(rate[pick])
        cost += sweep.cost[pick]
    spread = np.ptp(np.stack(apart), axis=0)
    best = int(np.where(spread <= spread.min() + 1e-3, cost, np.inf).argmin())
    return {name: float(thresholds[best]) for name, thresholds in zip(names, chosen, strict=True)}
