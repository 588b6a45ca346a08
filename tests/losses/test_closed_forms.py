"""Losses that PyTorch lacks, against SciPy, scikit-learn, and formulas written out in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import assert_close, oracle
from phlox import losses

stats = oracle("scipy.stats")
special = oracle("scipy.special")
metrics = oracle("sklearn.metrics")

RNG = np.random.default_rng(0)
P = RNG.uniform(0.05, 0.95, size=(4, 6)).astype("float32")
T = RNG.integers(0, 2, size=(4, 6))
X = RNG.normal(size=(4, 6)).astype("float32") * 2
SIGNS = 2 * T - 1
SIMPLEX = (P / P.sum(-1, keepdims=True)).astype("float32")
INDEX = np.array([0, 5, 2, 2])
WEIGHT = np.array([0.5, 0.0, 2.0, 1.0], "float32")


def slope(loss, x, *rest, **options):
    """The gradient by autodiff, after checking it against central differences in float64."""
    with jax.enable_x64(True):
        x64 = np.asarray(x, "float64")
        grad = np.asarray(jax.grad(lambda x: loss(x, *rest, **options))(jnp.asarray(x64)))
        for i in np.ndindex(x64.shape):
            step = np.zeros_like(x64)
            step[i] = 1e-6
            rise = loss(jnp.asarray(x64 + step), *rest, **options) - loss(jnp.asarray(x64 - step), *rest, **options)
            np.testing.assert_allclose(grad[i], float(rise) / 2e-6, rtol=1e-6, atol=1e-8)
    return grad


def test_hinge():
    assert_close(losses.hinge(X, SIGNS), np.float32(metrics.hinge_loss(SIGNS.ravel(), X.ravel())))
    assert_close(losses.squared_hinge(X, SIGNS, reduction="none"), np.maximum(0, 1 - SIGNS * X) ** 2)
    np.testing.assert_allclose(slope(losses.hinge, X, SIGNS), -SIGNS * (1 - SIGNS * X > 0) / 24, rtol=1e-6)
    np.testing.assert_allclose(
        slope(losses.squared_hinge, X, SIGNS), -2 * SIGNS * np.maximum(0, 1 - SIGNS * X) / 24, rtol=1e-6, atol=1e-9
    )


def test_msle():
    true = np.abs(X)
    want = metrics.mean_squared_log_error(true, P, sample_weight=WEIGHT)
    assert_close(losses.msle(P, true, weight=WEIGHT), np.float32(want))
    assert_close(losses.msle(P, P[::-1], eps=1e-6), np.float32(np.mean(np.log(P / P[::-1]) ** 2)), scale=3)
    slope(losses.msle, P, true, eps=0.3)


def test_log_cosh():
    d = np.array([0.0, 1e-4, -3e-3, 0.5, -0.999, 1.0, 2.0, -30.0, 1e4, -1e4], "float32")
    wide = d.astype("float64")
    want = np.where(
        np.abs(wide) > 20, np.abs(wide) - np.log(2), np.log1p(2 * np.sinh(np.minimum(abs(wide), 20) / 2) ** 2)
    )
    got = losses.log_cosh(d, np.zeros(10), reduction="none")
    np.testing.assert_allclose(got, want, rtol=2e-6)  # relative, so that 5e-9 at 1e-4 must be right too
    grad = jax.grad(lambda d: losses.log_cosh(d, jnp.zeros(10), reduction="sum"))(d)
    np.testing.assert_allclose(grad, np.tanh(wide), rtol=1e-6)


def test_poisson_full_is_scipys_log_probability():
    rates, counts = 4 * P, RNG.poisson(3.0, size=(4, 6))
    want = -stats.poisson.logpmf(counts, rates.astype("float64"))
    assert_close(losses.poisson(rates, counts, full=True, reduction="none"), want)
    assert_close(losses.poisson_with_log_rates(np.log(rates), counts, full=True, reduction="none"), want)
    value, grad = jax.value_and_grad(losses.poisson)(jnp.zeros(2), jnp.array([0, 3]))
    assert_close(value, np.float32(-1.5 * np.log(1e-8)))
    assert_close(grad, np.array([0.5, 0.5 - 1.5e8]), kind="grad")
    assert_close(jax.grad(losses.poisson)(jnp.zeros(1), jnp.zeros(1), eps=0.0), np.ones(1), kind="grad")


def test_gaussian_nll_full_is_scipys_log_density():
    want = -stats.norm.logpdf(X, P, np.sqrt(P + 0.1))
    assert_close(losses.gaussian_nll(P, X, P + np.float32(0.1), full=True, reduction="none"), want)


def test_kl_divergence_is_scipys_relative_entropy():
    other = SIMPLEX[::-1].copy()
    other[0, 0] = 0.0
    want = special.rel_entr(other.astype("float64"), SIMPLEX).sum(-1)
    assert_close(losses.kl_divergence(SIMPLEX, other, reduction="none"), want)
    assert_close(losses.kl_divergence_with_logits(np.log(SIMPLEX), other, reduction="none"), want)
    assert_close(losses.kl_divergence(SIMPLEX, SIMPLEX), np.float32(0))


def test_kl_divergence_at_zeros_is_finite_where_scipy_is_infinite():
    p, t = jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 0.5]])
    value, grad = jax.value_and_grad(losses.kl_divergence)(p, t)
    assert_close(value, np.float32(0.5 * 100 - np.log(2)))
    assert_close(grad, np.array([[-0.5e12, -0.5]]), kind="grad")
    both = jax.grad(losses.kl_divergence, argnums=(0, 1))(p, jnp.array([[0.0, 1.0]]))
    assert_close(both[0], np.array([[0.0, -1.0]]), kind="grad")
    assert np.isfinite(both[1]).all()
    ruled_out = jax.value_and_grad(losses.kl_divergence_with_logits)(
        jnp.array([[-jnp.inf, 0.0]]), jnp.array([[0.0, 1.0]])
    )
    assert_close(ruled_out[0], np.float32(0))
    assert_close(ruled_out[1], np.zeros((1, 2)), kind="grad")


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_tversky_of_crisp_masks_is_scikit_learns_f_beta(beta):
    guess = (P > 0.5).astype("float32")
    alpha, miss = 1 / (1 + beta**2), beta**2 / (1 + beta**2)
    got = losses.tversky(guess, T, alpha=alpha, beta=miss, smooth=0.0, reduction="none")
    assert_close(got, np.array([1 - metrics.fbeta_score(t, g, beta=beta) for t, g in zip(T, guess, strict=True)]))


def test_dice():
    guess = (P > 0.5).astype("float32")
    want = np.array([1 - metrics.f1_score(t, g) for t, g in zip(T, guess, strict=True)])
    assert_close(losses.dice(guess, T, smooth=0.0, reduction="none"), want)
    assert_close(losses.dice(guess, T, smooth=0.0, weight=WEIGHT), np.float32(np.average(want, weights=WEIGHT)))
    # probabilities, the whole array at once, squares in the denominator
    want = 1 - (2 * (P * T).sum() + 3) / ((P**2).sum() + (T**2).sum() + 3)
    assert_close(losses.dice(P, T, smooth=3.0, axis=(0, 1)), np.float32(want))
    by_class = losses.dice(P.reshape(2, 2, 2, 3), T.reshape(2, 2, 2, 3), axis=(1, 2), reduction="none")
    assert by_class.shape == (2, 3)
    assert_close(by_class[1, 2], losses.dice(P.reshape(2, 4, 3)[1:, :, 2], T.reshape(2, 4, 3)[1:, :, 2]))
    slope(losses.dice, P, T)


def test_soft_tversky():
    p = P.astype("float64")
    hits, alarms, misses = (p * T).sum(1), (p * (1 - T)).sum(1), ((1 - p) * T).sum(1)
    want = 1 - (hits + 1) / (hits + 0.3 * alarms + 0.7 * misses + 1)
    assert_close(losses.tversky(P, T, reduction="none"), want)
    slope(losses.tversky, P, T)


def test_empty_masks_without_smoothing_cost_nothing():
    for loss in (losses.dice, losses.tversky):
        value, grad = jax.value_and_grad(loss)(jnp.zeros((1, 3)), jnp.zeros((1, 3)), smooth=0.0)
        assert value == 0
        assert np.isfinite(grad).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_binary_focal(gamma):
    p_true = np.where(T == 1, P, 1 - P).astype("float64")
    want = -((1 - p_true) ** gamma) * np.log(p_true)
    balance = np.where(T == 1, 0.25, 0.75)
    logits = special.logit(P)
    for alpha, factor in ((None, 1.0), (0.25, balance)):
        options = {"gamma": gamma, "alpha": alpha}
        assert_close(losses.binary_focal(P, T, reduction="none", **options), factor * want)
        assert_close(losses.binary_focal_with_logits(logits, T, reduction="none", **options), factor * want)
        slope(losses.binary_focal, P, T, **options)
        slope(losses.binary_focal_with_logits, logits, T, **options)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(gamma):
    p_true = SIMPLEX[np.arange(4), INDEX].astype("float64")
    want = -((1 - p_true) ** gamma) * np.log(p_true)
    per_class = np.linspace(0.2, 1.2, 6).astype("float32")
    for targets in (INDEX, np.eye(6)[INDEX]):
        for loss, x in ((losses.focal, SIMPLEX), (losses.focal_with_logits, np.log(SIMPLEX) + 3)):
            assert_close(loss(x, targets, gamma=gamma, reduction="none"), want)
            assert_close(
                loss(x, targets, gamma=gamma, class_weight=per_class), np.float32(np.mean(per_class[INDEX] * want))
            )
    slope(losses.focal, SIMPLEX, INDEX, gamma=gamma)
    slope(losses.focal_with_logits, X, INDEX, gamma=gamma)


def test_siamese_contrastive():
    d = np.abs(X)
    want = np.where(T == 0, d**2, np.maximum(0, 1.5 - d) ** 2)
    assert_close(losses.siamese_contrastive(d, T, margin=1.5, reduction="none"), want)
    slope(losses.siamese_contrastive, d, T, margin=1.5)


def test_triplet_margin_where_points_meet_has_a_finite_gradient():
    a = jnp.ones((2, 3))
    for p in (1, 2, 3, float("inf")):
        value, grad = jax.value_and_grad(losses.triplet_margin)(a, a, a, eps=0.0, p=p)
        assert value == 1
        assert np.isfinite(grad).all()
    far = losses.triplet_margin(a, a + jnp.array([1.0, -3.0, 2.0]), a, p=float("inf"), eps=0.0)
    assert_close(far, np.float32(4))


def test_cosine_of_a_zero_vector_is_finite():
    value, grad = jax.value_and_grad(losses.cosine)(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    assert value == 1
    assert np.isfinite(grad).all()


def test_weights_of_every_rank():
    """A weight may cover any number of leading axes; the mean divides by what it spreads to."""
    p, t = P.reshape(2, 2, 6), X.reshape(2, 2, 6)
    for shape in ((), (2,), (2, 2), (2, 2, 6)):
        w = np.random.default_rng(1).uniform(size=shape).astype("float32")
        spread = np.broadcast_to(w.reshape(shape + (1,) * (3 - len(shape))), p.shape)
        assert_close(losses.mse(p, t, weight=w), np.float32(np.average((p - t) ** 2, weights=spread)))
