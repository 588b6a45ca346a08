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


def made():
    """A head of each kind, and the targets that it is asked about."""
    shared = P.NormalHead(3, 2, shared_scale=True, key=0)
    shared.raw_scale = jnp.array([0.5, -1.0])
    counts = ("poisson", "negative_binomial", "zero_inflated_poisson")
    return {
        "normal": (P.NormalHead(3, 2, min_scale=0.01, key=0), Y),
        "shared": (shared, Y),
        "mixture": (P.MixtureDensityHead(3, 2, 4, min_scale=0.01, key=0), Y),
        "ordinal": (P.OrdinalHead(3, 4, key=0), np.array([0, 1, 2, 3, 1])),
        **{family: (P.CountHead(3, 2, family=family, key=0), N) for family in counts},
    }


def by_hand(heads):
    """What each says of its targets, in NumPy and SciPy, from its weights."""
    y = linear(heads["normal"])
    expected = {"normal": stats.norm(y[:, :2], softplus(y[:, 2:]) + 0.01).logpdf(Y)}
    scale = softplus(np.array([0.5, -1.0])) + 1e-3
    expected["shared"] = stats.norm(linear(heads["shared"]), scale).logpdf(Y)
    y = linear(heads["mixture"])
    parts = y[:, 4:].reshape(5, 4, 4)
    each = stats.norm(parts[..., :2], softplus(parts[..., 2:]) + 0.01).logpdf(Y[:, None]).sum(-1)
    expected["mixture"] = special.logsumexp(special.log_softmax(y[:, :4], -1) + each, -1)
    head = heads["ordinal"]
    cuts = np.concatenate([[head.first], head.first + np.cumsum(softplus(np.asarray(head.raw_steps)))])
    np.testing.assert_allclose(special.expit(cuts), [0.25, 0.5, 0.75], rtol=1e-5)  # at first all levels count alike
    line = X @ np.asarray(head.dense.weight)
    below = np.concatenate([np.zeros((5, 1)), special.expit(cuts - line), np.ones((5, 1))], 1)
    expected["ordinal"] = np.log(np.diff(below)[np.arange(5), [0, 1, 2, 3, 1]])
    expected["poisson"] = stats.poisson(np.exp(linear(heads["poisson"]))).logpmf(N)
    y = linear(heads["negative_binomial"])
    rate, size = np.exp(y[:, :2]), softplus(y[:, 2:]) + 1e-3
    expected["negative_binomial"] = stats.nbinom(size, size / (size + rate)).logpmf(N)
    y = linear(heads["zero_inflated_poisson"])
    gate, counted = special.expit(y[:, 2:]), stats.poisson(np.exp(y[:, :2])).pmf(N)
    expected["zero_inflated_poisson"] = np.log(gate * (N == 0) + (1 - gate) * counted)
    return expected


def test_what_heads_give_is_that_of_their_weights():
    heads = {name: head for name, (head, _) in made().items()}
    targets = {name: target for name, (_, target) in made().items()}
    ours = px.jit(lambda heads, x: {name: head(x).log_prob(targets[name]) for name, head in heads.items()})(heads, X)
    for name, expected in by_hand(heads).items():
        assert_close(ours[name], expected, scale=10, what=name)


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


@pytest.mark.soak
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
    low = px.bf16({name: head for name, (head, _) in made().items()})
    said = px.eval_shape(lambda heads, x: {n: head(x) for n, head in heads.items()}, low, jnp.asarray(X, jnp.bfloat16))
    for name, distribution in said.items():
        assert all(a.dtype == jnp.bfloat16 for a in px.paths(distribution).values()), name
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
