"""Heads: what they give is worked out beside them from their weights, and they train in px.fit as layers do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import phlox as px
from kit import assert_close, oracle

oracle("numpyro")
P = px.probability
X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(5, 2)).astype("float32")
N = np.array([[0, 3], [1, 1], [2, 0], [5, 4], [0, 0]])


def softplus(z):
    return np.logaddexp(0, z)


def linear(head):
    return X @ np.asarray(head.dense.weight) + np.asarray(head.dense.bias)


def test_numbers():
    head = P.NormalHead(3, 2, min_scale=0.01, key=0)
    y = linear(head)
    assert_close(head(X).log_prob(Y), stats.norm(y[:, :2], softplus(y[:, 2:]) + 0.01).logpdf(Y), scale=3)
    shared = P.NormalHead(3, 2, shared_scale=True, key=0)
    shared.raw_scale = jnp.array([0.5, -1.0])
    expected = stats.norm(linear(shared), softplus(np.array([0.5, -1.0])) + 1e-3).logpdf(Y)
    assert_close(shared(X).log_prob(Y), expected, scale=3)
    mixed = P.MixtureDensityHead(3, 2, 4, min_scale=0.01, key=0)
    y = linear(mixed)
    parts = y[:, 4:].reshape(5, 4, 4)
    each = stats.norm(parts[..., :2], softplus(parts[..., 2:]) + 0.01).logpdf(Y[:, None]).sum(-1)
    assert_close(mixed(X).log_prob(Y), special.logsumexp(special.log_softmax(y[:, :4], -1) + each, -1), scale=3)


def test_levels_and_counts():
    head = P.OrdinalHead(3, 4, key=0)
    line = X @ np.asarray(head.dense.weight)
    cuts = np.concatenate([[head.first], head.first + np.cumsum(softplus(np.asarray(head.raw_steps)))])
    below = np.concatenate([np.zeros((5, 1)), special.expit(cuts - line), np.ones((5, 1))], 1)
    levels = np.array([0, 1, 2, 3, 1])
    expected = np.log(np.diff(below)[np.arange(5), levels])
    assert_close(head(X).log_prob(levels), expected, scale=10)
    np.testing.assert_allclose(special.expit(cuts), [0.25, 0.5, 0.75], rtol=1e-5)  # at first all levels count alike
    for family in ("poisson", "negative_binomial", "zero_inflated_poisson"):
        head = P.CountHead(3, 2, family=family, key=0)
        y = linear(head)
        rate, raw = np.exp(y[:, :2]), y[:, 2:]
        expected = stats.poisson(rate).logpmf(N)
        if family == "negative_binomial":
            size = softplus(raw) + 1e-3
            expected = stats.nbinom(size, size / (size + rate)).logpmf(N)
        if family == "zero_inflated_poisson":
            gate = special.expit(raw)
            expected = np.log(gate * (N == 0) + (1 - gate) * np.exp(expected))
        assert_close(head(X).log_prob(N), expected, scale=10, what=family)


def test_quantiles_cannot_cross():
    head = P.QuantileHead(3, 2, levels=(0.1, 0.5, 0.9), key=0)
    y = linear(head).reshape(5, 2, 3)
    first = y[..., 0]
    expected = np.stack([first, first + softplus(y[..., 1]), first + softplus(y[..., 1:]).sum(-1)], -1)
    found = head(X)
    assert_close(found.values, expected)
    assert_close(found.at(0.9), expected[..., 2])
    with pytest.raises(px.RangeError, match=r"a level of these quantiles, got 0\.2"):
        found.at(0.2)


def test_a_head_trains_in_fit_and_its_bands_hold_what_they_say(tmp_path):
    """Noise that grows with x: the loss comes near that of the truth, and nine in ten targets lie in the band."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2048, 1)).astype("float32")
    scale = 0.1 + 0.4 * (x > 0)
    y = (np.sin(3 * x) + scale * rng.normal(size=x.shape)).astype("float32")
    with px.seed(0):
        model = px.Chain(px.Dense(1, 32, px.tanh), px.Dense(32, 32, px.tanh), P.NormalHead(32, 1))
    history = px.fit(
        model, (x, y), loss=P.nll, optimizer=px.optim.Adam(1e-2), epochs=40, batch_size=100,  # the last batch is padded
        validation_data=(x, y), progress=False,
    )  # fmt: skip
    truth = -stats.norm(np.sin(3 * x), scale).logpdf(y).mean()
    assert history["val_loss"][-1] < truth + 0.08
    found = px.predict(model, x, batch_size=512)
    assert isinstance(found, P.Normal)
    assert found.batch_shape == (2048, 1)
    low, high = found.interval(0.9)
    assert abs(float(((low < y) & (y < high)).mean()) - 0.9) < 0.03
    px.save(model, tmp_path / "m.phlox")
    assert_close(px.load(tmp_path / "m.phlox")(x[:5]).mean, model(x[:5]).mean)


def test_heads_print_keep_their_dtype_and_refuse_what_does_not_fit():
    assert repr(P.CountHead(3, 2, family="poisson")).startswith("CountHead(")
    for head in (P.NormalHead(3, 2), P.MixtureDensityHead(3, 2, 2), P.OrdinalHead(3, 4), P.CountHead(3, 2)):
        low = px.bf16(head)(jnp.asarray(X, jnp.bfloat16))
        assert all(a.dtype == jnp.bfloat16 for a in px.paths(low).values()), head
        assert low.log_prob(jnp.zeros(low.batch_shape + low.event_shape, int)).dtype == jnp.bfloat16
    model = px.Chain(px.Dense(3, 4), P.NormalHead(3, 1))
    with pytest.raises(px.ShapeError, match=r"model.layers\[1\].dense Dense\(3 → 2\) expects \(..., 3\)"):
        model(X)
    for make, told in (
        (lambda: P.NormalHead(3, 0), "NormalHead expects out_size to be a whole number of at least 1, got 0"),
        (lambda: P.NormalHead(3, 1, min_scale=0.0), "min_scale above 0, got 0.0"),
        (lambda: P.OrdinalHead(3, 1), "levels to be a whole number of at least 2, got 1"),
        (lambda: P.CountHead(3, 1, family="binomial"), r"family among .*, got 'binomial'"),
        (lambda: P.QuantileHead(3, 1, levels=(0.5, 1.0)), r"levels in \(0, 1\), rising"),
    ):
        with pytest.raises(px.RangeError, match=told):
            make()
    assert jax.tree.leaves(px.eval_shape(P.QuantileHead(3, 1), X))[0].shape == (5, 1, 3)
