"""Rates by slice, measures of fairness, thresholds and curves, beside scikit-learn and by trying all."""

import itertools

import numpy as np
import pytest
from sklearn import metrics

import phlox as px
from phlox.interpret import choose_thresholds, fairness
from phlox.interpret.probing._curves import confusion, curves_by_slice

rng = np.random.default_rng(0)
N = 300
SCORES = np.round(rng.uniform(size=N), 2)  # with ties
TARGET = (rng.uniform(size=N) < SCORES).astype(int)
SLICES = np.array(["f", "m", "x"])[rng.integers(0, 3, N)]
LIMITS = {"f": 0.25, "m": 0.5, "x": 0.75}
WEIGHT = rng.uniform(size=N)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["rows", "weighted"])
def test_counts_and_rates_are_those_of_scikit_learn(weight):
    found = fairness(SCORES, TARGET, SLICES, thresholds=LIMITS, weight=weight)
    assert found.slices == ("f", "m", "x")
    for i, name in enumerate(found.slices):
        here = name == SLICES
        called, truth = SCORES[here] >= LIMITS[name], TARGET[here]
        w = None if weight is None else weight[here]
        (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, called, sample_weight=w)
        counts = [getattr(found, n)[i] for n in ("true_negative", "false_positive", "false_negative", "true_positive")]
        np.testing.assert_allclose(counts, [tn, fp, fn, tp], rtol=1e-12)
        np.testing.assert_allclose(found.accuracy[i], metrics.accuracy_score(truth, called, sample_weight=w))
        np.testing.assert_allclose(found.precision[i], metrics.precision_score(truth, called, sample_weight=w))
        np.testing.assert_allclose(found.true_positive_rate[i], metrics.recall_score(truth, called, sample_weight=w))
        wrong = metrics.recall_score(1 - truth, ~called, sample_weight=w)
        np.testing.assert_allclose(found.false_positive_rate[i], 1 - wrong)
        np.testing.assert_allclose(found.selection_rate[i], np.average(called, weights=w))
        np.testing.assert_allclose(found.base_rate[i], np.average(truth, weights=w))


def test_measures_by_hand():
    """Two slices of four rows: called 3 and 1 of 4; of the positive 2 of 2 and 1 of 2, of the negative 1 of 2 and 0."""
    scores = [0.9, 0.8, 0.7, 0.1, 0.9, 0.4, 0.2, 0.1]
    target = [1, 1, 0, 0, 1, 1, 0, 0]
    found = fairness(scores, target, ["a"] * 4 + ["b"] * 4)
    assert found.measures() == {
        "demographic_parity_difference": 0.5, "demographic_parity_ratio": 1 / 3, "equal_opportunity_difference": 0.5,
        "equal_opportunity_ratio": 0.5, "equalized_odds_difference": 0.5, "equalized_odds_ratio": 0.0,
        "predictive_parity_difference": 1 - 2 / 3, "accuracy_difference": 0.0,
    }  # fmt: skip
    odds = fairness([0.9, 0.9, 0.1, 0.9, 0.1, 0.1], [1, 0, 0, 1, 0, 0], ["a"] * 3 + ["b"] * 3)
    assert odds.equalized_odds_difference == 0.5  # by false positive rates: true ones are equal
    assert "slice" in repr(found)
    assert "0.750" in repr(found)


def test_a_score_at_the_threshold_counts_and_what_is_not_there_has_no_rate():
    found = fairness([0.5, 0.4, 0.6, 0.7], [1, 0, 0, 0], ["a", "a", "b", "b"], thresholds=0.5)
    assert found.true_positive.tolist() == [1, 0]
    assert np.isnan(found.true_positive_rate).tolist() == [False, True]
    assert found.equal_opportunity_difference == 0.0  # of the one slice that has positives
    numbers = found.numbers("what-if")
    assert numbers["what-if/a/true_positive_rate"] == 1.0
    assert "what-if/b/true_positive_rate" not in numbers
    assert all(isinstance(value, float) and np.isfinite(value) for value in numbers.values())


# --- thresholds ----------------------------------------------------------------------------------


def cost_of(limits, costs=(1, 1)):
    found = fairness(SCORES[:60], TARGET[:60], SLICES[:60], thresholds=limits)
    return costs[0] * found.false_positive.sum() + costs[1] * found.false_negative.sum()


TRIED = [np.inf, *np.arange(0.995, -0.01, -0.01)]


@pytest.mark.parametrize("costs", [(1, 1), (1, 3)])
def test_single_and_by_slice_are_the_cheapest_of_all_thresholds(costs):
    data = SCORES[:60], TARGET[:60], SLICES[:60]
    options = {"false_positive_cost": costs[0], "false_negative_cost": costs[1]}
    single = choose_thresholds(*data, **options)
    assert len(set(single.values())) == 1
    assert cost_of(single, costs) == min(cost_of(limit, costs) for limit in TRIED)
    best = choose_thresholds(*data, goal="by slice", **options)
    alone = {name: min(cost_of(single | {name: limit}, costs) for limit in TRIED) for name in single}
    assert cost_of(best, costs) == cost_of(single, costs) - sum(cost_of(single, costs) - c for c in alone.values())


@pytest.mark.parametrize(
    ("goal", "rate"),
    [
        ("demographic parity", "selection_rate"), ("equal opportunity", "true_positive_rate"),
        ("equal accuracy", "accuracy"),
    ],
)  # fmt: skip
def test_equal_rates_are_as_near_as_any_thresholds_bring_them_and_no_dearer(goal, rate):
    here = np.isin(SLICES, ["f", "m"]) & (np.arange(N) < 90)
    data = SCORES[here], TARGET[here], SLICES[here]

    def seen(limits):
        found = fairness(*data, thresholds=limits)
        return np.ptp(getattr(found, rate)), found.false_positive.sum() + found.false_negative.sum()

    spread, cost = seen(choose_thresholds(*data, goal=goal))
    every = [seen({"f": a, "m": b}) for a, b in itertools.product(TRIED[::2], TRIED[::2])]
    assert spread <= min(s for s, _ in every) + 1e-3
    assert spread < np.ptp(getattr(fairness(*data), rate))
    assert cost <= min((c for s, c in every if s <= spread), default=np.inf)


def test_many_scores_are_cut_at_quantiles():
    scores = rng.normal(size=5000)
    limits = choose_thresholds(scores, scores > 0.3, np.arange(5000) % 2, goal="by slice")
    assert all(abs(limit - 0.3) < 0.02 for limit in limits.values())
    assert choose_thresholds([1.0, 2.0], [0, 0]) == {"all": np.inf}


# --- curves --------------------------------------------------------------------------------------


def test_curves_are_those_of_scikit_learn():
    wide = SCORES * 1e-9 + 5  # differ in 64 bits alone
    found = curves_by_slice(wide, TARGET, SLICES)
    assert list(found) == ["f", "m", "x"]
    for name, curves in found.items():
        truth, scores = TARGET[name == SLICES], SCORES[name == SLICES]
        fpr, tpr, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
        np.testing.assert_allclose(curves.false_positive_rate, fpr, atol=1e-6)
        np.testing.assert_allclose(curves.true_positive_rate, tpr, atol=1e-6)
        np.testing.assert_allclose(curves.area, metrics.roc_auc_score(truth, scores), rtol=1e-5)
        np.testing.assert_allclose(curves.average_precision, metrics.average_precision_score(truth, scores), rtol=1e-5)
        precision, recall, _ = metrics.precision_recall_curve(truth, scores)
        np.testing.assert_allclose(curves.precision, precision[::-1], atol=1e-6)
        np.testing.assert_allclose(curves.recall, recall[::-1], atol=1e-6)


def test_the_confusion_matrix_is_scikit_learns():
    predicted = rng.integers(0, 4, N)
    truth = rng.integers(0, 4, N)
    np.testing.assert_array_equal(confusion(predicted, truth, 4), metrics.confusion_matrix(truth, predicted))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.1, 0.2], [0, 2]), {}, "expects a target of 0 and 1, got"),
        (([0.1, 0.2], [0]), {}, "expects target (2,), got int64[1]"),
        (([0.1, np.nan], [0, 1]), {}, "expects scores that are numbers, got 1 NaN"),
        (([0.1, 0.2], [0, 1]), {"weight": [1, -1]}, "expects weights of at least 0, got"),
        (([0.1, 0.2], [0, 1], ["a", "b"]), {"thresholds": {"a": 0.5}}, "got none of 'b'"),
    ],
)
def test_mistakes_are_told(arguments, options, message):
    with pytest.raises(px.PhloxError, match=r"px\.interpret\.fairness") as caught:
        fairness(*arguments, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal": "fair"}, "expects a goal among single, by slice"),
        ({"false_positive_cost": 0}, "expects costs above 0, got 0"),
        ({"goal": "equal opportunity"}, "expects positives in every slice, got none in 'b'"),
    ],
)
def test_goals_that_cannot_be_are_told(options, message):
    with pytest.raises(px.PhloxError) as caught:
        choose_thresholds([0.1, 0.2, 0.3], [0, 1, 0], ["a", "a", "b"], **options)
    assert message in str(caught.value)
