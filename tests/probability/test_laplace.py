"""Laplace's approximation: exact where the posterior is normal, and its matrices are those of a Hessian elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import bayesian_regression as regression
import phlox as px
from kit import assert_close, oracle

oracle("numpyro")
P = px.probability
X, Y = regression.data()
MEAN, COVARIANCE = regression.posterior(X, Y)


def at_the_mode():
    return px.Dense.of(jnp.asarray(MEAN[:, None], jnp.float32), None)


@pytest.mark.parametrize("structure", ["full", "kronecker"])
def test_it_is_exact_for_linear_regression(structure):
    found = P.laplace(
        at_the_mode(), (X, Y), noise=regression.NOISE, prior_precision=1 / regression.PRIOR**2, structure=structure,
        batch_size=16,
    )  # fmt: skip
    new = np.random.default_rng(1).normal(size=(6, 2)).astype("float32")
    variance = np.einsum("ni,ij,nj->n", new, COVARIANCE, new)
    assert_close(found.function(new).variance[:, 0], variance, scale=10)
    assert_close(found(new).variance[:, 0], variance + regression.NOISE**2, scale=10)
    assert_close(found(new).mean[:, 0], new @ MEAN, scale=10)
    np.testing.assert_allclose(found.log_evidence(), regression.log_evidence(X, Y), rtol=1e-4)
    draws = np.asarray(found.sample(20_000, key=0).members.weight)[..., 0]
    scale = np.sqrt(np.diag(COVARIANCE))
    np.testing.assert_allclose((draws.mean(0) - MEAN) / scale, 0, atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(scale, scale), COVARIANCE / np.outer(scale, scale), atol=0.05)
    other = found.with_prior(4.0)
    precision = np.linalg.inv(COVARIANCE) + (4.0 - 1 / regression.PRIOR**2) * np.eye(2)
    exact = np.einsum("ni,ij,nj->n", new, np.linalg.inv(precision), new)
    assert_close(other.function(new).variance[:, 0], exact, scale=10)


def network():
    with px.seed(0):
        return px.Chain(px.Dense(2, 4, px.tanh), px.Dense(4, 3))


@pytest.mark.parametrize(
    "likelihood", ["categorical", *(pytest.param(name, marks=pytest.mark.soak) for name in ("bernoulli", "normal"))]
)
def test_the_curvature_is_the_gauss_newton_matrix(likelihood):
    """Beside J^T Λ J with a Jacobian and a Hessian by jax of its own, over all weights of a network."""
    model, classes = network(), np.arange(40) % 3
    y = {"categorical": classes, "bernoulli": np.eye(3)[classes], "normal": np.eye(3, dtype="float32")[classes]}[
        likelihood
    ]
    found = P.laplace(model, (X, y), likelihood=likelihood, noise=0.7, layers="**", prior_precision=2.0)
    vector, restore = px.destructure(model)

    def loss(outputs, target):
        if likelihood == "normal":
            return jnp.sum((outputs - target) ** 2) / 2 / 0.7**2
        if likelihood == "bernoulli":
            return jnp.sum(jnp.logaddexp(0, outputs) - target * outputs)
        return jax.nn.logsumexp(outputs) - outputs[target]

    @jax.jit
    def matrix(x, y):
        slope = jax.jacfwd(lambda v: restore(v)(x[None])[0])(vector)
        return slope.T @ jax.hessian(loss)(restore(vector)(x[None])[0], y) @ slope

    expected = np.sum([np.asarray(matrix(x, t), float) for x, t in zip(jnp.asarray(X), jnp.asarray(y), strict=True)], 0)
    ours = np.asarray(found.curvature.basis * found.curvature.values @ found.curvature.basis.T)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * abs(expected).max())
    assert found.arrays == tuple(px.paths(model))
    _, log_det = np.linalg.slogdet(expected + 2.0 * np.eye(len(expected)))
    np.testing.assert_allclose(found.curvature.log_det(2.0), log_det, rtol=1e-4)


def test_factors_are_means_of_products_and_a_layers_block_is_theirs():
    """A ⊗ G / N of each layer, worked out by hand from inputs and slopes; and variances by the whole matrix of them."""
    model = network()
    y = np.arange(40) % 3
    found = P.laplace(model, (X, y), likelihood="categorical", layers="**", structure="kronecker", prior_precision=0.5)
    first, second = (np.asarray(layer.weight, float) for layer in model.layers)
    hidden = np.tanh(X @ first + np.asarray(model.layers[0].bias))
    share = special.softmax(hidden @ second + np.asarray(model.layers[1].bias), 1)
    bend = share[:, :, None] * np.eye(3) - share[:, :, None] * share[:, None, :]
    slopes = {"layers.0": (1 - hidden**2)[:, None, :] * second.T[None], "layers.1": np.tile(np.eye(3), (40, 1, 1))}
    inputs = {"layers.0": np.c_[X, np.ones(40)], "layers.1": np.c_[hidden, np.ones(40)]}
    new, variance = slice(0, 5), 0.0
    for path, g in slopes.items():
        a = inputs[path]
        block = np.kron(a.T @ a, np.einsum("nop,noq,nqr->pr", g, bend, g) / 40)
        assert_close(
            np.sort(np.outer(found.curvature.in_values[path], found.curvature.out_values[path]).ravel()),
            np.linalg.eigvalsh(block), scale=200,
        )  # fmt: skip
        slope = np.einsum("ni,noj->noij", a[new], g[new]).reshape(5, 3, -1)
        variance = variance + slope @ np.linalg.inv(block + 0.5 * np.eye(len(block))) @ slope.transpose(0, 2, 1)
    mean = found.function(X[new])
    np.testing.assert_allclose(
        mean.scale_tril @ jnp.swapaxes(mean.scale_tril, 1, 2), variance, rtol=1e-3, atol=1e-4 * variance.max()
    )
    flat = np.asarray(mean.mean) / np.sqrt(1 + np.pi / 8 * np.diagonal(variance, axis1=1, axis2=2))
    assert_close(found(X[new]).logits, flat, scale=200)


def test_the_last_layer_alone_and_a_choice_by_path(tmp_path):
    model = network()
    y = np.arange(40) % 3
    last = P.laplace(model, (X, y), likelihood="categorical")
    named = P.laplace(model, (X, y), likelihood="categorical", layers="layers.1")
    assert last.arrays == named.arrays == ("layers.1.weight", "layers.1.bias")
    assert last.curvature.size == 15
    assert_close(last(X).logits, named(X).logits)
    drawn = last.sample(3, key=0)
    assert_close(drawn.members.layers[0].weight[2], model.layers[0].weight)
    assert not np.allclose(drawn.members.layers[1].weight[2], model.layers[1].weight)
    assert list(px.split(last)[0]) == [], "nothing of it trains"
    px.save(last, tmp_path / "l.phlox")
    assert_close(px.load(tmp_path / "l.phlox")(X).logits, last(X).logits)
    assert_close(px.predict(last, X, batch_size=16).logits, last(X).logits)


@pytest.mark.parametrize(
    ("model", "more", "told"),
    [
        (network, {"likelihood": "poisson"}, 'likelihood among "normal", "categorical", "bernoulli"'),
        (network, {"layers": "layers.7", "data": (X, np.ones((40, 3)))}, "layers= to mean a layer with weights"),
        (network, {"data": (X, Y)}, r"targets \(40, 3\) for 'normal', got float32\[40, 1\]"),
        (lambda: P.NormalHead(2, 1), {}, r"outputs \(batch, out\), got Normal"),
        (lambda: px.LayerNorm(2), {"data": (X, X)}, "a model with a Dense"),
        (
            lambda: px.Chain(lambda x: x[:, None], px.Dense(2, 1), lambda x: x[:, 0]), {"structure": "kronecker"},
            r"\(batch, in\), for a curvature in factors",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_refused(model, more, told):
    given = {"data": (X, Y)} | more
    with pytest.raises(px.PhloxError, match=told):
        P.laplace(model(), given.pop("data"), **given)
