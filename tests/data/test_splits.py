"""Splits and folds against scikit-learn, and the properties that they are for."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phlox as px
from kit import oracle
from phlox import data as D

select = oracle("sklearn.model_selection")
N = 23
RNG = np.random.default_rng(0)
LABELS = RNG.choice(np.array(["a", "b", "c"]), N, p=[0.6, 0.3, 0.1])
GROUPS = RNG.integers(0, 7, N)


def lists(folds):
    return [(np.asarray(a).tolist(), np.asarray(b).tolist()) for a, b in folds]


def test_shares_make_parts_of_rounded_sizes_in_order():
    parts = D.splitobs(N, (0.5, 0.3))
    assert [p.tolist() for p in parts] == [list(range(12)), list(range(12, 18)), list(range(18, N))]
    assert [len(p) for p in D.splitobs(N, 20)] == [20, 3]
    assert [len(p) for p in D.splitobs(10, (0.1, 0.2, 0.3))] == [1, 2, 3, 4]
    x = np.arange(N)
    assert np.shares_memory(D.splitobs(x)[0], x)  # slices, no copy


def test_a_seed_decides_the_order_and_nothing_else_does():
    np.random.seed(0)
    a = D.splitobs(N, 0.7, seed=3)
    np.random.seed(1)
    b = D.splitobs(N, 0.7, seed=3)
    key = D.splitobs(N, 0.7, seed=jax.random.key(3))
    assert [p.tolist() for p in a] == [p.tolist() for p in b] != [p.tolist() for p in D.splitobs(N, 0.7, seed=4)]
    assert [p.tolist() for p in key] == [p.tolist() for p in D.splitobs(N, 0.7, seed=jax.random.key(3))]
    assert [p.tolist() for p in key] != [p.tolist() for p in a]
    for parts in (a, key):
        assert sorted(np.concatenate(parts).tolist()) == list(range(N))
        assert not (np.diff(parts[0]) > 0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.floats(0.05, 0.95), st.sampled_from([None, 5]))
def test_stratified_parts_have_the_shares_of_the_whole(labels, at, seed):
    labels = np.array(labels)
    parts = D.splitobs(len(labels), at, stratify=labels, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert len(parts[0]) == int(np.floor(at * len(labels) + 0.5))
    whole = np.bincount(labels, minlength=4)
    for part in parts:
        assert (np.abs(np.bincount(labels[part], minlength=4) - whole * len(part) / len(labels)) < 1).all()


def test_stratified_counts_are_near_scikit_learns():
    theirs = select.train_test_split(np.arange(N), train_size=15, stratify=LABELS, random_state=0)
    for ours, other in zip(D.splitobs(N, 15, stratify=LABELS, seed=0), theirs, strict=True):
        counts = [np.array([(LABELS[part] == c).sum() for c in "abc"]) for part in (ours, other)]
        assert len(ours) == len(other)
        assert (np.abs(counts[0] - counts[1]) <= 1).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.floats(0.1, 0.9), st.sampled_from([None, 5]))
def test_no_group_is_on_both_sides(groups, at, seed):
    groups = np.array(groups)
    a, b = D.splitobs(len(groups), at, groups=groups, seed=seed)
    assert sorted([*a, *b]) == list(range(len(groups)))
    assert not set(groups[a]) & set(groups[b])
    assert abs(len(a) - np.floor(at * len(groups) + 0.5)) <= np.bincount(groups).max() / 2


def test_folds_in_order_are_scikit_learns():
    assert lists(D.kfolds(N, 4)) == lists(select.KFold(4).split(np.zeros(N)))
    stratified = select.StratifiedKFold(2).split(np.zeros(N), LABELS)
    assert lists(D.kfolds(N, 2, stratify=LABELS)) == lists(stratified)
    ours, theirs = D.kfolds(N, 3, groups=GROUPS), select.GroupKFold(3).split(np.zeros(N), groups=GROUPS)
    assert sorted(len(v) for _, v in ours) == sorted(len(v) for _, v in theirs)
    for k, size, gap, longest in ((5, None, 0, None), (3, 4, 2, None), (4, 2, 1, 6)):
        theirs = select.TimeSeriesSplit(k, test_size=size, gap=gap, max_train_size=longest).split(np.zeros(N))
        assert lists(D.time_series_folds(N, k, size=size, gap=gap, longest=longest)) == lists(theirs)
    assert lists(D.leave_p_out(6, 2)) == lists(select.LeavePOut(2).split(np.zeros(6)))
    assert lists(D.leave_p_out(6)) == lists(select.LeaveOneOut().split(np.zeros(6)))


@pytest.mark.parametrize("how", [{}, {"stratify": LABELS}, {"groups": GROUPS}])
def test_shuffled_folds_keep_what_they_promise(how):
    folds = list(D.kfolds(N, 2, seed=1, **how))
    assert sorted(itertools.chain(*(v.tolist() for _, v in folds))) == list(range(N))
    for train, valid in folds:
        assert sorted([*train, *valid]) == list(range(N))
        if "groups" in how:
            assert not set(GROUPS[train]) & set(GROUPS[valid])
        if "stratify" in how:
            assert all(abs((LABELS[valid] == c).sum() - (c == LABELS).sum() / 2) <= 1 for c in "abc")
    assert lists(folds) == lists(D.kfolds(N, 2, seed=1, **how)) != lists(D.kfolds(N, 2, seed=2, **how))
    assert lists(folds) != lists(D.kfolds(N, 2, **how))


def test_all_parts_of_data_are_cut_alike():
    data = {"x": np.arange(2 * N).reshape(N, 2), "y": (jax.numpy.arange(N), [str(i) for i in range(N)])}
    for part in (*D.splitobs(data, 0.4, seed=2), *next(iter(D.kfolds(data, 3, seed=2)))):
        rows = np.asarray(part["y"][0])
        assert isinstance(part["y"][0], jax.Array)
        np.testing.assert_array_equal(part["x"], data["x"][rows])
        assert part["y"][1] == [str(i) for i in rows]


def test_chunks_are_numpys():
    x = np.arange(N)
    for n in (1, 4, N):
        assert [c.tolist() for c in D.chunk(x, n)] == [c.tolist() for c in np.array_split(x, n)]
    assert [len(c) for c in D.chunk(x, size=10)] == [10, 10, 3]


def test_sampling_evens_out_the_labels():
    data, labels = np.arange(N), LABELS
    counts = np.array([(labels == c).sum() for c in "abc"])
    for seed in (None, 3):
        x, y = D.oversample(data, labels, seed=seed)
        assert [(y == c).sum() for c in "abc"] == [counts.max()] * 3
        assert set(x) == set(data)
        assert (labels[x] == y).all()
        times = [np.bincount(x, minlength=N)[labels == c] for c in "abc"]
        assert all(np.ptp(t) <= 1 for t in times)
        x, y = D.undersample(data, labels, seed=seed)
        assert [(y == c).sum() for c in "abc"] == [counts.min()] * 3
        assert len(set(x)) == len(x)
        assert (labels[x] == y).all()
    assert [(D.oversample(data, labels, fraction=0.5)[1] == c).sum() for c in "abc"] == [
        max(n, -(-counts.max() // 2)) for n in counts
    ]
    assert D.oversample(data, labels, seed=3)[0].tolist() != D.oversample(data, labels, seed=4)[0].tolist()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: D.splitobs(N, 1.5), px.RangeError, r"splitobs expects shares in \(0, 1\) or whole numbers, got 1.5"),
        (lambda: D.splitobs(N, (0.7, 0.5)), px.RangeError, r"shares of 23 observations together, got \(0.7, 0.5\)"),
        (lambda: D.splitobs(N, stratify=LABELS, groups=GROUPS), px.RangeError, r"stratify or groups, got both"),
        (lambda: D.splitobs(N, groups=GROUPS[1:]), px.ShapeError, r"groups of shape \(23,\), got int64\[22\]"),
        (lambda: D.splitobs(N, seed=-1), px.RangeError, r"seed to be a whole number of at least 0, or a key, got -1"),
        (lambda: D.kfolds(N, 1), px.RangeError, r"k to be a whole number of at least 2, got 1"),
        (lambda: D.kfolds(3, 4), px.RangeError, r"k of at most 3 observations, got 4"),
        (lambda: D.kfolds(N, 9, groups=GROUPS), px.RangeError, r"k of at most 7 groups, got 9"),
        (lambda: D.time_series_folds(5, 5), px.RangeError, r"at least 6 observations, got 5"),
        (lambda: D.leave_p_out(3, 3), px.RangeError, r"p below the 3 observations, got 3"),
        (lambda: D.chunk(N), px.RangeError, r"n or size, got n=None, size=None"),
        (lambda: D.shuffleobs(N, seed=None), px.RangeError, r"seed to be a whole number"),
        (lambda: D.oversample(N, LABELS, fraction=0.0), px.RangeError, r"fraction in \(0, 1\], got 0.0"),
    ],
)
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert caught.value.fix
    assert caught.value.where
