"""Conformal prediction: coverage over many splits within the bounds of the theorem, and ranks to the last one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox import probability as P

SPLITS, CALIBRATED, TRIED = 200, 20, 40  # with 21 ranks, of which the 19th is the first with 90 %
SHARE = 19 / 21


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def assert_covered(hits, share=SHARE, calibrated=CALIBRATED):
    """Hits (splits, tried) as the theorem has them: each split's share is of a beta distribution around ``share``."""
    splits, tried = hits.shape
    a = share * (calibrated + 1)
    b = calibrated + 1 - a
    of_split = a * b / ((a + b) ** 2 * (a + b + 1))
    deviation = np.sqrt((of_split + (share * (1 - share) - of_split) / tried) / splits)
    assert abs(hits.mean() - share) < 4 * deviation, (hits.mean(), share, deviation)


def splits_of(*arrays):
    """Each split's calibration examples, and those it is tried on."""
    for n in range(SPLITS):
        own = [v[n * (CALIBRATED + TRIED) : (n + 1) * (CALIBRATED + TRIED)] for v in arrays]
        yield [v[:CALIBRATED] for v in own], [v[CALIBRATED:] for v in own]


@px.jit
def called(method, *given):
    """One program for all splits."""
    return method(*given)


def data(seed):
    """Targets whose spread grows with x, and a model that is wrong."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, SPLITS * (CALIBRATED + TRIED))
    return x, np.sin(6 * x) + (0.1 + x) * rng.normal(size=x.size)


@pytest.mark.parametrize("scaled", [False, True])
def test_intervals_around_predictions_hold_the_share_asked_for(scaled):
    x, y = data(0)
    hits, widths = [], []
    for (x0, y0), (x1, y1) in splits_of(x, y):
        scale = (lambda x: 0.1 + x) if scaled else (lambda x: None)
        regressor = P.ConformalRegressor(0.9).calibrate(1 - 2 * x0, y0, scale(x0))
        lower, upper = map(np.asarray, called(regressor, 1 - 2 * x1, scale(x1)))
        hits.append((lower <= y1) & (y1 <= upper))
        widths.append(np.ptp(upper - lower))
    assert_covered(np.array(hits))
    assert (min(widths) > 0.1) if scaled else (max(widths) < 1e-12), "as wide everywhere, where no scale is given"


def test_intervals_between_quantiles_hold_the_share_asked_for_and_shrink_where_they_may():
    x, y = data(1)
    hits, shrunk = [], 0
    for (x0, y0), (x1, y1) in splits_of(x, y):
        quantiles = lambda x: (np.sin(6 * x) - 4 * (0.1 + x), np.sin(6 * x) + 4 * (0.1 + x))  # noqa: E731 - too wide
        regressor = P.ConformalQuantileRegressor(0.9).calibrate(*quantiles(x0), y0)
        lower, upper = map(np.asarray, called(regressor, *quantiles(x1)))
        hits.append((lower <= y1) & (y1 <= upper))
        shrunk += float(regressor.threshold[0]) < 0
    assert_covered(np.array(hits))
    assert shrunk == SPLITS


@pytest.mark.parametrize(("method", "randomised"), [("lac", False), ("aps", True)])
def test_sets_of_classes_hold_the_share_asked_for(method, randomised):
    rng = np.random.default_rng(2)
    truth = rng.dirichlet(np.ones(4), SPLITS * (CALIBRATED + TRIED))
    y = (rng.uniform(size=(len(truth), 1)) > truth.cumsum(1)).sum(1).clip(0, 3)
    p = truth**2 + 0.05 * rng.uniform(size=truth.shape)  # a model that is too sure
    p /= p.sum(1, keepdims=True)
    classifier = P.ConformalClassifier(0.9, method=method, randomised=randomised, key=0)
    hits = []
    for (p0, y0), (p1, y1) in splits_of(p, y):
        sets = np.asarray(called(classifier.calibrate(p0, y0), p1))
        hits.append(sets[np.arange(TRIED), y1])
    assert_covered(np.array(hits))


def test_each_group_has_its_own_coverage():
    rng = np.random.default_rng(3)
    group = np.tile(np.repeat([0, 1], 10), SPLITS)
    y = rng.normal(size=group.size) * np.where(group == 1, 10, 1)
    hits = []
    for n in range(0, SPLITS * 20, 40):
        here, there = slice(n, n + 20), slice(n + 20, n + 40)
        regressor = P.ConformalRegressor(0.8, groups=2).calibrate(0 * y[here], y[here], group=group[here])
        lower, upper = map(np.asarray, called(regressor, 0 * y[there], None, group[there]))
        hits.append((lower <= y[there]) & (y[there] <= upper))
    for of_group in np.split(np.array(hits), 2, 1):
        assert_covered(of_group, 9 / 11, 10)


def test_ordinary_examples_are_called_strange_no_more_often_than_said():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=SPLITS * (CALIBRATED + TRIED))
    strange = []
    for (s0,), (s1,) in splits_of(scores):
        detector = P.ConformalDetector(0.1).calibrate(s0)
        strange.append(np.asarray(called(detector, s1)))
        np.testing.assert_array_equal(strange[-1], np.asarray(detector.p_values(s1)) <= 0.1)
    assert_covered(~np.array(strange), 19 / 21)
    wanted = [(1 + (s0 >= s).sum()) / (CALIBRATED + 1) for s in s1]
    np.testing.assert_allclose(detector.p_values(s1), wanted, rtol=1e-12)


def test_ranks_are_exact_and_too_few_examples_hold_everything():
    def q(n, coverage):
        return float(P.ConformalRegressor(coverage).calibrate(np.zeros(n), np.arange(1.0, n + 1)).threshold[0])

    assert q(9, 0.9) == 9
    assert q(8, 0.9) == np.inf
    assert q(99, 0.07) == 7, "100 times 0.07 is a little more than 7 in floating point"
    assert q(99, 0.29) == 29
    detector = P.ConformalDetector(0.29).calibrate(np.arange(99.0))
    assert int(detector(np.arange(99.0)).sum()) == 28, "29 in 100 with the one that is new"


def test_adaptive_sets_go_down_to_the_class_and_least_ambiguous_ones_by_probability():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    aps = P.ConformalClassifier(0.5, method="aps").calibrate(p, np.array([1, 2]))
    assert float(aps.threshold[0]) == 0.8, "the second of 0.7 and 0.5 + 0.3"
    assert aps(p).tolist() == [[True, True, False], [False, False, True]]
    lac = P.ConformalClassifier(0.5).calibrate(p, np.array([1, 2]))
    assert lac(np.array([[0.35, 0.25, 0.4]])).tolist() == [[True, False, True]]
    drawn = P.ConformalClassifier(0.9, method="aps", randomised=True, key=3)
    first, second = drawn._scores(p, None), drawn._scores(p, None)
    assert bool(jnp.all(first != second)), "anew at each call"
    down_to = np.array([[0.5, 0.8, 1.0], [1.0, 0.9, 0.7]])
    assert np.all((np.asarray(first) >= down_to - p - 1e-12) & (np.asarray(first) <= down_to))


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: P.ConformalRegressor(90), px.RangeError, "coverage between 0 and 1, got 90"),
        (lambda: P.ConformalRegressor()(np.ones(3)), px.StateError, "a threshold, which calibrate finds, got none yet"),
        (lambda: P.ConformalClassifier(method="raps"), px.RangeError, "method 'lac' or 'aps', got 'raps'"),
        (lambda: P.ConformalClassifier()._scores(-np.eye(2), None), px.RangeError, r"probabilities in \[0, 1\]"),
        (lambda: P.ConformalRegressor().calibrate(np.ones(3), np.ones((3, 1))), px.ShapeError, "of one shape"),
        (
            lambda: P.ConformalRegressor(groups=2).calibrate(np.ones(3), np.ones(3)),
            px.OptionError,
            "a group for each example where there are groups, got no group",
        ),
        (
            lambda: P.ConformalRegressor(groups=2).calibrate(np.ones(3), np.ones(3), group=np.array([0, 1, 2])),
            px.RangeError,
            "groups from 0 to 1, got int64.* with 2",
        ),
        (lambda: P.ConformalDetector().calibrate(np.array([1.0, np.nan])), px.RangeError, "scores that are numbers"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, told):
    with pytest.raises(error, match=told):
        call()
