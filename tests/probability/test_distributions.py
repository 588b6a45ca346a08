"""Distributions beside SciPy's and PyTorch's: densities, moments, draws, divergences, losses."""

import sys
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import phlox as px
from kit import assert_close, oracle

oracle("numpyro")
P = px.probability


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


A = np.array([0.7, 1.3, 2.9])
B = np.array([1.1, 0.4, 3.2])
LINE = np.array([-0.8, 0.3, 2.5])
ABOVE = np.array([0.2, 1.7, 4.1])
SHARES = np.array([0.15, 0.5, 0.93])
COUNTS = np.array([0, 2, 7])
CONTINUOUS = {
    "Normal": (lambda: P.Normal(A, B), stats.norm(A, B), LINE),
    "Laplace": (lambda: P.Laplace(A, B), stats.laplace(A, B), LINE),
    "StudentT": (lambda: P.StudentT(A + 2, A, B), stats.t(A + 2, A, B), LINE),
    "Uniform": (lambda: P.Uniform(-A - 1, B), stats.uniform(-A - 1, A + 1 + B), np.array([-1.2, 0.3, 2.5])),
    "LogNormal": (lambda: P.LogNormal(A, B), stats.lognorm(B, scale=np.exp(A)), ABOVE),
    "HalfNormal": (lambda: P.HalfNormal(B), stats.halfnorm(scale=B), ABOVE),
    "HalfCauchy": (lambda: P.HalfCauchy(B), stats.halfcauchy(scale=B), ABOVE),
    "Exponential": (lambda: P.Exponential(B), stats.expon(scale=1 / B), ABOVE),
    "Gamma": (lambda: P.Gamma(A, B), stats.gamma(A, scale=1 / B), ABOVE),
    "InverseGamma": (lambda: P.InverseGamma(A + 2, B), stats.invgamma(A + 2, scale=B), ABOVE),
    "Beta": (lambda: P.Beta(A, B), stats.beta(A, B), SHARES),
}
DISCRETE = {
    "Poisson": (lambda: P.Poisson(A), stats.poisson(A), COUNTS),
    "NegativeBinomial": (lambda: P.NegativeBinomial(A, B), stats.nbinom(B, B / (A + B)), COUNTS),
    "Bernoulli": (lambda: P.Bernoulli(LINE), stats.bernoulli(special.expit(LINE)), np.array([0, 1, 1])),
}


def test_densities_and_moments_are_those_of_scipy():
    every = CONTINUOUS | DISCRETE

    def of_one(made, values):
        d = made()
        found = {"log_prob": d.log_prob(values), "mean": d.mean, "variance": d.variance}
        for ask, value in (("cdf", values), ("quantile", 0.3), ("entropy", None)):
            with suppress(px.RangeError):  # what has no closed form says so, as the test of mistakes shows
                found[ask] = d.entropy() if value is None else getattr(d, ask)(value)
        return found

    ours = jax.jit(lambda: {name: of_one(made, values) for name, (made, _, values) in every.items()})()
    assert sum(len(found) for found in ours.values()) >= 70, "most is closed"
    for name, (_, theirs, values) in every.items():
        found, density = ours[name], theirs.logpmf if name in DISCRETE else theirs.logpdf
        scale = 1e5 if name == "NegativeBinomial" else 1  # JAX's logarithm of the beta function has seven digits
        assert found["log_prob"].dtype == jnp.float64
        assert_close(found["log_prob"], density(values), scale=scale, what=f"{name}.log_prob")
        if name != "HalfCauchy":  # it has no moments
            assert_close(found["mean"], theirs.mean(), what=f"{name}.mean")
            assert_close(found["variance"], theirs.var(), what=f"{name}.variance")
        if "cdf" in found:
            assert_close(found["cdf"], theirs.cdf(values), what=f"{name}.cdf")
        if "quantile" in found:
            assert_close(found["quantile"], theirs.ppf(0.3), scale=100, what=f"{name}.quantile")  # SciPy searches
        if "entropy" in found:
            assert_close(found["entropy"], theirs.entropy(), scale=100, what=f"{name}.entropy")  # it integrates


def test_distributions_of_vectors_classes_and_levels_are_those_of_scipy():
    root, vector, shares = np.array([[1.2, 0.0], [-0.4, 0.7]]), np.array([0.3, -1.1]), np.array([0.2, 0.3, 0.5])
    cuts, predictor, levels = np.array([-1.0, 0.5, 2.0]), np.array([0.3, -2.0, 5.0]), np.array([1, 3, 3])

    @jax.jit
    def ours():
        normal = P.MultivariateNormal(np.array([0.5, 0.1]), root)
        return {
            "normal": normal.log_prob(vector),
            "its entropy": normal.entropy(),
            "dirichlet": P.Dirichlet(A).log_prob(shares),
            "its variance": P.Dirichlet(A).variance,
            "classes": P.Categorical(LINE).log_prob(2),
            "levels": P.Ordinal(predictor, cuts).log_prob(levels),
            "a level far out": P.Ordinal(50.0, cuts).log_prob(1),  # of probability 1e-22, between two that are nearly 0
            "zeros": jnp.exp(P.ZeroInflatedPoisson(0.25, 2.0).log_prob(jnp.arange(2))),
            "named": P.Named("Weibull", scale=2.0, concentration=1.5).log_prob(0.7),
        }

    theirs = stats.multivariate_normal([0.5, 0.1], root @ root.T)
    below = np.concatenate([np.zeros((3, 1)), special.expit(cuts - predictor[:, None]), np.ones((3, 1))], 1)
    expected = {
        "normal": theirs.logpdf(vector),
        "its entropy": theirs.entropy(),
        "dirichlet": stats.dirichlet(A).logpdf(shares),
        "its variance": stats.dirichlet(A).var(),
        "classes": special.log_softmax(LINE)[2],
        "levels": np.log(np.diff(below)[np.arange(3), levels]),
        "a level far out": np.log(np.exp(cuts[1] - 50.0) - np.exp(cuts[0] - 50.0)),
        "zeros": 0.25 * np.array([1, 0]) + 0.75 * stats.poisson(2).pmf([0, 1]),
        "named": stats.weibull_min(1.5, scale=2).logpdf(0.7),
    }
    for name, found in ours().items():
        assert_close(found, expected[name], what=name)


def test_a_mixture_is_the_sum_of_its_parts_and_its_quantiles_invert_it():
    logits, means, scales = np.array([0.2, -1.0, 0.7]), np.array([-3.0, 0.0, 5.0]), np.array([0.5, 2.0, 0.1])
    weight, values = special.softmax(logits), np.array([-2.5, 1.0, 5.05])
    point = np.array([1.0, -2.0])

    @jax.jit
    def ours():
        both = P.Mixture(logits, P.Normal(means, scales))
        vector = P.Mixture(logits, P.Independent(P.Normal(np.stack([means, -means], 1), scales[:, None])))
        return both.log_prob(values), both.mean, both.variance, both.interval(0.9), vector.log_prob(point)

    log_prob, mean, variance, ends, of_vector = ours()
    assert_close(jnp.exp(log_prob), stats.norm(means, scales).pdf(values[:, None]) @ weight)
    assert_close(mean, weight @ means)
    assert_close(variance, weight @ (scales**2 + means**2) - (weight @ means) ** 2)
    np.testing.assert_allclose([weight @ stats.norm(means, scales).cdf(v) for v in ends], [0.05, 0.95], rtol=1e-9)
    parts = stats.norm(means, scales).pdf(point[0]) * stats.norm(-means, scales).pdf(point[1])
    assert_close(of_vector, np.log(weight @ parts))


def test_draws_have_the_moments_of_their_distribution_and_a_gradient():
    made = [P.Normal(A, B), P.Mixture(np.zeros(2), P.Normal(np.array([-1.0, 3.0]), 1.0))]
    draws = jax.jit(lambda made: [(d.sample(7, (20_000,)), d.mean, d.variance) for d in made])(made)
    for drawn, mean, variance in draws:
        assert (abs(drawn.mean(0) - mean) < 5 * np.sqrt(variance / 20_000)).all()  # five standard errors
        np.testing.assert_allclose(drawn.var(0), variance, rtol=0.1)
    assert float(jax.jit(jax.grad(lambda m: P.Normal(m, 1.0).sample(0)))(2.0)) == 1.0
    assert P.Normal(jnp.zeros(2, jnp.float32), 1.0).sample(0).dtype == jnp.float32, "whatever JAX's widest is"


PAIRS = {
    "Normal": lambda p, t: (p.Normal(A, B), p.Normal(B, A)),
    "LogNormal": lambda p, t: (p.LogNormal(A, B), p.LogNormal(B, A)),
    "Gamma": lambda p, t: (p.Gamma(A, B), p.Gamma(B, A)),
    "InverseGamma": lambda p, t: (p.InverseGamma(A, B), p.InverseGamma(B, A)),
    "Exponential": lambda p, t: (p.Exponential(A), p.Exponential(B)),
    "Beta": lambda p, t: (p.Beta(A, B), p.Beta(B, A)),
    "Dirichlet": lambda p, t: (p.Dirichlet(A), p.Dirichlet(B)),
    "Bernoulli": lambda p, t: (p.Bernoulli(**t(LINE)), p.Bernoulli(**t(B))),
    "Categorical": lambda p, t: (p.Categorical(**t(LINE)), p.Categorical(**t(B))),
}


def test_divergences_are_those_of_pytorch():
    torch = oracle("torch")

    class Theirs:
        def __getattr__(self, name):
            return lambda *a, **k: getattr(torch.distributions, name)(
                *map(torch.tensor, a), **{n: torch.tensor(v) for n, v in k.items()}
            )

    def logits(z):
        return {"logits": z}

    ours = jax.jit(lambda: {name: P.kl_divergence(*pair(P, logits)) for name, pair in PAIRS.items()})()
    for name, pair in PAIRS.items():
        # not in PyTorch's table: a map of both to their inverse changes no divergence
        pair = PAIRS["Gamma"] if name == "InverseGamma" else pair
        assert_close(ours[name], torch.distributions.kl_divergence(*pair(Theirs(), logits)).numpy(), what=name)


def test_divergences_of_joined_distributions_and_those_that_are_not_closed():
    p, q = P.Normal(A, B), P.Normal(0.0, 1.0)
    joined = P.kl_divergence(P.Independent(p), P.Independent(P.Normal(np.zeros(3), 1.0)))
    assert_close(joined, np.asarray(P.kl_divergence(p, q)).sum())
    same = P.Ordinal(0.3, np.array([-1.0, 2.0]))
    assert_close(P.kl_divergence(same, P.Categorical(same._peer().logits + 3.0)), 0.0)
    with pytest.raises(px.RangeError, match=r"closed divergence, got Poisson and Normal"):
        P.kl_divergence(P.Poisson(1.0), q)
    with pytest.raises(px.ShapeError, match=r"side by side, got batch \(3,\), event \(\) and batch \(2,\)"):
        P.kl_divergence(p, P.Normal(np.zeros(2), 1.0))


def test_losses_weigh_and_never_broadcast():
    normal, target = P.Normal(A[:, None], B[:, None]), LINE[:, None]
    each = -stats.norm(A, B).logpdf(LINE)
    assert_close(P.nll(normal, target), each.mean())
    assert_close(P.nll(normal, target, weight=np.array([1.0, 0.0, 3.0])), (each[0] + 3 * each[2]) / 4)
    assert_close(P.nll(normal, target, reduction="none"), each[:, None])
    with pytest.raises(px.ShapeError, match=r"nll expects targets \(3, 1\).*got float64\[3\]\n  fix: reshape"):
        P.nll(normal, LINE)
    with pytest.raises(px.ShapeError, match=r"Normal.log_prob expects a value \(..., 3, 1\), got float64\[3\]"):
        normal.log_prob(LINE)
    with pytest.raises(px.RangeError, match="NormalHead"):
        P.nll(jnp.zeros(3), LINE)
    from sklearn.metrics import mean_pinball_loss

    levels = (0.1, 0.5, 0.9)
    values = np.sort(np.random.default_rng(0).normal(size=(3, 3)))
    theirs = np.mean([mean_pinball_loss(LINE, values[:, i], alpha=q) for i, q in enumerate(levels)])
    assert_close(P.pinball(P.Quantiles(values, levels), LINE), theirs)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: P.Normal(0.0, -1.0), r"Normal expects scale above 0, got -1.0"),
        (lambda: P.Gamma(jnp.array([1.0, -2.0]), 1.0), r"concentration above 0, got float64\[2\] with -2.0"),
        (lambda: P.Normal(jnp.zeros(2), jnp.ones(3)), r"loc float64\[2\], scale float64\[3\]"),
        (lambda: P.Uniform(2.0, 1.0), r"low below high, got 2.0 and 1.0"),
        (lambda: P.Normal(0.0, True), r"scale as a number or an array, got True"),
        (lambda: P.Named("Wiebull"), r"a distribution that NumPyro has, got 'Wiebull'[\s\S]*Weibull"),
        (lambda: P.Named("Weibull", shape=1.0), r"arguments of Weibull[\s\S]*it takes scale, concentration"),
        (lambda: P.Mixture(jnp.zeros(2), P.Normal(jnp.zeros(3), 1.0)), "a logit for each component"),
        (lambda: P.Independent(P.Normal(0.0, 1.0)), r"axes of at most 0, for a batch \(\)"),
        (lambda: P.Ordinal(jnp.zeros(3), jnp.zeros((2, 4))), "cutpoints for all or for each"),
        (lambda: P.Quantiles(jnp.zeros(3), (0.5, 0.1, 0.9)), r"levels in \(0, 1\), rising"),
        (lambda: P.Normal(0.0, 1.0).interval(1.5), r"mass in \(0, 1\), got 1.5"),
        (lambda: P.Poisson(3.0).quantile(0.5), "Poisson.quantile expects a distribution that has it in closed form"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_where_they_are_made(make, told):
    with pytest.raises(px.PhloxError, match=told):
        make()


def test_a_distribution_is_a_module(tmp_path):
    fixed, learned = P.Normal(0.0, 2.0), P.Normal(jnp.zeros(2, jnp.float32), jnp.ones(2, jnp.float32))
    assert px.paths(fixed) == {}
    assert list(px.paths(learned)) == ["loc", "scale"]
    grads = px.grad(lambda d: P.nll(d, jnp.ones(2)))(learned)
    np.testing.assert_allclose(grads.loc, [-0.5, -0.5])
    half = px.bf16(learned)
    assert half.log_prob(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16
    assert half.mean.dtype == half.sample(0).dtype == jnp.bfloat16
    px.save(learned, tmp_path / "d.phlox")
    again = px.load(tmp_path / "d.phlox")
    assert isinstance(again, P.Normal)
    assert_close(again.log_prob(jnp.ones(2)), learned.log_prob(jnp.ones(2)))
    stacked = px.vmap(lambda m: P.Normal(m, jnp.ones(())))(jnp.arange(3.0))
    assert stacked.batch_shape == (3,)


def test_a_missing_numpyro_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpyro.distributions", None)
    normal = P.Normal(0.0, 1.0)  # made without it
    with pytest.raises(px.MissingExtraError, match=r'numpyro.distributions[\s\S]*pip install "phlox\[probability\]"'):
        normal.log_prob(0.0)
