"""Bayesian layers: the moments of what they draw are exact, the bound is that of closed forms, fit trains them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayesian_regression as regression
import phlox as px
from kit import assert_close, oracle

oracle("numpyro")
P = px.probability
RNG = np.random.default_rng(0)
X = np.repeat(RNG.normal(size=(1, 3)), 2, 0).astype("float32")  # one example twice
DRAWS = 4000


def drawn(layer, x):
    """Outputs of a layer in training, (draws, ...)."""
    return np.asarray(P.sample_predictions(layer, jnp.asarray(x), DRAWS, key=1))


def layer_of(estimator, inner):
    layer = P.BayesianLayer(inner, estimator=estimator, key=0)
    layer.raw_scale = jnp.asarray(RNG.normal(size=layer.raw_scale.shape), jnp.float32)
    layer.raw_bias_scale = jnp.asarray(RNG.normal(size=layer.raw_bias_scale.shape), jnp.float32)
    layer.layer.bias = jnp.asarray(RNG.normal(size=layer.layer.bias.shape), jnp.float32)
    return layer


@pytest.mark.parametrize(("estimator", "together"), [("reparametrisation", 1.0), ("flipout", 0.0), ("local", 0.0)])
def test_what_is_drawn_has_the_exact_moments(estimator, together):
    """Mean x M + m and variance x² S² + s²; and what two equal examples of a batch have in common."""
    layer = layer_of(estimator, px.Dense(3, 2, key=0))
    y = drawn(layer, X)
    scale, bias_scale = np.logaddexp(0, layer.raw_scale), np.logaddexp(0, layer.raw_bias_scale)
    mean = X @ np.asarray(layer.layer.weight) + np.asarray(layer.layer.bias)
    variance = X**2 @ scale**2 + bias_scale**2
    assert (abs(y.mean(0) - mean) < 5 * np.sqrt(variance / DRAWS)).all()
    assert (abs(y.var(0) / variance - 1) < 5 * np.sqrt(2 / DRAWS) * 1.5).all()
    for out in range(2):
        assert abs(np.corrcoef(y[:, 0, out], y[:, 1, out])[0, 1] - together) < 5 / np.sqrt(DRAWS)
    assert_close(layer(X), mean, scale=3)  # in inference, the means
    np.testing.assert_allclose(y[0] == y[1], False)


@pytest.mark.parametrize("estimator", ["flipout", "local"])
def test_a_convolution_is_a_dense_of_its_windows(estimator):
    conv = layer_of(estimator, px.Conv((2,), 3, 2, px.identity, stride=2, key=0))
    x = RNG.normal(size=(1, 4, 3)).astype("float32")
    y = drawn(conv, x)
    windows = x.reshape(1, 2, 6)
    scale, bias_scale = np.logaddexp(0, conv.raw_scale), np.logaddexp(0, conv.raw_bias_scale)
    variance = windows**2 @ scale.reshape(6, 2) ** 2 + bias_scale**2
    mean = windows @ np.asarray(conv.layer.weight).reshape(6, 2) + np.asarray(conv.layer.bias)
    assert (abs(y.mean(0) - mean) < 5 * np.sqrt(variance / DRAWS)).all()
    assert (abs(y.var(0) / variance - 1) < 7.5 * np.sqrt(2 / DRAWS)).all()


def test_the_divergence_from_the_prior_is_that_of_pytorch():
    torch = oracle("torch")
    layer = layer_of("flipout", px.Dense(3, 2, key=0))
    layer.prior = P.Normal(0.5, 2.0)
    total = 0.0
    for mean, raw in ((layer.layer.weight, layer.raw_scale), (layer.layer.bias, layer.raw_bias_scale)):
        q = torch.distributions.Normal(torch.tensor(np.array(mean)), torch.tensor(np.logaddexp(0, raw)))
        total += torch.distributions.kl_divergence(q, torch.distributions.Normal(0.5, 2.0)).sum().item()
    np.testing.assert_allclose(layer.kl_to_prior(), total, rtol=1e-5)
    model = px.Chain(layer, px.Dense(2, 2), P.BayesianLayer(px.Dense(2, 1, key=1), key=1))
    np.testing.assert_allclose(layer.kl_to_prior() + model.layers[2].kl_to_prior(), P.kl_to_prior(model), rtol=1e-6)
    with pytest.raises(px.RangeError, match=r"a model with Bayesian layers, got Dense\(2 → 2\)"):
        P.kl_to_prior(px.Dense(2, 2))
    learned = P.BayesianLayer(px.Dense(2, 2), prior=P.Normal(0.0, jnp.ones(())))
    grads = px.grad(lambda m: m.kl_to_prior())(learned)
    assert float(grads.prior.scale) > 0, "a prior of arrays is learned: it narrows to what is there"


def test_fit_trains_a_bayesian_layer_to_the_best_of_its_form():
    """Of all independent normal distributions the nearest has the exact mean, and 1 over the precision as variance."""
    x, y = regression.data(64)
    mean, covariance = regression.posterior(x, y)
    model = P.BayesianLayer(
        px.Dense(2, 1, bias=False, key=0), estimator="local", prior=P.Normal(0.0, regression.PRIOR), key=0
    )

    def negative_elbo(model, x, y):
        return P.nll(P.Normal(model(x), regression.NOISE), y) + P.kl_to_prior(model) / 64

    rate = px.optim.cosine_annealing(0.03, 1500)
    history = px.fit(
        model, (x, y), loss=negative_elbo, optimizer=px.optim.Adam(rate), steps=1500, batch_size=64, progress=False
    )
    found = model.posterior()["weight"]
    spread = np.sqrt(1 / np.diag(np.linalg.inv(covariance)))
    assert (abs(found.loc[:, 0] - mean) < 0.4 * spread).all()
    np.testing.assert_allclose(found.scale[:, 0], spread, rtol=0.15)
    bound = -64 * history["loss"][-1]
    assert abs(bound - (regression.log_evidence(x, y) - regression.gap(covariance))) < 6, "one draw of it"


def test_layers_are_put_into_a_model_and_saved_with_it(tmp_path):
    model = px.Chain(px.Conv((3,), 2, 4, px.relu, padding="SAME"), px.GlobalMeanPool(), px.flatten, px.Dense(4, 1))
    plain, x = px.copy(model), RNG.normal(size=(3, 6, 2)).astype("float32")
    assert P.bayesian(model, key=0) is model
    assert [type(part).__name__ for part in (model.layers[0], model.layers[3])] == ["BayesianLayer"] * 2
    assert_close(model(x), plain(x))
    before = model.layers[0].key
    y = px.jit(lambda m, x: px.value_and_grad(lambda m: (m(x) ** 2).sum())(m)[0])(model, x)
    assert np.isfinite(float(y))
    assert not bool((jax.random.key_data(model.layers[0].key) == jax.random.key_data(before)).all()), "the key moves on"
    px.save(model, tmp_path / "m.phlox")
    again = px.load(tmp_path / "m.phlox")
    assert_close(P.sample_predictions(again, x, 3, key=2), P.sample_predictions(model, x, 3, key=2))
    low = px.bf16(model)
    assert P.sample_predictions(low, jnp.asarray(x, jnp.bfloat16), 2, key=0).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: P.BayesianLayer(px.LayerNorm(3)), "BayesianLayer expects a Dense or Conv, got"),
        (lambda: P.BayesianLayer(px.Dense(2, 2), estimator="shared"), 'estimator among "reparametrisation"'),
        (lambda: P.BayesianLayer(px.Dense(2, 2), scale=0.0), "scale above 0, got 0.0"),
        (lambda: P.BayesianLayer(px.Dense(2, 2), prior=P.HalfCauchy(1.0)), "closed divergence, got Normal"),
        (lambda: P.bayesian(px.Chain(px.LayerNorm(2))), "to mean a Dense or Conv"),
        (lambda: P.sample_predictions(px.Dense(2, 2), jnp.ones((1, 2))), "a model with layers that draw"),
    ],
)  # fmt: skip
def test_mistakes_are_refused(make, told):
    with pytest.raises(px.RangeError, match=told):
        make()


def test_dropout_draws_at_prediction_and_statistics_stand_still():
    """By p(1 - p) each kept unit's variance is known; BatchNorm infers all the while, and the model stays as it is."""
    model = px.Chain(px.BatchNorm(3), px.Dropout(0.25, key=0), px.Dense(3, 1, bias=False, key=0))
    x = RNG.normal(size=(4, 3)).astype("float32")
    y = np.asarray(P.sample_predictions(model, x, DRAWS, key=3))
    weight, inner = np.asarray(model.layers[2].weight), np.asarray(model.layers[0](x))
    variance = inner**2 @ weight**2 * 0.25 / 0.75
    assert (abs(y.mean(0) - inner @ weight) < 5 * np.sqrt(variance / DRAWS)).all()
    np.testing.assert_allclose(y.var(0), variance, rtol=0.15)
    assert not model.layers[1].training
    np.testing.assert_array_equal(y[:2], P.sample_predictions(model, x, DRAWS, key=3)[:2])
