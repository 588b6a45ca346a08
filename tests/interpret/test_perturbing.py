"""Attributions without gradients: all orders of eight features, loops over windows, scikit-learn's lasso."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interpret_games import DATA, X, by_orders, eight, quadratic, score
from kit import assert_close, oracle

I = px.interpret  # noqa: E741
EIGHT = np.random.default_rng(7).normal(size=(2, 8)).astype("f")
EIGHT[:, 3] = EIGHT[:, 2]
GONE = np.full(8, 0.25, "f")


@pytest.fixture(scope="module")
def exact():
    """(rows, features) of the mean over all 40,320 orders."""
    members = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1
    game = np.stack([score(eight, np.where(members, row, GONE)) for row in EIGHT], 1).astype(float)
    return by_orders(game, 8).T


def test_shapley_values_are_the_mean_over_all_orders(exact):
    found = I.shapley_values(eight, EIGHT, baselines=GONE)
    assert_close(found.values, exact.astype("f"), scale=10)
    np.testing.assert_allclose(found.delta, 0, atol=1e-6)
    assert_close(found.values[:, 2], found.values[:, 3], scale=10)  # alike
    np.testing.assert_allclose(found.values[:, 5], 0, atol=1e-6)  # without effect


def test_the_others_go_there(exact):
    every = I.kernel_shap(eight, EIGHT, baselines=GONE)  # all coalitions
    assert_close(every.values, exact.astype("f"), scale=10)
    drawn = I.kernel_shap(eight, EIGHT, baselines=GONE, samples=200, key=0)
    np.testing.assert_allclose(drawn.delta, 0, atol=1e-6)
    np.testing.assert_allclose(drawn.values, exact, atol=0.12)
    assert np.abs(drawn.values - exact).max() > 1e-4  # it was no enumeration
    sampled = I.shapley_sampling(eight, EIGHT, baselines=GONE, samples=60, key=0)
    np.testing.assert_allclose(sampled.delta, 0, atol=1e-6)
    assert (np.abs(sampled.values - exact) < 4.5 * np.asarray(sampled.errors) + 1e-6).all()
    np.testing.assert_allclose(sampled.values, exact, atol=0.12)


def test_coalitions_by_size_are_as_likely_as_their_weights():
    """Of n features a size s has the weight (n - 1) / (s (n - s)) over all its coalitions, each of them alike."""
    from phlox.interpret.perturbing._kernel_shap import _drawn

    some, weights = _drawn(5, 20_000, 0)
    chances = 1 / (np.arange(1, 5) * (5 - np.arange(1, 5)))
    sizes = np.bincount(some.sum(1), minlength=6)[1:5] / len(some)
    np.testing.assert_allclose(sizes, chances / chances.sum(), atol=0.015)
    assert (some[::2] == ~some[1::2]).all()
    assert (weights == 1).all()
    ones = some[some.sum(1) == 1]
    np.testing.assert_allclose(ones.mean(0), 0.2, atol=0.03)


def test_groups_are_one_feature():
    mask = np.array([7, 7, 2, 7])
    found = I.feature_ablation(quadratic, X, feature_mask=mask)
    alone = score(quadratic, np.where(mask == 7, 0, X).astype("f"))
    assert found.features.shape == (3, 2)
    assert_close(found.values[:, 0], score(quadratic, X) - alone, scale=10)
    assert_close(found.values[:, 1], found.values[:, 3])


def test_ablation_of_several_baselines_and_of_tokens():
    several = DATA[:2][:, None]
    found = I.feature_ablation(quadratic, X, baselines=several)
    wanted = [
        [score(quadratic, X) - score(quadratic, np.where(np.arange(4) == i, b, X).astype("f")) for i in range(4)]
        for b in DATA[:2]
    ]
    assert_close(found.values, np.mean(wanted, 0).T.astype("f"), scale=10)
    table = jnp.arange(6.0) ** 2
    tokens = np.array([[1, 2], [4, 5]])
    found = I.feature_ablation(lambda t: table[t].sum(1), tokens, baselines=3)
    assert found.values.tolist() == [[1.0 - 9, 4.0 - 9], [16.0 - 9, 25.0 - 9]]


def test_a_permutation_takes_one_feature_from_other_rows():
    found = I.feature_permutation(quadratic, DATA, repeats=2, key=0)
    draws = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0))).tolist())
    lost = []
    for _ in range(2):
        other = DATA[draws.permutation(6)]
        swapped = [np.where(np.arange(4) == i, other, DATA).astype("f") for i in range(4)]
        lost.append([score(quadratic, DATA) - score(quadratic, s) for s in swapped])
    assert_close(found.values, np.mean(lost, 0).T.astype("f"), scale=10)


@pytest.mark.parametrize(("window", "stride"), [((2, 3), (1, 2)), ((3, 2), None), ((2, 2), 3)])
def test_occlusion_is_the_mean_over_windows(window, stride):
    weight = np.random.default_rng(8).normal(size=(5, 4, 2)).astype("f")
    x = np.random.default_rng(9).normal(size=(2, 5, 4, 2)).astype("f")
    found = I.occlusion(
        lambda x: (x**2 * weight).sum((1, 2, 3)), x, window=window, stride=stride, baselines=0.5, batch_size=3
    )
    steps = window if stride is None else stride if isinstance(stride, tuple) else (stride, stride)
    total, times = np.zeros_like(x), np.zeros((5, 4))
    counts = [-(-max(n - w, 0) // s) + 1 for n, w, s in zip((5, 4), window, steps, strict=True)]
    for i in range(counts[0]):
        for j in range(counts[1]):
            here = (slice(i * steps[0], i * steps[0] + window[0]), slice(j * steps[1], j * steps[1] + window[1]))
            hidden = x.copy()
            hidden[:, *here] = 0.5
            total[:, *here] += ((x**2 - hidden**2) * weight).sum((1, 2, 3))[:, None, None, None]
            times[here] += 1
    assert_close(found.values, total / np.maximum(times, 1)[..., None].astype("f"), scale=20)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_lime_is_scikit_learns_lasso(distance):
    linear_model = oracle("sklearn.linear_model")
    some = np.random.default_rng(10).random((200, 4)) < 0.5
    base = np.full(4, 0.3, "f")
    found = I.lime(quadratic, X, baselines=base, coalitions=some, alpha=0.05, distance=distance, kernel_width=0.8)
    for row, x in enumerate(X):
        near = np.where(some, x, base)
        if distance == "cosine":
            far = 1 - near @ x / np.linalg.norm(near, axis=1) / np.linalg.norm(x)
        else:
            far = np.linalg.norm(near - x, axis=1)
        lasso = linear_model.Lasso(alpha=0.05, tol=1e-10, max_iter=100_000)
        lasso.fit(some, score(quadratic, near.astype("f")), sample_weight=np.exp(-(far**2) / (2 * 0.8**2)))
        np.testing.assert_allclose(found.values[row], lasso.coef_, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: I.shapley_values(lambda x: x.sum(1), np.ones((1, 30), "f")), "up to 20 features, got 30"),
        (lambda: I.shapley_sampling(quadratic, X, samples=0), "samples of 1 or more, got 0"),
        (lambda: I.kernel_shap(quadratic, X, samples=2, key=0), "samples enough to tell features apart, got 2 for 4"),
        (lambda: I.kernel_shap(quadratic, X, coalitions=np.ones((3, 4))), "booleans of shape (samples, 4)"),
        (lambda: I.lime(quadratic, X, alpha=-1), "alpha of 0 or more, got -1"),
        (lambda: I.lime(quadratic, X, baselines=DATA[:, None]), "one baseline, got 6"),
        (lambda: I.feature_permutation(quadratic, X[:1]), "two rows and one repeat, or more, got 1 rows"),
        (lambda: I.occlusion(quadratic, X, window=(5,)), "a window and strides for rows of shape (4,)"),
        (lambda: I.feature_ablation(quadratic, X, feature_mask=np.ones(3, int)), "that spreads to a row (4,)"),
        (lambda: I.feature_ablation(quadratic, X, feature_mask=np.ones(4)), "feature_mask= of integers, got float64"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, text):
    with pytest.raises(px.PhloxError, match=re.escape(text)):
        call()
