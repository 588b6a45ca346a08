"""NUTS and SVI on a Module, held against Bayesian linear regression, whose posterior and evidence are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayesian_regression as regression
import phlox as px
from kit import assert_close, oracle
from phlox.probability.inference._program import Program

numpyro = oracle("numpyro")
P = px.probability
X, Y = regression.data()
MEAN, COVARIANCE = regression.posterior(X, Y)
PRIOR = P.Normal(0.0, regression.PRIOR)


def fit(model, x, y):
    return P.Normal(model(x), regression.NOISE).log_prob(y).sum()


def linear():
    return px.Dense(2, 1, bias=False, key=0)


def test_nuts_draws_from_the_conjugate_posterior():
    """Mean and covariance within five standard errors of the effective number of draws; chains agree."""
    model = linear()
    before = np.array(model.weight)
    found = P.nuts(model, (X, Y), priors=PRIOR, log_likelihood=fit, draws=500, warmup=300, chains=4, key=0)
    w = np.asarray(found.chains["weight"]).reshape(-1, 2)
    n = float(found.effective["weight"].min())
    assert n > 400
    spread = np.sqrt(np.diag(COVARIANCE))
    assert (abs(w.mean(0) - MEAN) < 5 * spread / np.sqrt(n)).all()
    correlation = COVARIANCE / np.outer(spread, spread)
    np.testing.assert_allclose(np.cov(w.T) / np.outer(spread, spread), correlation, atol=5 * np.sqrt(2 / n))
    assert float(found.r_hat["weight"].max()) < 1.05
    assert found.divergences == 0
    assert repr(found).startswith("Draws(4 × 500, r_hat at most 1.0")
    np.testing.assert_array_equal(model.weight, before)
    assert_close(found.models(X)[7], X @ np.asarray(found.chains["weight"])[0, 7])


@pytest.mark.soak
def test_nuts_takes_priors_by_path_bounded_ones_too():
    """A head with a noise of its own, above 0: the first pattern counts, what is frozen stays."""

    class Line(px.Module):
        def __init__(self):
            self.dense, self.noise = px.Dense(2, 1, key=0), jnp.ones(())

        def __call__(self, x):
            y = self.dense(x)
            return P.Normal(y, jnp.broadcast_to(self.noise, y.shape))

    model = Line()
    model.dense.bias = jnp.full(1, 0.25)
    px.freeze(model, "dense.bias")
    found = P.nuts(
        model, (X, Y + 0.25), priors={"noise": P.HalfCauchy(1.0), "**": PRIOR}, draws=200, warmup=200, chains=2, key=1
    )
    assert set(found.chains) == {"dense.weight", "noise"}
    noise = np.asarray(found.chains["noise"])
    assert (noise > 0).all()
    assert abs(noise.mean() - regression.NOISE) < 0.15
    said = P.mixture(found.models(X))
    assert said.mean.shape == (40, 1)
    assert np.sqrt(np.mean((np.asarray(said.mean) - Y - 0.25) ** 2)) < 1.2 * regression.NOISE


@pytest.mark.parametrize(
    ("guide", "missing"), [pytest.param("full", 0.0, marks=pytest.mark.soak), ("normal", regression.gap(COVARIANCE))]
)
def test_the_bound_of_svi_is_below_the_evidence_by_what_its_form_misses(guide, missing):
    evidence = regression.log_evidence(X, Y)
    found = P.svi(
        linear(), (X, Y), priors=PRIOR, log_likelihood=fit, guide=guide, steps=1500, draws=4, key=0,
        learning_rate=px.optim.cosine_annealing(0.05, 1500),
    )  # fmt: skip
    bound = float(found.bound(4000, key=1))
    assert missing > 0.3 or guide == "full", "inputs are correlated: the form costs something"
    assert bound < evidence + 0.05
    assert abs(evidence - missing - bound) < 0.05
    w = np.asarray(found.sample(4000, key=2).members.weight).reshape(-1, 2)
    variance = np.diag(COVARIANCE) if guide == "full" else 1 / np.diag(np.linalg.inv(COVARIANCE))
    np.testing.assert_allclose(w.mean(0), MEAN, atol=0.15 * np.sqrt(variance.min()))
    np.testing.assert_allclose(w.var(0), variance, rtol=0.2)
    assert_close(found.median().weight[:, 0], MEAN, scale=3e4)  # a few thousandths: it was reached by steps


def test_a_programs_batch_stands_for_all_examples():
    """Of equal examples any batch has the likelihood of all; and in a program the first pattern of priors counts."""
    x, y = np.repeat(X[:1], 40, 0), np.repeat(Y[:1], 40, 0)
    priors = {"weight": P.Normal(0.0, 2.0), "**": PRIOR}
    program = Program(linear(), priors, fit, (x, y), "test", 10)
    traced = numpyro.handlers.trace(numpyro.handlers.seed(program, 0)).get_trace(*program.data)
    drawn = {"weight": traced["weight"]["value"]}
    assert_close(traced["log_likelihood"]["fn"].log_factor, program.fit_of(drawn, *program.data), scale=10)
    assert program.priors["weight"].scale == 2.0
    assert program.start().keys() == {"weight"}
    below = px.Dense.of(-jnp.ones((2, 1)), None)
    above = Program(below, P.HalfNormal(1.0), fit, (x, y), "test")
    assert above.start().keys() == set(), "a weight below 0 is ruled out"


@pytest.mark.soak
def test_batches_of_svi_stand_for_all_examples():
    found = P.svi(
        linear(), (X, Y), priors=PRIOR, log_likelihood=fit, steps=1500, batch_size=10, key=0,
        learning_rate=px.optim.cosine_annealing(0.05, 1500),
    )  # fmt: skip
    assert abs(float(found.bound(2000, key=1)) + regression.gap(COVARIANCE) - regression.log_evidence(X, Y)) < 0.3


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"priors": {"bias": PRIOR}}, r"nuts expects a prior for each array that trains, got none for weight"),
        ({"priors": {"**": PRIOR, "wieght": PRIOR}}, r"patterns that mean arrays of the model, got 'wieght'"),
        ({"priors": {"weight": 1.0}}, r"distributions by path, got 1.0 for 'weight'"),
        ({"priors": P.Normal(jnp.zeros(5), 1.0)}, r"a prior of weight, float32\[2, 1\], got one of shape \(5,\)"),
        ({"log_likelihood": lambda m, x, y: m(x)}, r"a log-likelihood that is one number, got float32\[40, 1\]"),
        ({"log_likelihood": None}, r"a model that gives a distribution"),
        ({"data": (X, Y[:3])}, r"arrays with as many examples, got float32\[40, 2\], float32\[3, 1\]"),
        ({"target_accept": 1.0}, r"target_accept in \(0, 1\), got 1.0"),
    ],
)
def test_mistakes_are_refused(more, told):
    given = {"data": (X, Y), "priors": PRIOR, "log_likelihood": fit} | more
    with pytest.raises(px.PhloxError, match=told):
        P.nuts(linear(), given.pop("data"), draws=4, warmup=1, chains=1, key=0, **given)


def test_an_ensemble_is_its_members_side_by_side(tmp_path):
    ensemble = P.Ensemble(lambda: px.Chain(px.Dense(2, 8, px.tanh), P.NormalHead(8, 1)), 3, key=0)
    outputs = ensemble(X)
    alone = px.jit(lambda model: (model(X).mean, jnp.exp(model(X).log_prob(Y))))
    means, densities = zip(*[alone(ensemble[i]) for i in range(3)], strict=True)
    assert_close(outputs.mean, np.stack(means), scale=3)
    assert not np.allclose(means[0], means[1])
    said = px.jit(lambda outputs: jnp.exp(P.mixture(outputs).log_prob(Y)))(outputs)
    assert_close(said, np.mean(densities, 0), scale=10)
    again = P.Ensemble.of([ensemble[i] for i in range(3)])
    assert_close(again(X).mean, outputs.mean)
    px.save(ensemble, tmp_path / "e.phlox")
    assert_close(px.load(tmp_path / "e.phlox")(X).mean, outputs.mean)
    with pytest.raises(px.StructureError, match="models of one structure"):
        P.Ensemble.of([px.Dense(2, 1), px.Dense(2, 2)])
    with pytest.raises(px.RangeError, match=r"a function that makes one model[\s\S]*lambda"):
        P.Ensemble(px.Dense(2, 1), 3)


def test_an_ensemble_trains_in_fit_as_its_members_alone():
    """By SGD at three times the rate: the mean over three members is a third of each member's loss."""
    ensemble = P.Ensemble(lambda: px.Dense(2, 1), 3, key=0)
    alone = [ensemble[i] for i in range(3)]
    options = {"epochs": 2, "batch_size": 12, "seed": 3, "progress": False}  # the last batch is padded
    loss = P.each_member(px.losses.mse)
    px.fit(ensemble, (X, Y), loss=loss, optimizer=px.optim.Descent(0.3), **options)
    for i, model in enumerate(alone):
        px.fit(model, (X, Y), loss=px.losses.mse, optimizer=px.optim.Descent(0.1), **options)
        assert_close(ensemble[i].weight, model.weight, scale=10)


def test_what_an_ensemble_says_is_predicted_and_evaluated_as_a_models_answer():
    model = P.Predictive(P.Ensemble(lambda: P.NormalHead(2, 1), 3, key=0))
    said = px.predict(model, X, batch_size=16)
    whole = P.mixture(model.ensemble(X))
    assert_close(said.log_prob(Y), whole.log_prob(Y), scale=3)
    found = px.evaluate(model, (X, Y), loss=P.nll, batch_size=16)
    np.testing.assert_allclose(found["loss"], -np.mean(whole.log_prob(Y)), rtol=1e-5)


def test_a_mixture_of_what_classifiers_say_has_their_mean_probabilities():
    logits = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    said = P.mixture(P.Categorical(logits))
    assert_close(jax.nn.softmax(said.logits), jax.nn.softmax(logits).mean(0), scale=3)
    yes = P.mixture(P.Bernoulli(logits))
    assert_close(jax.nn.sigmoid(yes.logits), jax.nn.sigmoid(logits).mean(0), scale=3)
    with pytest.raises(px.RangeError, match="distributions of several models, got"):
        P.mixture(jnp.ones((2, 3)))
    with pytest.raises(px.ShapeError, match=r"arrays \(2, 3\)"):
        P.mixture(P.Normal(jnp.zeros((2, 3)), jnp.ones(3)))


def test_swag_is_the_moments_of_the_path_and_its_draws_have_them():
    rng = np.random.default_rng(0)
    path = rng.normal(size=(30, 2, 1)).astype("float32") * np.array([[1.0], [0.2]], "float32") + 3.0
    model = linear()
    moments = P.WeightMoments(model, rank=10)
    running = []
    for n, weight in enumerate(path):
        model.weight = jnp.asarray(weight)
        moments.update(model)
        running.append(weight - path[: n + 1].mean(0))
    assert_close(moments.mean["weight"], path.mean(0))
    assert_close(moments.variance()["weight"], path.var(0), scale=30)
    columns = np.stack(running[-10:])[..., 0]
    draws = np.asarray(moments.sample(model, 20_000, key=0).members.weight)[..., 0]
    expected = 0.5 * (np.diag(path.var(0)[:, 0]) + columns.T @ columns / 9)
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(draws.mean(0), path.mean(0)[:, 0], atol=5 * scale.max() / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(scale, scale), expected / np.outer(scale, scale), atol=0.05)
    with pytest.raises(px.StructureError, match="at least 2 updates, got 0"):
        P.WeightMoments(model).sample(model)


@pytest.mark.soak
def test_swag_follows_fit_and_resumes_with_it(tmp_path):
    def trained(epochs, folder, resume=False):
        swag, model = P.SWAG(start=2, rank=3), linear()
        px.fit(
            model, (X, Y), loss=px.losses.mse, optimizer=px.optim.Descent(0.05), epochs=epochs, batch_size=8,
            callbacks=swag, checkpoint_dir=tmp_path / folder, resume=resume, progress=False,
        )  # fmt: skip
        return swag.moments

    trained(4, "broken off")
    resumed, whole = trained(6, "broken off", resume=True), trained(6, "whole")
    assert int(whole.count) == int(resumed.count) == 4
    assert_close(resumed.mean["weight"], whole.mean["weight"])
    assert_close(resumed.deviations["weight"], whole.deviations["weight"])
