"""Curves and areas against scikit-learn, ties included, and the bound of the binned form."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phlox as px
from kit import assert_close, oracle
from phlox import metrics as M

sk = oracle("sklearn.metrics")
RNG = np.random.default_rng(3)
N = 16
TIED = RNG.integers(0, 6, N).astype("float32") / 8
TRUTH = np.arange(N) % 3 == 0
WEIGHT = RNG.uniform(0.5, 2, N).astype("float32")


def distinct(*arrays):
    """Points without those that stand repeated."""
    points = np.stack([np.asarray(a, "float64") for a in arrays], axis=-1)
    keep = np.ones(len(points), bool)
    keep[1:] = (points[1:] != points[:-1]).any(-1)
    return points[keep]


def fed(metric, p=TIED, t=TRUTH, w=WEIGHT):
    metric.update(jnp.asarray(p), jnp.asarray(t), jnp.asarray(w))
    return metric.compute()


@pytest.mark.parametrize("form", [{"capacity": 24}, {"bins": 8}])
def test_the_roc_curve_is_scikit_learns(form):
    got = fed(M.ROCCurve(**form))
    assert got.thresholds.shape == (next(iter(form.values())) + 1,)
    fpr, tpr, thresholds = sk.roc_curve(TRUTH, TIED, sample_weight=WEIGHT, drop_intermediate=False)
    points = distinct(got.false_positive_rate, got.true_positive_rate)
    assert_close(points.astype("float32"), np.stack([fpr, tpr], axis=-1))
    if "capacity" in form:
        assert distinct(got.thresholds).ravel().tolist() == thresholds.tolist()


@pytest.mark.parametrize("form", [{"capacity": 24}, {"bins": 8}])
def test_the_precision_recall_curve_is_scikit_learns(form):
    got = fed(M.PrecisionRecallCurve(**form))
    precision, recall, thresholds = sk.precision_recall_curve(TRUTH, TIED, sample_weight=WEIGHT)
    points = distinct(got.precision, got.recall)
    assert_close(points.astype("float32"), np.stack([precision, recall], axis=-1))
    if "capacity" in form:
        assert distinct(got.thresholds).ravel().tolist() == [*thresholds.tolist(), np.inf]


def test_curves_of_labels_are_those_of_each():
    p, t = np.stack([TIED, TIED[::-1]], axis=-1), np.stack([TRUTH, TRUTH], axis=-1)
    both = fed(M.ROCCurve(capacity=24, labels=2), p, t)
    for column in range(2):
        alone = fed(M.ROCCurve(capacity=24), p[:, column], t[:, column])
        for ours, theirs in zip(both, alone, strict=True):
            np.testing.assert_array_equal(ours[:, column], theirs)


BINNED, EXACT = M.ROCAUC(bins=4), M.ROCAUC(capacity=N)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=N, max_size=N), st.integers(1, N - 1))
def test_areas_in_bins_are_off_by_half_of_what_shares_a_bin(scores, positives):
    """|binned − exact| ≤ ½ Σ pₙ nₙ over bins: only pairs of one bin are not told apart."""
    p, t = np.array(scores, "float32"), np.arange(N) < positives
    values = {}
    for name, metric in (("binned", BINNED), ("exact", EXACT)):
        metric.reset()
        values[name] = float(fed(metric, p, t, np.ones(N, bool)))
    assert values["exact"] == pytest.approx(sk.roc_auc_score(t, p), rel=1e-5)
    at = np.clip((p * np.float32(4)).astype(int), 0, 3)
    shares = [np.bincount(at[t == side], minlength=4) / (t == side).sum() for side in (True, False)]
    assert abs(values["binned"] - values["exact"]) <= 0.5 * (shares[0] * shares[1]).sum() + 1e-6


def test_an_overfull_metric_refuses_line_by_line_and_is_nan_compiled():
    metric = M.ROCAUC(capacity=N + 2)
    want = fed(metric)
    with pytest.raises(px.RangeError, match=r"ROCAUC.update expects at most capacity=18 rows, got 16 so far"):
        fed(metric)
    assert metric.compute() == want  # nothing was taken in
    other = px.copy(metric)
    with pytest.raises(px.RangeError, match=r"16 so far and 16 more"):
        metric.merge(other)
    few = np.where(np.arange(N) >= N - 2, WEIGHT, 0)
    got = fed(metric, w=few)  # rows of weight 0 take no room
    assert int(metric.seen) == N + 2
    assert_close(got, sk.roc_auc_score(np.tile(TRUTH, 2), np.tile(TIED, 2), sample_weight=np.append(WEIGHT, few)))

    @px.jit
    def step(metric, p, t):
        metric.update(p, t)
        return metric.compute()

    assert np.isnan(step(other, jnp.asarray(TIED), jnp.asarray(TRUTH)))


def test_one_class_only_has_no_area():
    area = M.ROCAUC(capacity=24)
    assert np.isnan(fed(area, t=np.ones(N, bool)))
    per_label = M.AveragePrecision(bins=4, labels=2, average=None)
    p, t = np.stack([TIED, TIED], axis=-1), np.stack([np.zeros(N, bool), TRUTH], axis=-1)
    got = fed(per_label, p, t)
    assert np.isnan(got[0])
    assert np.isfinite(got[1])


def test_construction_asks_for_one_form():
    for wrong in ({}, {"capacity": 3, "bins": 3}):
        with pytest.raises(px.RangeError, match=r"ROCAUC expects capacity or bins"):
            M.ROCAUC(**wrong)
    with pytest.raises(px.RangeError, match=r"capacity of at most 16777216, got 16777217"):
        M.SpearmanCorrelation(capacity=2**24 + 1)
    with pytest.raises(px.RangeError, match=r"classes or labels"):
        M.AveragePrecision(bins=3, classes=3, labels=3)
