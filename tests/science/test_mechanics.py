"""Motion by energies: what is kept is kept, and known systems move as they are known to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

oracle("diffrax")


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def energy_of(size, seed=0):
    return px.f64(px.Chain(px.Dense(size, 8, px.tanh, key=seed), px.Dense(8, 1, key=seed + 1)))


def test_a_network_of_energy_keeps_it_over_ten_periods():
    """A bowl with a network's dents: q swings with a period near 2π; a field of the same size without H would not."""
    dents = energy_of(2)
    bowl = px.science.HamiltonianField(px.science.UniversalField(lambda y: (y**2).sum(-1, keepdims=True) / 2, dents))
    ode = px.science.NeuralODE(bowl, solver="dopri5", step=0.05)
    ts = jnp.linspace(0.0, 20 * jnp.pi, 101)
    y0 = jnp.array([[1.0, 0.5]])
    path = px.jit(lambda ode, y0: ode(y0, ts))(ode, y0)[0]
    turns = int((np.diff(np.sign(path[:, 0])) != 0).sum())
    assert turns >= 20, "ten periods"
    energies = bowl.energy(path)[:, 0]
    assert float(jnp.abs(energies - energies[0]).max()) < 1e-6 * float(jnp.abs(energies).max())
    assert float(jnp.abs(dents(path) - dents(path)[0]).max()) > 1e-2, "the network has a say"


def double_pendulum(y):
    """Slopes of two rods of length and mass 1 at angles to the vertical, as mechanics has them in closed form."""
    a, b, va, vb = y.T
    d, g = a - b, 9.81
    below = 3 - np.cos(2 * d)
    fa = -3 * g * np.sin(a) - g * np.sin(a - 2 * b) - 2 * np.sin(d) * (vb**2 + va**2 * np.cos(d))
    fb = 2 * np.sin(d) * (2 * va**2 + 2 * g * np.cos(a) + vb**2 * np.cos(d))
    return np.stack([va, vb, fa / below, fb / below], 1)


def test_the_double_pendulum_of_its_lagrangian_is_that_of_its_closed_form():
    def lagrangian(y):
        a, b, va, vb = y.T
        kinetic = va**2 + vb**2 / 2 + va * vb * jnp.cos(a - b)
        return kinetic + 9.81 * (2 * jnp.cos(a) + jnp.cos(b))

    y = np.random.default_rng(0).normal(size=(5, 4))
    field = px.science.LagrangianField(lagrangian)
    np.testing.assert_allclose(px.jit(field)(jnp.array(y)), double_pendulum(y), rtol=1e-9)


@pytest.mark.soak
def test_a_symplectic_step_is_that_of_the_formula_and_its_energy_does_not_drift():
    spring = px.science.SymplecticODE(lambda p: (p**2).sum(-1) / 2, lambda q: jnp.cosh(q).sum(-1), step=0.1)
    (q, p) = one = spring(jnp.array([[1.0, 0.3]]), jnp.array([0.0, 0.1]))[0, 1]
    assert one.shape == (2,)
    np.testing.assert_allclose(q, 1.0 + 0.1 * 0.3, rtol=1e-12)
    np.testing.assert_allclose(p, 0.3 - 0.1 * np.sinh(1.03), rtol=1e-12)
    found = px.jit(lambda ode, y, ts: ode.solve(y, ts))(spring, jnp.array([[1.0, 0.3]]), jnp.linspace(0.0, 300.0, 3001))
    swings = spring.energy(found.states[0]) - spring.energy(jnp.array([[1.0, 0.3]]))
    early, late = jnp.abs(swings[:300]).max(), jnp.abs(swings[-300:]).max()
    assert int(found.steps) == 3000
    assert float(late) < 1.05 * float(early)


@pytest.mark.parametrize("depth", [4, pytest.param(1, marks=pytest.mark.soak)])
def test_a_symplectic_net_keeps_areas_and_goes_back_exactly(depth):
    net = px.f64(px.science.SympNet(2, 6, depth, key=0))
    y, h = jnp.array([[0.3, -1.0, 0.7, 0.2]]), 0.7
    slope = jax.jit(jax.jacfwd(lambda y: net(y[None], h)[0]))(y[0])
    turn = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    np.testing.assert_allclose(slope.T @ turn @ slope, turn, atol=1e-12)
    assert float(jnp.abs(slope - jnp.eye(4)).max()) > 0.05
    np.testing.assert_allclose(net.inverse(net(y, h), h), y, atol=1e-12)
    np.testing.assert_allclose(net.path(y, 2, h)[:, 2], net(net(y, h), h), atol=1e-12)
    moved = net(y, h) - y
    assert bool(jnp.all(moved[:, 2:] != 0))
    assert bool(jnp.all((moved[:, :2] != 0) == (depth > 1)))


def test_states_that_have_no_halves_and_energies_of_two_numbers_are_refused():
    with pytest.raises(px.ShapeError, match=r"\(batch, 2n\), positions before momenta, got float64\[2, 3\]"):
        px.science.HamiltonianField(energy_of(3))(jnp.ones((2, 3)))
    with pytest.raises(px.ShapeError, match=r"an energy of \(2, 1\), one for each example, got float64\[2, 4\]"):
        px.science.LagrangianField(px.f64(px.Dense(4, 4)))(jnp.ones((2, 4)))
    with pytest.raises(px.RangeError, match="moves 'momenta' or 'positions', got 'both'"):
        px.science.Shear(2, 3, px.tanh, moves="both")
