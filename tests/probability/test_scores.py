"""Scoring rules against integrals, scikit-learn and SciPy, and the identities between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import probability as P

metrics = oracle("sklearn.metrics")
stats, integrate, distance = oracle("scipy.stats"), oracle("scipy.integrate"), oracle("scipy.spatial.distance")

RNG = np.random.default_rng(0)
MEAN, SCALE, TARGET = RNG.normal(size=6), RNG.uniform(0.3, 2, 6), RNG.normal(size=6)
MEMBERS, VECTORS, POINTS = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 5, 3)), RNG.normal(size=(6, 3))


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def integral(cdf, y):
    """∫ (F(x) - 1[x ≥ y])² dx, as the score is defined."""
    below = integrate.quad(lambda x: cdf(x) ** 2, -40, y, limit=400)[0]
    return below + integrate.quad(lambda x: (1 - cdf(x)) ** 2, y, 40, limit=400)[0]


def compiled(score):
    """One program in place of many small ones, with options as they are."""
    return lambda *arrays, **options: jax.jit(lambda *arrays: score(*arrays, **options))(*arrays)


def test_the_crps_of_a_normal_variable_is_the_integral_that_defines_it():
    wanted = [integral(stats.norm(m, s).cdf, y) for m, s, y in zip(MEAN, SCALE, TARGET, strict=True)]
    np.testing.assert_allclose(compiled(P.crps_normal)(MEAN, SCALE, TARGET), wanted, rtol=1e-7)


def test_the_crps_of_samples_is_the_integral_over_their_steps_and_fair_without_pairs_of_one():
    def steps(members, y):
        at = np.sort(np.append(members, y))
        share = (members[:, None] <= at[:-1]).mean(0) - (at[:-1] >= y)
        return (share**2 * np.diff(at)).sum()

    wanted = [steps(m, y) for m, y in zip(MEMBERS, TARGET, strict=True)]
    np.testing.assert_allclose(compiled(P.crps_ensemble)(MEMBERS, TARGET), wanted, rtol=1e-12)
    apart = np.abs(MEMBERS[:, :, None] - MEMBERS[:, None]).sum((1, 2)) / (2 * 5 * 4)
    fair = np.abs(MEMBERS - TARGET[:, None]).mean(1) - apart
    np.testing.assert_allclose(compiled(P.crps_ensemble)(MEMBERS, TARGET, fair=True), fair, rtol=1e-12)
    one = compiled(P.energy_score)(MEMBERS[..., None], TARGET[:, None], fair=True)
    np.testing.assert_allclose(one, fair, rtol=1e-12)


def test_the_energy_score_is_that_of_all_distances_and_has_a_gradient_where_members_meet():
    own = [distance.cdist(v, v).sum() / 50 for v in VECTORS]
    off = [distance.cdist(v, p[None]).mean() for v, p in zip(VECTORS, POINTS, strict=True)]
    np.testing.assert_allclose(compiled(P.energy_score)(VECTORS, POINTS), np.subtract(off, own), rtol=1e-12)
    slope = jax.grad(lambda v: compiled(P.energy_score)(v, jnp.zeros(2)))(jnp.array([[1.0, 0.0], [1.0, 0.0]]))
    np.testing.assert_allclose(slope, [[0.5, 0.0], [0.5, 0.0]])


def test_many_quantiles_have_the_crps_of_their_distribution():
    levels = (np.arange(4000) + 0.5) / 4000
    quantiles = stats.norm(MEAN[:, None], SCALE[:, None]).ppf(levels)
    found = compiled(P.crps_quantiles)(quantiles, levels, TARGET)
    np.testing.assert_allclose(found, P.crps_normal(MEAN, SCALE, TARGET), rtol=1e-3)


def test_quantile_scores_are_those_of_scikit_learn_and_make_the_score_of_intervals():
    for level in (0.1, 0.5, 0.8):
        wanted = metrics.mean_pinball_loss(TARGET, MEAN, alpha=level)
        np.testing.assert_allclose(compiled(P.quantile_score)(MEAN, level, TARGET).mean(), wanted, rtol=1e-12)
    lower, upper, alpha = MEAN - SCALE, MEAN + SCALE, 0.2
    ends = compiled(P.quantile_score)(np.stack([lower, upper], -1), np.array([alpha / 2, 1 - alpha / 2]), TARGET)
    found = compiled(P.interval_score)(lower, upper, TARGET, coverage=1 - alpha)
    np.testing.assert_allclose(found, 2 / alpha * ends.sum(-1), rtol=1e-12)
    assert bool(jnp.any(lower > TARGET)) or bool(jnp.any(upper < TARGET)), "some lie outside"


def test_brier_and_log_scores_are_those_of_scikit_learn_and_scipy():
    yes, said = RNG.integers(0, 2, 9), RNG.uniform(size=9)
    found = compiled(P.brier_score)(said, yes).mean()
    np.testing.assert_allclose(found, metrics.brier_score_loss(yes, said), rtol=1e-12)
    y, p = np.array([0, 1, 2, 2]), RNG.dirichlet(np.ones(3), 4)
    wanted = metrics.brier_score_loss(y, p, labels=[0, 1, 2], scale_by_half=False)
    np.testing.assert_allclose(compiled(P.brier_score)(p, y, classes=True).mean(), wanted, rtol=1e-12)
    wanted = -stats.norm.logpdf(POINTS).sum(-1)
    np.testing.assert_allclose(P.log_score(P.StandardNormal(3), POINTS), wanted, rtol=1e-12)


def test_scores_are_the_same_compiled_and_keep_32_bits():
    arrays = tuple(v.astype("float32") for v in (MEAN, SCALE, TARGET))
    compiled = jax.jit(P.crps_normal)(*arrays)
    assert compiled.dtype == jnp.float32
    np.testing.assert_allclose(compiled, P.crps_normal(*arrays), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: P.crps_normal(MEAN, -SCALE, TARGET), px.RangeError, r"scale above 0, got float64\[6\] with -"),
        (lambda: P.crps_normal(MEAN, SCALE, TARGET[:, None]), px.ShapeError, r"one shape, got .* target float64\[6, 1"),
        (lambda: P.crps_ensemble(TARGET, MEMBERS), px.ShapeError, r"crps_ensemble expects \(6, 5, members\)"),
        (lambda: P.crps_ensemble(MEMBERS[:, :1], TARGET, fair=True), px.RangeError, "fair=True, got one member"),
        (lambda: P.quantile_score(MEAN, 95.0, TARGET), px.RangeError, r"between 0 and 1, got float64\[\] with 95"),
        (lambda: P.quantile_score(MEMBERS, [0.1, 0.9], TARGET), px.ShapeError, r"levels \(5,\), got float64\[2\]"),
        (lambda: P.interval_score(MEAN, MEAN, TARGET, 90), px.RangeError, "coverage between 0 and 1, got 90"),
        (lambda: P.brier_score(MEAN, TARGET), px.RangeError, r"probabilities in \[0, 1\], got .* with -?\d"),
        (lambda: P.brier_score(SCALE / 2, 2 * np.ones(6)), px.RangeError, "targets of 0 and 1, got .* with 2.0"),
        (lambda: P.brier_score(np.eye(3), np.array([0, 1, 3]), classes=True), px.RangeError, "classes from 0 to 2"),
        (lambda: P.brier_score(np.eye(3), np.eye(3)[0], classes=True), px.DtypeError, "integer classes, got float"),
        (lambda: P.energy_score(VECTORS, TARGET), px.ShapeError, r"members \(\.\.\., members, features\)"),
        (lambda: P.log_score(POINTS, P.StandardNormal(3)), px.RangeError, r"a distribution with log_prob\(y\)"),
        (lambda: P.crps_normal(1j * MEAN, SCALE, TARGET), px.DtypeError, "floating arrays, got mean complex128"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, told):
    with pytest.raises(error, match=told):
        call()
