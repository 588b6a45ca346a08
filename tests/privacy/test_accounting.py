"""ε and δ, against published values, closed forms and an attack that reaches its bound."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

oracle("dp_accounting")
norm = oracle("scipy.stats").norm
optimize, special = oracle("scipy.optimize"), oracle("scipy.special")


def divergence(alpha, q, sigma):
    """Rényi divergence of order α of a step, by its integral: N(0, σ²) against its mixture with N(1, σ²)."""
    z = np.linspace(-40 * sigma, 40 * sigma + 2 * alpha, 8001)
    ratio = np.logaddexp(np.log1p(-q), np.log(q) + (2 * z - 1) / (2 * sigma**2))
    return special.logsumexp(norm.logpdf(z, 0, sigma) + alpha * ratio + math.log(z[1] - z[0])) / (alpha - 1)


ORDERS = np.concatenate([np.arange(1.1, 12, 0.1), np.arange(12, 64)])

PUBLISHED = [
    # Abadi et al., "Deep learning with differential privacy", 2016, section 3.3: 100 epochs of L = 0.01 N, σ = 4.
    (4.0, 0.01, 10_000, 1.26),
    # TensorFlow Privacy, the table of its tutorials: MNIST in batches of 256, δ = 1e-5.
    (1.12, 256 / 60_000, 60 * (60_000 // 256), 2.92),
    (1.2, 256 / 60_000, 10 * (60_000 // 256), 1.20),
]


@pytest.mark.parametrize(("sigma", "q", "steps", "published"), PUBLISHED)
def test_epsilons_are_those_that_were_published_and_what_later_theorems_make_of_them(sigma, q, steps, published):
    """The published ones turn divergences into ε by Mironov's theorem of 2017, ours by Canonne's, Kamath's and
    Steinke's of 2020, which is tighter."""
    delta, spent = 1e-5, np.array([steps * divergence(a, q, sigma) for a in ORDERS])
    assert min(spent + math.log(1 / delta) / (ORDERS - 1)) == pytest.approx(published, abs=0.006)
    later = min(spent + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1))
    given = dict(sample_rate=q, steps=steps)
    rdp = px.privacy.account(sigma, delta, **given, accountant="rdp")
    assert rdp == pytest.approx(later, rel=2e-3)
    assert 0.85 * rdp < px.privacy.account(sigma, delta, **given) < rdp


def delta_of(epsilon, mu):
    """δ of a Gaussian mechanism: Balle and Wang, "Improving the Gaussian mechanism", 2018, theorem 8."""
    return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize(("sigma", "steps", "delta"), [(2.0, 5, 1e-5), (10.0, 400, 1e-3)])
def test_whole_batches_have_the_closed_form_of_gaussians(sigma, steps, delta):
    expected = optimize.brentq(lambda e: delta_of(e, math.sqrt(steps) / sigma) - delta, 0, 100)
    found = px.privacy.account(sigma, delta, sample_rate=1.0, steps=steps)
    assert expected <= found * (1 + 1e-9)
    assert found == pytest.approx(expected, rel=1e-3)


def test_one_sampled_step_has_its_closed_form():
    sigma, q, delta = 1.0, 0.1, 1e-4

    def lost(epsilon):
        """δ where the example is there: the hockey-stick divergence of (1 − q) N(0, σ²) + q N(1, σ²) and N(0, σ²)."""
        edge = sigma**2 * math.log((math.exp(epsilon) - 1 + q) / q) + 0.5
        there = (1 - q) * norm.sf(edge / sigma) + q * norm.sf((edge - 1) / sigma)
        return there - math.exp(epsilon) * norm.sf(edge / sigma)

    expected = optimize.brentq(lambda e: lost(e) - delta, 1e-6, 20)
    found = px.privacy.account(sigma, delta, sample_rate=q, steps=1)
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("accountant", "rate"), [("pld", 1.0), ("rdp", 0.05)])
def test_calibration_is_the_way_back(accountant, rate):
    given = dict(sample_rate=rate, steps=20, accountant=accountant)
    sigma = px.privacy.calibrate(1.5, 1e-5, **given)
    assert px.privacy.account(sigma, 1e-5, **given) <= 1.5 < px.privacy.account(0.998 * sigma, 1e-5, **given)


def test_nothing_done_and_no_noise_are_the_two_ends():
    assert px.privacy.account(1.0, 1e-5, sample_rate=0.1, steps=0) == 0
    assert px.privacy.account(0.0, 1e-5, sample_rate=0.1, steps=1) == math.inf
    assert px.privacy.bound_advantage(math.inf) == 1
    assert px.privacy.bound_advantage(0.0) == 0


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (dict(delta=0.0), "delta above 0 and at most 1, got 0.0"),
        (dict(delta=1.0), "delta below 1, got 1.0"),
        (dict(sample_rate=1.5), "sample_rate above 0 and at most 1, got 1.5"),
        (dict(steps=-1), "steps to be a whole number of at least 0, got -1"),
        (dict(accountant="moments"), "one of 'pld', 'rdp' as accountant, got 'moments'"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(wrong, text):
    given = dict(noise_multiplier=1.0, delta=1e-5, sample_rate=0.1, steps=1) | wrong
    with pytest.raises(px.RangeError) as failure:
        px.privacy.account(**given)
    assert f"px.privacy.account expects {text}" in str(failure.value)


# --- attacks ---------------------------------------------------------------------------------------------


def test_the_best_attack_is_as_good_as_theory_has_it_and_no_better_than_its_bound():
    """Many attacks in one training, as Steinke, Nasr and Jagielski have it ("Privacy auditing with one training run",
    2023): each example pulls at a weight of its own, as hard as it may, and is there or not by a coin."""
    count, sigma, clip, steps = 2000, 2.0, 0.5, 4
    there = np.random.default_rng(0).random(count) < 0.5
    x = jnp.eye(count)[np.flatnonzero(there)]
    y = jnp.full((len(x), 1), 1e4)
    model = px.Dense.of(jnp.zeros((count, 1)), None)
    opt = px.privacy.PrivateOptimizer(
        px.optim.Descent(1.0), model, clip=clip, noise_multiplier=sigma, batch_size=100, seed=0
    )
    step = px.jit(opt.step(px.losses.mse, microbatch=512))
    for _ in range(steps):
        step(model, opt, x, y)
    pulled = np.asarray(model.weight)[:, 0] > steps * clip / 100 / 2  # half of what an example moves its weight by
    advantage = pulled[there].mean() - pulled[~there].mean()
    error = math.sqrt(2 * 0.25 / (count / 2))
    assert advantage == pytest.approx(2 * norm.cdf(math.sqrt(steps) / (2 * sigma)) - 1, abs=3 * error)
    bound = min(px.privacy.bound_advantage(opt.epsilon(delta), delta) for delta in (0.2, 0.35))
    assert advantage < bound + 3 * error
    assert bound < 0.41


def test_an_attack_by_losses_is_that_of_scikit_learn_and_scipy():
    metrics, stats = oracle("sklearn.metrics"), oracle("scipy.stats")
    rng = np.random.default_rng(1)
    ours, theirs = np.round(rng.normal(0.0, 1, 70), 1), np.round(rng.normal(0.5, 1, 50), 1)  # with ties

    def as_data(losses):
        return jnp.float32(losses)[:, None], jnp.zeros((len(losses), 1))

    def loss(model, x, y):
        return (model(x) - y).sum()

    model = px.Dense.of(jnp.ones((1, 1)), None)
    found = px.privacy.attack_membership(model, loss, as_data(ours), as_data(theirs), batch_size=32)
    labels = np.repeat([1, 0], [len(ours), len(theirs)])
    assert found.auc == pytest.approx(metrics.roc_auc_score(labels, -np.concatenate([ours, theirs])))
    assert found.advantage == pytest.approx(stats.ks_2samp(ours, theirs, alternative="greater").statistic)
