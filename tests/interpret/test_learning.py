"""Concepts beside scikit-learn, influence beside training again without an example, attention beside its definition."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import phlox as px
from kit import assert_close, oracle
from phlox.interpret.learning._concepts import _p_value

I = px.interpret  # noqa: E741
RNG = np.random.default_rng(0)
PENALTY = 0.05


def logistic_loss(model, x, y):
    """With its penalty, so that it is convex and has one minimum."""
    z = model(x)[:, 0]
    return jnp.mean(jnp.logaddexp(0, z) - y * z) + PENALTY / 2 * jnp.sum(model.weight**2)


def trained(x, y):
    """(features,) the minimum, by Newton's steps in float64."""
    w = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x / len(x) + PENALTY * np.eye(len(w)),
                             x.T @ (p - y) / len(x) + PENALTY * w)  # fmt: skip
    return w


def losses(w, x, y):
    z = x @ w
    return np.logaddexp(0, z) - y * z + PENALTY / 2 * w @ w


def test_influence_is_what_training_again_without_an_example_changes():
    x, noise = RNG.normal(size=(80, 3)), RNG.normal(size=80)
    y = (x @ np.array([1.0, -2.0, 0.5]) + noise > 0).astype(float)
    other_x, other_y = RNG.normal(size=(4, 3)), np.array([0.0, 1.0, 1.0, 0.0])
    w = trained(x, y)
    model = px.Dense.of(jnp.asarray(w[:, None], jnp.float32), None)
    train, test = (x.astype("f"), y.astype("f")), (other_x.astype("f"), other_y.astype("f"))
    found = I.influence(model, logistic_loss, train, test, batch_size=32)
    again = [trained(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(80)]
    wanted = np.stack([losses(v, other_x, other_y) - losses(w, other_x, other_y) for v in again], 1)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.998
    np.testing.assert_allclose(found, wanted, atol=0.12 * np.abs(wanted).max())
    assert np.median(np.abs(found - wanted)) < 0.02 * np.abs(wanted).max()
    damped = I.influence(model, logistic_loss, train, test, damping=1e4)
    assert_close(1e4 * 80 * damped, I.tracin(model, logistic_loss, train, test), scale=300)  # H is nothing beside λ


def test_tracin_sums_products_of_gradients_over_checkpoints():
    models = [px.Dense.of(jnp.asarray(RNG.normal(size=(3, 1)), jnp.float32), None) for _ in range(2)]
    loss = lambda m, x, y: px.losses.mse(m(x), y)  # noqa: E731
    x, y = (RNG.normal(size=s).astype("f") for s in ((5, 3), (5, 1)))
    found = I.tracin(models, loss, (x, y), (x[:2], y[:2]), learning_rates=[0.5, 0.1])
    slopes = [2 * (x @ np.asarray(m.weight) - y) * x for m in models]
    assert_close(found, (0.5 * slopes[0][:2] @ slopes[0].T + 0.1 * slopes[1][:2] @ slopes[1].T).astype("f"), scale=10)
    with pytest.raises(px.RangeError, match="2 checkpoints, 1 rates"):
        I.tracin(models, loss, (x, y), (x, y), learning_rates=[1.0])


def test_influence_names_a_system_that_it_cannot_solve():
    model = px.Dense.of(jnp.ones((2, 1)), None)
    data = (np.ones((3, 2), "f"), np.ones((3, 1), "f"))
    with pytest.raises(px.StructureError, match="a loss that curves upward"):
        I.influence(model, lambda m, x, y: -px.losses.mse(m(x), y), data, data)
    with pytest.raises(px.RangeError, match="damping of 0 or more, got -1"):
        I.influence(model, lambda m, x, y: px.losses.mse(m(x), y), data, data, damping=-1)


def test_a_concepts_direction_is_that_of_a_logistic_regression():
    linear_model = oracle("sklearn.linear_model")
    hidden, head = (RNG.normal(size=s).astype("f") for s in ((4, 3), (3, 2)))
    model = px.Chain(px.Dense.of(jnp.asarray(hidden), None, px.tanh), px.Dense.of(jnp.asarray(head), None))
    x, concept = RNG.normal(size=(20, 4)).astype("f"), RNG.normal(size=(30, 4)).astype("f") + 0.8
    noise = [RNG.normal(size=(25, 4)).astype("f") for _ in range(3)]
    found = I.tcav(
        model, x, {"shifted": concept, "none": noise[0] * 0.99}, noise, layer="layers.0", target=1, penalty=0.1
    )
    for i, other in enumerate(noise):
        examples = np.tanh(np.concatenate([concept, other]) @ hidden).astype(float)
        spread = examples.std(0)
        labels = np.repeat([1, 0], [30, 25])
        fit = linear_model.LogisticRegression(C=1 / (0.1 * 55), tol=1e-10, max_iter=10_000)
        fit.fit((examples - examples.mean(0)) / spread, labels)
        wanted = fit.coef_[0] / spread
        np.testing.assert_allclose(found.directions["shifted"][i], wanted / np.linalg.norm(wanted), atol=1e-4)
        assert found.accuracies["shifted"][i] == fit.score((examples - examples.mean(0)) / spread, labels)
        share = (head[:, 1] @ found.directions["shifted"][i] > 0) * 1.0  # what follows is linear
        assert found.scores["shifted"][i] == share
    assert found.random_scores.shape == (3,)
    stats = oracle("scipy.stats")
    chance = np.array([0.0, 1.0, 1.0])
    wanted = stats.ttest_ind([0.2, 0.4, 0.9], chance, equal_var=False).pvalue
    np.testing.assert_allclose(_p_value(np.array([0.2, 0.4, 0.9]), chance), wanted)
    assert "shifted" in str(found)


def maps_of(model, x):
    """The weights of each layer of a chain of attention, by asking each for them."""
    found = []
    for layer in model:
        y, weights = layer(x, return_weights=True)
        found.append(np.asarray(weights))
        x = y
    return found


def test_attention_rolls_out_and_flows():
    model = px.Chain(*[px.MultiHeadAttention(6, 2, key=i) for i in range(2)])
    x = 3 * RNG.normal(size=(2, 4, 6)).astype("f")
    mixed = [(m.mean(1) + np.eye(4)) / 2 for m in maps_of(model, x)]
    found = I.attention_rollout(model, x, query=1)
    assert_close(found.values, (mixed[1] @ mixed[0])[:, 1].astype("f"))
    assert_close(I.attention_rollout(model, x, query=None).values, (mixed[1] @ mixed[0]).mean(1).astype("f"))
    top = [m.max(1) + np.eye(4) for m in maps_of(model, x)]
    top = [m / m.sum(-1, keepdims=True) for m in top]
    assert_close(I.attention_rollout(model, x, heads="max").values, (top[1] @ top[0])[:, 0].astype("f"))
    flow = I.attention_flow(model, x, query=2)
    wanted = [[_flow([m[row] for m in mixed], token, 2) for token in range(4)] for row in range(2)]
    np.testing.assert_allclose(flow.values, wanted, atol=1e-5)


def _flow(maps, token, query):
    """The greatest flow by a linear program over all edges of two layers."""
    rooms = np.concatenate([maps[0][:, token], maps[1][query]])  # token → middle i, and i → query
    keep = np.concatenate([np.eye(4), -np.eye(4)], 1)
    done = linprog(
        -np.repeat([1.0, 0.0], 4), A_eq=keep, b_eq=np.zeros(4), bounds=list(zip(np.zeros(8), rooms, strict=True))
    )
    return -done.fun


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, x: I.attention_rollout(m, x, query=9), "a query below 3, got 9"),
        (lambda m, x: I.attention_rollout(m, x, heads="all"), "heads of 'mean', 'max', 'min', got 'all'"),
        (lambda m, x: I.attention_flow(m, x, layers=["q"]), "layers= of attention, got ['q']"),
        (lambda m, x: I.attention_flow(px.Dense(4, 4), x), "a model whose layers attend, got Dense(4 → 4)"),
    ],
)
def test_what_does_not_fit_is_named(call, text):
    with pytest.raises(px.PhloxError, match=re.escape(text)):
        call(px.MultiHeadAttention(4, 2, key=0), np.ones((1, 3, 4), "f"))
