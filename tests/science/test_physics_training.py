"""Physics-informed training: equations solved by networks, beside closed forms, differences, and Cole and Hopf."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import compiled_as_users_do, oracle
from phlox.science.physics import _minimise

oracle("optimistix")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def in_64_bits(*parts):
    return [jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), part) for part in parts]


def bar(rate=0.4):
    """A bar of length 1 with cold ends: heat flows from its middle."""

    def heat(u, x, t):
        return u.d("t") - rate * u.d("xx")

    body = px.Chain(px.Dense(2, 10, px.tanh, key=0), px.Dense(10, 10, px.tanh, key=1), px.Dense(10, 1, key=2))
    start = lambda x, t: jnp.sin(jnp.pi * x)  # noqa: E731
    network = px.science.HardConstraint(body, lambda x, t: t * x * (1 - x), start)
    exact = lambda p: np.exp(-rate * np.pi**2 * p[:, 1]) * np.sin(np.pi * p[:, 0])  # noqa: E731
    return px.f64(px.science.PINN(network, heat)), px.science.Box(x=(0, 1), t=(0, 1)), exact


def error_of(pinn, box, exact, **counts):
    """The relative L2 error on a grid."""
    places = np.asarray(box.grid(**counts), np.float64)
    found = np.asarray(px.jit(lambda pinn, places: pinn(places))(pinn, jnp.asarray(places)))[:, 0]
    return np.linalg.norm(found - exact(places)) / np.linalg.norm(exact(places))


def test_heat_in_a_bar_is_that_of_the_closed_form():
    pinn, box, exact = bar()
    (points,) = in_64_bits(box.sobol(96))
    before = error_of(pinn, box, exact, x=21, t=21)
    history = px.fit(
        pinn, [points], loss=px.science.physics_loss, optimizer=px.optim.Adam(1e-2), steps=20, progress=False
    )
    found = px.science.minimise(px.science.physics_loss, pinn, points, method="levenberg_marquardt", steps=40)
    assert history["equation"][-1] == history["loss"][-1] < 0.7 * history["loss"][0]
    assert float(found.value) < 1e-3 * history["loss"][-1]
    assert before > 0.1
    assert error_of(pinn, box, exact, x=21, t=21) <= 1e-3


@pytest.mark.parametrize("method", ["bfgs", pytest.param("lbfgs", marks=pytest.mark.soak)])
def test_quasi_newton_methods_find_the_least_squares_of_a_linear_model(method):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 1))
    layer = px.f64(px.Dense(3, 1, key=0))
    loss = lambda model, x, y: (px.losses.mse(model(x), y), {"anything": x.sum()})  # noqa: E731
    found = px.science.minimise(loss, layer, jnp.array(x), jnp.array(y), method=method, steps=200)
    wanted, left, *_ = np.linalg.lstsq(np.c_[x, np.ones(20)], y, rcond=None)
    np.testing.assert_allclose(np.r_[layer.weight, layer.bias[None]], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.value, left[0] / 20, rtol=1e-8)
    assert bool(found.finished)
    assert 3 < int(found.steps) < 200


def test_levenberg_and_marquardt_take_any_residuals():
    layer = px.f64(px.Dense.of(jnp.array([[2.0]]), None))
    x = jnp.array([[1.0], [2.0]])
    residuals = lambda model, x: {"a": jnp.exp(-model(x)) - jnp.exp(-0.7 * x), "b": model(x[:1]) - 0.7}  # noqa: E731
    found = px.science.minimise(residuals, layer, x, method="levenberg_marquardt", steps=50)
    np.testing.assert_allclose(layer.weight, [[0.7]], rtol=1e-6)
    assert float(found.value) < 1e-12


def test_residuals_of_a_pinn_add_up_to_its_loss_and_their_jacobian_is_that_of_jax():
    causal = {"flow": px.science.Causal("t", 0.0, 1.0, stretches=3)}
    terms = {"flow": lambda u, x, t: (u.d("t") - u.d("xx"), u * u.d("x")), "seen": lambda u, x, t, seen: u - seen}
    body = px.Chain(px.Dense(2, 4, px.tanh, key=0), px.Dense(4, 1, key=1))
    pinn = px.f64(px.science.PINN(body, terms, weights={"seen": 5.0}, causal=causal))
    places = np.random.default_rng(0).uniform(size=(6, 2))
    points = {"seen": (jnp.array(places[:3]), jnp.arange(3.0)), "flow": jnp.array(places)}
    vector, restore = px.destructure(pinn)
    residuals = _minimise._physics(restore, points)
    np.testing.assert_allclose(jnp.sum(jax.jit(residuals)(vector) ** 2), pinn.loss(points)[0], rtol=1e-10)

    def plain(vector):
        made = restore(vector)
        left = made.left("flow", points["flow"])
        shares = jax.lax.stop_gradient(jnp.sqrt(left.factors / 6))
        seen = jnp.sqrt(5 / 3) * made.residual("seen", points["seen"])
        return jnp.concatenate([shares * left.equations[0], shares * left.equations[1], seen])

    ours = jax.jit(jax.jacfwd(residuals))(vector)
    np.testing.assert_allclose(ours, jax.jit(jax.jacrev(plain))(vector), rtol=1e-8, atol=1e-10)


def test_a_loss_that_is_not_finite_leaves_the_model_as_it_was():
    layer = px.f64(px.Dense.of(jnp.array([[2.0]]), None))
    with pytest.raises(px.science.SolverError, match=r"px\.science\.minimise expects a loss that is finite, got nan"):
        px.science.minimise(lambda model: jnp.log(-(model(jnp.ones((1, 1))).sum())), layer, steps=3)
    assert layer.weight.tolist() == [[2.0]]


@pytest.mark.soak
def test_state_of_balancing_is_kept_by_fit_and_by_a_checkpoint(tmp_path):
    def made():
        terms = {"flow": lambda u, x, t: u.d("t") - u.d("xx"), "start": lambda u, x, t: u - jnp.sin(x)}
        body = px.Chain(px.Dense(2, 8, px.tanh, key=0), px.Dense(8, 1, key=1))
        return px.science.PINN(body, terms, balance="gradient_norm", every=3)

    box = px.science.Box(x=(0, 1), t=(0, 1))
    points = {"flow": box.sobol(32), "start": box.at(t=0).sobol(8)}
    run = dict(loss=px.science.physics_loss, optimizer=px.optim.Adam(1e-2), progress=False)
    whole, parts = made(), made()
    px.fit(whole, [points], epochs=10, **run)
    px.fit(parts, [points], epochs=5, checkpoint_dir=tmp_path, **run)
    again = made()
    px.fit(again, [points], epochs=10, checkpoint_dir=tmp_path, resume=True, **run)
    assert int(whole.steps) == int(again.steps) == 10
    np.testing.assert_array_equal(whole.weights, again.weights)
    assert float(jnp.abs(whole.weights - 1).max()) > 0.1


# --- the examples ----------------------------------------------------------------------------------------


@pytest.fixture
def example(monkeypatch):
    """A program of examples/ by its name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_cole_and_hopf_solve_burgers_equation(example):
    """What the example measures itself with: it begins as it should, and solves the equation, by differences."""
    burgers = example("burgers")
    x = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(burgers.cole_hopf(x, np.full(9, 1e-9)), -np.sin(np.pi * x), atol=1e-6)
    at, h = (np.array([-0.55, 0.3]), np.array([0.4, 0.2])), 1e-4
    move = lambda dx, dt: burgers.cole_hopf(at[0] + dx, at[1] + dt)  # noqa: E731
    slope, rate = (move(h, 0) - move(-h, 0)) / (2 * h), (move(0, h) - move(0, -h)) / (2 * h)
    bend = (move(h, 0) - 2 * move(0, 0) + move(-h, 0)) / h**2
    np.testing.assert_allclose(rate + move(0, 0) * slope, burgers.VISCOSITY * bend, atol=1e-5)


def test_differences_in_a_cavity_are_of_second_order(example):
    cavity = example("cavity")
    common = lambda n: cavity.by_differences(n)[n // 4 - 1 :: n // 4, n // 4 - 1 :: n // 4]  # noqa: E731
    found = [common(n) for n in (12, 24, 48)]
    assert found[0].shape == (3, 3)
    order = np.log2(np.abs(found[1] - found[0]).max() / np.abs(found[2] - found[1]).max())
    assert 1.5 < order < 2.6


@pytest.mark.soak
@pytest.mark.parametrize("name", ["burgers", "cavity"])
def test_an_example_comes_within_a_hundredth(example, name):
    with compiled_as_users_do():
        assert example(name).main().error <= 1e-2
