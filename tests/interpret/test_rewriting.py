"""Rules other than the gradient's, beside NumPy on small networks, and what they conserve on large ones."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import interpret_games as games
import phlox as px
from interpret_games import DATA, along, quadratic
from kit import assert_close

I = px.interpret  # noqa: E741
RNG = np.random.default_rng(0)
W1, B1, W2, B2 = (RNG.normal(size=s).astype("f") for s in ((4, 5), (5,), (5, 2), (2,)))
X, BASE = (RNG.normal(size=(3, 4)).astype("f") for _ in range(2))


def network(act=px.relu):
    return px.Chain(px.Dense.of(jnp.asarray(W1), jnp.asarray(B1), act), px.Dense.of(jnp.asarray(W2), jnp.asarray(B2)))


def test_rectifiers_pass_what_is_positive():
    u, back = X @ W1 + B1, W2[:, 1]
    guided = np.maximum(back, 0) * (u > 0) @ W1.T
    assert_close(I.guided_backprop(network(), X, target=1).values, guided)
    assert_close(I.deconvolution(network(), X, target=1).values, np.broadcast_to(np.maximum(back, 0) @ W1.T, X.shape))
    for act in (lambda x: jnp.maximum(0.0, x), lambda x: jnp.where(x > 0, x, 0.0)):
        assert_close(I.guided_backprop(network(act), X, target=1).values, guided)
    shifted = np.maximum(back, 0) * (0.5 * u + 0.25 > 0) * 0.5 @ W1.T
    found = I.guided_backprop(network(lambda x: px.relu(0.5 * x + 0.25)), X, target=1)
    assert_close(found.values, shifted)
    with pytest.raises(px.StructureError, match="a model with a ReLU, got none"):
        I.guided_backprop(network(px.gelu), X, target=1)


@pytest.mark.parametrize("act", [px.relu, px.gelu, px.silu, px.sigmoid])
def test_differences_of_activations_are_quotients(act):
    u, u0 = X @ W1 + B1, BASE @ W1 + B1
    quotient = (np.asarray(act(u)) - np.asarray(act(u0))) / (u - u0)
    found = I.deep_lift(network(act), X, target=1, baselines=BASE)
    assert_close(found.values, (X - BASE) * ((quotient * W2[:, 1]) @ W1.T), scale=20)
    np.testing.assert_allclose(found.delta, 0, atol=1e-5)


def test_baselines_from_data_are_a_mean():
    """Of products of two that differ the share is the slope half way, as integrated gradients have it."""
    wanted = np.mean([along(games.X, base) for base in DATA[:, None]], 0)
    found = I.deep_lift_shap(quadratic, games.X, baselines=DATA)
    assert_close(found.values, wanted, scale=10)
    np.testing.assert_allclose(found.delta, 0, atol=1e-5)


def test_where_nothing_differs_the_slope_counts():
    base = X.copy()
    base[:, 0] += 1.0
    u = X @ W1 * np.array([0, 1, 0, 1, 0]) + B1  # neurons that feature 0 does not reach do not differ

    class Net(px.Module):
        def __call__(self, x):
            return jnp.tanh(x).sum(1) + x[:, 0]

    found = I.deep_lift(Net(), X, baselines=base)
    assert_close(found.values[:, 0], np.tanh(X[:, 0]) - np.tanh(base[:, 0]) - 1, scale=10)
    assert (np.asarray(found.values[:, 1:]) == 0).all()
    assert np.isfinite(u).all()


def test_two_that_differ_share_evenly():
    """Of a product, a quotient and a maximum each factor has the mean of its two orders."""
    a, a0, b, b0 = (v.astype("f") for v in np.abs(RNG.normal(size=(4, 3))) + 0.5)
    x, base = np.stack([a, b], 1), np.stack([a0, b0], 1)
    for f in (lambda a, b: a * b, lambda a, b: a / b, jnp.maximum, lambda a, b: a**b):
        found = I.deep_lift(lambda x, f=f: f(x[:, 0] * 1.0, x[:, 1] * 1.0), x, baselines=base)
        first = (f(a, b0) - f(a0, b0) + f(a, b) - f(a0, b)) / 2
        assert_close(found.values[:, 0], first, scale=20)
        np.testing.assert_allclose(found.delta, 0, atol=1e-5)


def test_a_maximum_belongs_to_where_it_was_and_is():
    x, base = np.array([[1.0, 5.0, 2.0]], "f"), np.array([[4.0, 0.0, 1.0]], "f")
    for f in (lambda x: x.max(1), lambda x: px.MaxPool((3,))(x[..., None]).reshape(len(x))):
        assert I.deep_lift(f, x, baselines=base).values.tolist() == [[0.0, 1.0, 0.0]]  # it rose at place 1
        assert I.deep_lift(f, base, baselines=x).values.tolist() == [[0.0, -1.0, 0.0]]  # it fell there


class Attending(px.Module):
    """Attention and a gated layer between norms; without biases where asked."""

    def __init__(self, bias):
        self.attend = px.MultiHeadAttention(6, 2, bias=bias, key=0)
        self.norm = px.LayerNorm(6)
        self.lstm = px.LSTM(6, 3, key=1)
        self.head = px.Dense(3, 2, bias=bias, key=2)

    def __call__(self, x):
        return self.head(self.lstm(self.norm(x + self.attend(x)))[:, -1])


SEQUENCES = RNG.normal(size=(2, 2, 6)).astype("f")


def test_all_differences_are_accounted_for_in_attention_gates_and_norms():
    found = I.deep_lift(Attending(True), SEQUENCES, target=1, baselines=SEQUENCES[::-1] / 2)
    np.testing.assert_allclose(found.delta, 0, atol=1e-5)
    assert np.abs(np.asarray(found.scores - found.baseline_scores)).min() > 1e-3


def test_relevance_is_conserved_without_biases():
    """Of gates, softmax and norms nothing is lost; the LSTM's bias is zero as made."""
    model = Attending(False)
    found = I.lrp(model, SEQUENCES, target=1)
    np.testing.assert_allclose(found.delta, 0, atol=1e-5)
    assert np.abs(np.asarray(found.scores)).min() > 1e-3
    assert np.abs(np.asarray(found.values)).max() > 1e-3


def test_of_a_product_each_activation_has_half():
    a, b = np.maximum(X @ W1[:, :1], 0), X @ W1[:, 1:2]
    found = I.lrp(lambda x: px.relu(x @ W1[:, 0]) * (x @ W1[:, 1]), X)
    wanted = X * (W1[:, 0] * (X @ W1[:, :1] > 0) * b + W1[:, 1] * a) / 2
    assert_close(found.values, wanted, scale=4)
    np.testing.assert_allclose(found.delta, 0, atol=1e-6)


def relevance(weigh, x=X, bias=True):
    """By NumPy: a score's relevance back through two layers, each by ``weigh(x, w, b, r)``."""
    hidden = np.maximum(x @ W1 + bias * B1, 0)
    score = hidden @ W2 + bias * B2
    start = np.where(np.arange(2) == 1, score, 0)
    return weigh(x, W1, bias * B1, weigh(hidden, W2, bias * B2, start))


def epsilon_of(e):
    def weigh(x, w, b, r):
        z = x @ w + b
        return x * ((r / (z + e * np.where(z >= 0, 1, -1))) @ w.T)

    return weigh


def gamma_of(g):
    def weigh(x, w, b, r):
        heavy = w + g * np.maximum(w, 0)
        return x * ((r / (x @ heavy + b)) @ heavy.T)

    return weigh


def alpha_of(a):
    def weigh(x, w, b, r):
        parts = x[:, :, None] * w  # (rows, in, out)
        up, down = np.maximum(parts, 0), np.minimum(parts, 0)
        gain, loss = up.sum(1) + np.maximum(b, 0), down.sum(1) + np.minimum(b, 0)
        share = a * up * (r / np.where(gain == 0, 1, gain))[:, None]
        return (share - (a - 1) * down * (r / np.where(loss == 0, 1, loss))[:, None]).sum(-1)

    return weigh


@pytest.mark.parametrize(
    ("rule", "weigh"),
    [(None, epsilon_of(0)), (I.Epsilon(0.2), epsilon_of(0.2)), (I.Gamma(0.3), gamma_of(0.3)),
     (I.AlphaBeta(), alpha_of(1)), (I.AlphaBeta(2.0), alpha_of(2))],
    ids=["none", "epsilon", "gamma", "alpha 1", "alpha 2"],
)  # fmt: skip
def test_rules_of_relevance_are_their_formulas(rule, weigh):
    found = I.lrp(network(), X, target=1, rules=rule)
    wanted = relevance(weigh)
    assert_close(found.values, wanted.astype("f"), scale=50)
    assert_close(found.delta, (wanted.sum(1) - np.asarray(found.scores)).astype("f"), scale=100)


def test_rules_go_by_layer():
    found = I.lrp(network(), X, target=1, rules={"*": I.Gamma(0.3), "layers.1": I.Epsilon(0.2)})
    weighs = iter([epsilon_of(0.2), gamma_of(0.3)])
    wanted = relevance(lambda *args: next(weighs)(*args))
    assert_close(found.values, wanted.astype("f"), scale=50)
    with pytest.raises(px.RangeError, match=re.escape("rules for layers of the model, got 'layers.7'")):
        I.lrp(network(), X, target=1, rules={"layers.7": I.Epsilon()})
    with pytest.raises(px.RangeError, match=r"rules of relevance, got 0\.1"):
        I.lrp(network(), X, target=1, rules=0.1)
    with pytest.raises(px.RangeError, match=r"alpha of 1 or more, got 0\.5"):
        I.AlphaBeta(0.5)


def test_a_layers_output_is_explained_by_the_same_rules():
    hidden = np.maximum(X @ W1 + B1, 0)
    found = I.lrp(network(), X, target=1, layer="layers.0")
    assert_close(found.values, hidden * W2[:, 1])
    lifted = I.deep_lift(network(), X, target=1, layer="layers.0", baselines=BASE)
    assert_close(lifted.values, (hidden - np.maximum(BASE @ W1 + B1, 0)) * W2[:, 1], scale=10)
