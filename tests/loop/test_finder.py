"""The finders of learning rates and batch sizes: what they leave alone, and what they find where it is known."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.loop._learning_rate import steepest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5], [3.0]], "float32")


def test_nothing_of_the_model_moves():
    with px.seed(0):
        model = px.Chain(px.Dense(4, 8, px.relu), px.BatchNorm(8), px.Dropout(0.1), px.Dense(8, 1))
    opt = px.Optimizer(px.optim.Adam(1e-3), model)
    before, slots = px.state_dict(model), px.state_dict(opt)
    px.find_learning_rate(model, (X, Y), loss=px.losses.mse, steps=20)
    px.find_batch_size(model, (X, Y), loss=px.losses.mse, largest=2)
    assert all(px.state_dict(model)[path] is v for path, v in before.items())
    assert all(px.state_dict(opt)[path] is v for path, v in slots.items())


def test_gradient_descent_diverges_beyond_two_over_the_curvature():
    """On a quadratic loss of curvature c descent converges for rates below 2 / c and diverges above."""
    c = 8.0
    model = px.Dense.of(jnp.ones((1, 1)), None)
    batch = jnp.ones((1, 1)), jnp.zeros((1, 1))
    found = px.find_learning_rate(
        model, [batch], loss=lambda p, t: c / 2 * ((p - t) ** 2).mean(), rule=px.optim.Descent(1.0), low=1e-4, high=1e2,
        steps=200,
    )  # fmt: skip
    rates, weight, losses = found.rates, 1.0, []
    for rate in rates:
        losses.append(c / 2 * weight**2)
        weight -= rate * c * weight
    np.testing.assert_allclose(found.losses, losses, rtol=1e-3, atol=1e-12)
    assert rates[-1] > 2 / c  # it went on until the loss had grown again
    assert found.suggestion < 2 / c
    average = [[0.8 ** abs(n - m) for m in range(len(losses))] for n in range(len(losses))]
    expected = [np.average(losses, weights=row) for row in average]
    np.testing.assert_allclose(found.smoothed, expected, rtol=1e-3)


def test_a_logistic_curve_is_steepest_in_its_middle():
    rates = np.logspace(-4, 1, 51)
    assert steepest(rates, 1 / (1 + rates / 0.01)) == pytest.approx(0.01)


def test_a_model_trained_with_the_suggestion_learns():
    with px.seed(0):
        model = px.Dense(4, 1)
    found = px.find_learning_rate(model, (X, Y), loss=px.losses.mse, steps=60)
    history = px.fit(
        model, (X, Y), loss=px.losses.mse, optimizer=px.optim.Adam(found.suggestion), epochs=20, progress=False
    )
    assert history["loss"][-1] < history["loss"][0] / 10
    assert repr(found).startswith(f"LearningRates(suggestion={found.suggestion:.2g}, ")


def test_where_the_loss_does_not_fall_nothing_is_suggested():
    model = px.Dense.of(jnp.zeros((1, 1)), None)
    found = px.find_learning_rate(model, [(jnp.ones((1, 1)), jnp.zeros((1, 1)))], loss=px.losses.mse, steps=12)
    assert found.suggestion is None
    assert "the loss does not fall" in repr(found)
    assert steepest(np.array([1.0]), np.array([1.0])) is None


def test_refused_arguments():
    model = px.Dense(4, 1)
    with pytest.raises(px.RangeError, match=r"rates 0 < low < high and at least 10 steps, got low=1, high=0\.1"):
        px.find_learning_rate(model, (X, Y), loss=px.losses.mse, low=1, high=0.1)
    with pytest.raises(px.RangeError, match="a function as loss"):
        px.find_learning_rate(model, (X, Y), loss=3)
    rule = px.optim.Adam(px.optim.cosine_annealing(0.1, 10))
    with pytest.raises(px.StructureError, match="a learning rate that a schedule computes"):
        px.find_learning_rate(model, (X, Y), loss=px.losses.mse, rule=rule)
    with pytest.raises(px.RangeError, match="largest of at least 1"):
        px.find_batch_size(model, (X, Y), loss=px.losses.mse, largest=0)


def test_the_largest_batch_that_fits():
    model = px.Dense(4, 1)
    free = px.find_batch_size(model, (X, Y), loss=px.losses.mse, limit=2**40)
    assert free.suggestion == 64
    assert list(free.needs) == [2, 4, 8, 16, 32, 64]
    for size in (16, 64):
        batch = X[:size], Y[:size]

        def step(model, opt, batch):
            loss, grads = px.value_and_grad(lambda model: px.losses.mse(model(batch[0]), batch[1]))(model)
            opt.update(model, grads)
            return loss

        known = px.memory(step, model, px.Optimizer(px.optim.Adam(1e-3), model), batch)
        assert abs(free.needs[size] - known.total) <= 64
    tight = px.find_batch_size(model, (X, Y), loss=px.losses.mse, limit=free.needs[16])
    assert tight.suggestion == 16
    with pytest.raises(px.NotEnoughMemoryError, match="find_batch_size expects a step that needs at most 1 byte, got"):
        px.find_batch_size(model, (X, Y), loss=px.losses.mse, limit=1)
