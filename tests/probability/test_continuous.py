"""Continuous flows against the closed form of a linear equation, and the derivative of what they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import probability as P

oracle("diffrax")
linalg, stats = oracle("scipy.linalg"), oracle("scipy.stats")
MATRIX = np.array([[0.3, -1.0], [0.4, 0.5]])


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def linear(trace, **settings):
    field = P.WithTrace(lambda x: x @ jnp.asarray(MATRIX).T, trace=trace)
    return P.Continuous(px.science.NeuralODE(field, span=(0.0, 0.5), solver="dopri5", **settings), key=0)


X = np.random.default_rng(0).normal(size=(4, 2))


def test_the_density_of_a_linear_equation_is_normal_with_its_closed_covariance():
    flow = P.Flow(P.StandardNormal(2), linear("exact", rtol=1e-9, atol=1e-9))
    moved = linalg.expm(0.5 * MATRIX)
    back = np.linalg.inv(moved)
    wanted = stats.multivariate_normal(cov=back @ back.T).logpdf(X)
    found, x = px.jit(lambda flow, x, z: (flow.log_prob(x), flow.from_latent(z)))(flow, X, X @ moved.T)
    np.testing.assert_allclose(found, wanted, rtol=1e-7)
    np.testing.assert_allclose(x, X, atol=1e-7)


def test_a_drawn_direction_gives_the_trace_and_what_lies_beside_the_diagonal():
    """e e' of signs is 1 on the diagonal and ±1 beside it, so the trace of two features comes out in two ways."""
    bijection = linear("hutchinson", step=0.25)
    many = np.tile(X, (50, 1))
    stretch = px.jit(lambda bijection, x: bijection(x)[1])
    first, second = np.asarray(stretch(bijection, many)), np.asarray(stretch(bijection, many))
    exact, beside = 0.5 * np.trace(MATRIX), 0.5 * (MATRIX[0, 1] + MATRIX[1, 0])
    assert set(np.round(first, 9)) == set(np.round([exact + beside, exact - beside], 9))
    assert np.any(first != second), "anew at each call"
    assert abs(np.mean(first) - exact) < 4 * abs(beside) / np.sqrt(200)


class Field(px.Module):
    """A field that bends, of time, place and context."""

    def __init__(self):
        self.net = px.f64(px.Chain(px.Dense(4, 5, px.tanh, key=0), px.Dense(5, 2, key=1)))

    def __call__(self, t, x, context):
        return self.net(jnp.concatenate([x, jnp.full_like(x[:, :1], t), context], -1))


@pytest.mark.soak
def test_a_network_stretches_space_as_the_derivative_of_the_map_says():
    ode = px.science.NeuralODE(P.WithTrace(Field(), time=True), time=True, rtol=1e-9, atol=1e-9)
    bijection, h = P.Continuous(ode, key=0), 1e-4
    ways = h * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])[:, None]

    @px.jit
    def all_of(bijection, x, context):
        z, stretch = bijection(x, context)
        return z, stretch, *bijection.inverse(z, context)

    x, context = X + ways, np.broadcast_to(3 * X[:, :1], (5, 4, 1))
    z, stretch, back, shrink = map(np.asarray, all_of(bijection, x, context))
    slope = np.stack([z[1] - z[2], z[3] - z[4]], -1) / (2 * h)
    np.testing.assert_allclose(stretch[0], np.linalg.slogdet(slope)[1], atol=1e-6)
    np.testing.assert_allclose(shrink, -stretch, atol=1e-7)
    np.testing.assert_allclose(back, x, atol=1e-7)
    assert np.abs(stretch).max() > 0.1


def test_what_does_not_fit_is_refused():
    with pytest.raises(px.RangeError, match="an equation of a field WithTrace"):
        P.Continuous(px.science.NeuralODE(lambda y: y))
    with pytest.raises(px.RangeError, match="one answer to whether the field gets the time, got time=True"):
        P.Continuous(px.science.NeuralODE(P.WithTrace(lambda x: x), time=True))
    with pytest.raises(px.RangeError, match="trace 'exact' or 'hutchinson', got 'none'"):
        P.WithTrace(lambda x: x, trace="none")
    with pytest.raises(px.ShapeError, match=r"a field that gives \(4, 2\), got float64\[4, 1\]"):
        P.WithTrace(lambda x: x[:, :1])((jnp.asarray(X), jnp.zeros(4)))
