"""Flows: maps are undone, stretch space as their derivatives say, and densities have the mass 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import probability as P

stats = oracle("scipy.stats")


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def stirred(model, seed=0, size=0.4):
    """A model in 64 bits, with weights that are not those it begins with."""
    rng = np.random.default_rng(seed)
    return px.map(lambda v: v + size * rng.normal(size=v.shape) if _moves(v) else v, px.f64(model))


def _moves(v):
    return jnp.issubdtype(v.dtype, jnp.floating)


SPLINE = P.RationalQuadratic(5, 2.0)
MAPS = {
    "affine coupling": lambda: P.Coupling(3, kept=[1], hidden=(8,), act=px.tanh, context=2, key=0),
    "spline coupling": lambda: P.Coupling(3, SPLINE, hidden=(8,), act=px.tanh, key=0),
    "autoregressive": lambda: P.Autoregressive(3, order=[2, 0, 1], hidden=(8, 8), act=px.tanh, context=2, key=0),
    "spline autoregressive": lambda: P.Autoregressive(3, SPLINE, hidden=(8,), act=px.tanh, key=0),
    "inverse": lambda: P.Inverse(P.Autoregressive(3, hidden=(8,), act=px.tanh, key=0)),
    "permutation": lambda: P.Permutation(3, [2, 0, 1]),
    "scale": lambda: P.ActNorm(3),
    "mixing": lambda: P.LULinear(3),
}


LATER, MADE_OF_OTHERS = pytest.mark.soak, ("spline autoregressive", "inverse")


@pytest.mark.parametrize("name", [pytest.param(n, marks=LATER if n in MADE_OF_OTHERS else ()) for n in MAPS])
def test_a_map_is_undone_and_stretches_space_as_its_derivative_says(name):
    bijection = stirred(MAPS[name]())
    x = jnp.asarray(1.2 * np.random.default_rng(1).normal(size=(5, 3)))
    given = (jnp.array([0.3, -1.0]),) if getattr(bijection, "context", 0) else ()

    @jax.jit
    def all_of(bijection, x, given):
        z, stretch = bijection(x, *given)
        slopes = jax.vmap(jax.jacfwd(lambda x: bijection(x, *given)[0]))(x)
        told = [jax.jacfwd(lambda c: bijection(x[0], c)[0])(c) for c in given]
        return z, stretch, slopes, told, bijection.inverse(z, *given)

    z, stretch, slopes, told, (back, shrink) = all_of(bijection, x, given)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(stretch, np.linalg.slogdet(slopes)[1], atol=1e-9)
    np.testing.assert_allclose(shrink, -stretch, atol=1e-9)
    moved = np.array(bijection.moved if "coupling" in name else [0, 1, 2])
    assert np.all(np.asarray(jnp.abs(z - x))[:, moved].max(0) > 1e-3)
    for change in told:
        assert np.all(np.abs(change[moved]) > 1e-9), "the context reaches every feature that moves"
    if "autoregressive" in name:
        order = np.array(bijection.conditioner.layers[0].in_degrees)[:3]
        sees = np.asarray(jnp.abs(slopes).max(0) > 1e-9)
        np.testing.assert_array_equal(sees, order[:, None] >= order[None, :], "all before it, and nothing behind")


def test_the_spline_has_its_corners_and_slopes_and_is_the_identity_outside_and_at_zeros():
    raw = np.random.default_rng(0).normal(size=11)
    at = px.jit(lambda x, raw: P.RationalQuadratic(4, 3.0)(x, jnp.broadcast_to(raw, (*x.shape, 11))))
    soft = lambda v: 1e-3 + (1 - 4e-3) * np.exp(v) / np.exp(v).sum()  # noqa: E731 - of the paper
    x = np.append(-3, -3 + 6 * np.cumsum(soft(raw[:4])))
    y = np.append(-3, -3 + 6 * np.cumsum(soft(raw[4:8])))
    z, log_slope = at(x[1:-1], raw)
    np.testing.assert_allclose(z, y[1:-1], rtol=1e-12)
    slopes = 1e-3 + np.logaddexp(0, raw[8:] + np.log(np.expm1(1 - 1e-3)))
    np.testing.assert_allclose(np.exp(log_slope), slopes, rtol=1e-10)
    np.testing.assert_allclose(np.exp(at(x[1:-1] - 1e-10, raw)[1]), slopes, rtol=1e-6)
    outside, inside = np.array([-3.0, 3.0, 8.0]), np.array([-2.9, 0.1, 1.7])
    np.testing.assert_array_equal(at(outside, raw)[0], outside)
    np.testing.assert_allclose(at(inside, jnp.zeros(11))[0], inside, rtol=1e-12)


@pytest.mark.parametrize("make", [P.real_nvp, *(pytest.param(m, marks=LATER) for m in (P.spline_flow, P.maf, P.iaf))])
def test_a_density_has_the_mass_1_and_a_flow_is_undone(make):
    flow = stirred(make(2, 2, hidden=(8,), act=px.tanh, key=0), size=0.2)
    side, area = np.linspace(-15, 15, 301), 0.1**2
    grid = jnp.asarray(np.stack(np.meshgrid(side, side), -1).reshape(-1, 2))
    z = np.random.default_rng(1).normal(size=(9, 2))
    asked = px.jit(lambda flow, x, z: (flow.log_prob(x), flow.latent(flow.from_latent(z))))
    log_density, again = asked(flow, grid, z)
    np.testing.assert_allclose(jnp.exp(log_density).sum() * area, 1, atol=1e-4)
    assert float(jnp.abs(jnp.exp(log_density) - jnp.exp(flow.base.log_prob(grid))).max()) > 0.01, "it is not the base"
    np.testing.assert_allclose(again, z, atol=1e-6)


def test_samples_are_what_the_base_is_taken_to_with_a_context_each():
    flow = stirred(P.maf(2, 1, hidden=(4,), context=1, key=0))
    context = jnp.array([[0.0], [1.0], [2.0]])
    key = jax.random.key(7)
    asked = px.jit(lambda flow, context: ((x := flow.sample(key, (500,), context)), flow.latent(x, context)))
    x, z = asked(flow, context)
    assert x.shape == (500, 3, 2)
    np.testing.assert_allclose(z, flow.base.sample(key, (500, 3)), atol=1e-9)
    assert stats.kstest(np.asarray(z).ravel(), "norm").pvalue > 0.01


@pytest.mark.soak
def test_training_finds_the_normal_distribution_of_the_greatest_likelihood():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 2)) @ np.array([[2.0, 1.5], [0.0, 0.5]]) + np.array([3.0, -1.0])
    flow = px.f64(P.Flow(P.StandardNormal(2), P.ActNorm(2), P.LULinear(2)))
    flow.initialise(x)
    z = flow.latent(x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-12)
    wanted = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.cov(x.T, bias=True))[1]
    assert float(flow.loss(x)) > wanted + 0.3
    px.fit(flow, x, loss=lambda model, x: model.loss(x), optimizer=px.optim.Adam(0.05), epochs=150, batch_size=256)
    np.testing.assert_allclose(flow.loss(x), wanted, atol=1e-4)


def test_a_flow_starts_with_what_comes_to_each_map():
    x = np.random.default_rng(0).normal(3.0, 2.0, (64, 2)) ** 2
    flow = px.f64(P.Flow(P.StandardNormal(2), P.ActNorm(2), P.Coupling(2, hidden=(4,), key=0), P.ActNorm(2)))
    flow.bijections[1].conditioner.layers[-1].bias = jnp.array([0.7, 5.0])  # it begins as the identity
    flow.initialise(x)
    np.testing.assert_allclose(flow.latent(x).mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(flow.latent(x).std(0), 1, rtol=1e-12)
    assert float(jnp.abs(flow.bijections[2].bias).max()) > 1


@pytest.mark.soak
def test_flows_learn_two_rings_better_than_a_normal_distribution():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 2000), rng.choice([1.0, 3.0], 2000) + 0.1 * rng.normal(size=2000)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    normal = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.cov(x.T, bias=True))[1]
    entropy = np.log(2 * np.pi) + 0.5 * np.log(2 * np.pi * np.e * 0.01) + np.mean(np.log([1, 3])) + np.log(2)
    flow = px.f64(P.spline_flow(2, 4, bound=4.0, key=0))
    flow.initialise(x)
    px.fit(flow, x, loss=lambda model, x: model.loss(x), optimizer=px.optim.Adam(3e-3), epochs=60, batch_size=200)
    assert float(flow.loss(x)) < entropy + 0.25 < normal - 0.8


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: P.Coupling(1), px.RangeError, "features to be a whole number of at least 2, got 1"),
        (lambda: P.Coupling(3, kept=[0, 1, 2]), px.RangeError, r"kept as some of 3 features, got \[0, 1, 2\]"),
        (lambda: P.Coupling(3, P.Affine), px.RangeError, "transform that moves one number"),
        (lambda: P.Coupling(3)(jnp.ones((2, 4))), px.ShapeError, r"\(\.\.\., 3\), got float64\[2, 4\]"),
        (lambda: P.Coupling(3)(jnp.ones((2, 3)), jnp.ones(1)), px.ShapeError, r"no context, got context float64\[1\]"),
        (lambda: P.Coupling(3, context=2)(jnp.ones((2, 3))), px.ShapeError, r"context \(\.\.\., 2\), got no context"),
        (
            lambda: P.Coupling(3, conditioner=px.Dense(1, 3))(jnp.ones((2, 3), "float32")),
            px.ShapeError,
            r"a conditioner that gives \(2, 4\), got float32\[2, 3\]",
        ),
        (lambda: P.Permutation(3, [0, 0, 1]), px.RangeError, r"order of 3 features, got \[0, 0, 1\]"),
        (lambda: P.RationalQuadratic(0), px.RangeError, "bins to be a whole number of at least 1"),
        (lambda: P.Affine(-1.0), px.RangeError, "bound above 0, got -1.0"),
        (lambda: P.MaskedDense([], [1]), px.RangeError, "in_degrees of one or more, got none"),
        (lambda: P.Flow(P.Coupling(2)), px.RangeError, "a base with log_prob"),
        (lambda: P.Flow(P.StandardNormal(2)), px.RangeError, "one bijection or more, got none"),
        (lambda: P.Flow(P.StandardNormal(2), px.Dense(2, 2)), px.StructureError, "Modules with an inverse"),
        (lambda: P.StandardNormal(2).log_prob(jnp.ones(3)), px.ShapeError, r"\(\.\.\., 2\), got float64\[3\]"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, told):
    with pytest.raises(error, match=told):
        call()
