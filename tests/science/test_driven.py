"""Equations with noise, with observations, and behind a series: against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.science.equations._equation import Span

oracle("diffrax")
LATER = pytest.mark.soak  # a program of Diffrax's takes a second to compile
RATE, SPREAD = 0.5, 0.8


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


# --- noise -------------------------------------------------------------------------------------------


def growing(solver, step):
    """dy = 0.5 y dt + 0.8 y dW, whose solution is known for each path."""
    return px.science.NeuralSDE(lambda y: RATE * y, lambda y: SPREAD * y, solver=solver, step=step, key=0)


def test_one_step_of_euler_and_maruyama_is_that_of_the_formula_with_noise_of_each_examples_own():
    sde, y0 = growing("euler", 1.0), jnp.ones((3, 1))
    noise, ends = px.jit(lambda sde, y0: (noise_of(sde, y0), sde(y0)))(sde, y0)
    np.testing.assert_allclose(ends, 1 + RATE + SPREAD * noise, rtol=1e-10)
    assert len(set(noise.ravel().tolist())) == 3


@LATER
@pytest.mark.parametrize(
    ("solver", "order", "ito"), [("ito_milstein", 1.0, True), ("euler", 0.5, True), ("heun", 1.0, False)]
)
def test_paths_come_close_to_the_known_solution_of_their_noise_as_the_strong_order_says(solver, order, ito):
    y0, errors = jnp.ones((400, 1)), []
    for step in (1 / 8, 1 / 32):
        sde = growing(solver, step)
        ends = jnp.exp(RATE - (SPREAD**2 / 2 if ito else 0.0) + SPREAD * noise_of(sde, y0))
        errors.append(float(jnp.abs(sde(y0) - ends).mean()))
    slope = np.log(errors[0] / errors[1]) / np.log(4)
    assert abs(slope - order) < 0.2, (errors, slope)


def noise_of(sde, y0):
    """Where the Brownian motions of the next call end."""
    span = Span(jnp.array(0.0), jnp.array(1.0), None)
    keys = jax.random.split(jax.random.split(sde.key)[1], y0.shape[0])
    return jax.vmap(lambda key: sde._brownian(y0[0], span, key).evaluate(0.0, 1.0))(keys)


@LATER
def test_a_call_moves_the_key_on_and_one_key_is_one_path_at_any_times():
    sde = growing("euler", 1 / 8)
    again, compiled = px.copy(sde), px.jit(lambda sde, *given: sde(*given))
    first, second = sde(jnp.ones((3, 1))), sde(jnp.ones((3, 1)))
    assert len({*first.ravel().tolist(), *second.ravel().tolist()}) == 6
    saved = compiled(again, jnp.ones((3, 1)), jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(saved[:, 0], 1.0)
    np.testing.assert_allclose(saved[:, 2], first, rtol=1e-12)
    np.testing.assert_allclose(compiled(again, jnp.ones((3, 1))), second, rtol=1e-12)


@LATER
def test_noise_that_is_shared_moves_all_numbers_of_a_state_together():
    way = np.array([1.0, -2.0, 0.5])
    sde = px.science.NeuralSDE(
        lambda y: 0 * y, lambda y: jnp.broadcast_to(way[:, None], (*y.shape, 1)), noise=1, step=0.25, key=0
    )
    ends = sde(jnp.zeros((4, 3)))
    np.testing.assert_allclose(ends / way, ends[:, :1] * np.ones(3), rtol=1e-9)
    assert len(set(ends[:, 0].tolist())) == 4
    wrong = px.science.NeuralSDE(lambda y: y, lambda y: y, noise=2, step=0.1)
    with pytest.raises(px.ShapeError, match=r"a diffusion of \(1, 3, 2\), got float64\[1, 3\]"):
        wrong(jnp.ones((2, 3)))
    with pytest.raises(px.RangeError, match="times that rise, as a Brownian motion has a direction"):
        sde(jnp.ones((2, 3)), jnp.array([1.0, 0.0]))


@pytest.mark.soak
@pytest.mark.parametrize("solver", [s for s in px.science.SDE_SOLVERS if "milstein" not in s])
def test_every_solver_of_noise_is_differentiated(solver):
    sde = px.science.NeuralSDE(lambda y, a: a * y, lambda y, a: 0.3 * y, solver=solver, step=0.05, key=0)

    def ends_of(sde, a):
        ends = sde(jnp.ones((2, 1)), None, a)
        return ends.sum(), ends

    slope, ends = px.jit(px.grad(ends_of, 1, has_aux=True))(sde, jnp.array([[0.5], [-0.2]]))
    np.testing.assert_allclose(slope, ends, rtol=0.1)  # y(1) = exp(a + …), up to the steps


# --- observations ------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(3, 6, 2))
TIMES = np.cumsum(np.random.default_rng(1).uniform(0.1, 1.0, size=(3, 6)), 1)


def grows_with_the_first_channel(z):
    """dz = z dx₁, so z = z₀ · exp(x₁ − x₁(0)), however the observations are joined."""
    return jnp.stack([0 * z, z, 0 * z], -1)


@pytest.mark.parametrize(
    ("interpolation", "sequences"),
    [
        ("hermite", True),
        ("linear", False),
        pytest.param("hermite", False, marks=LATER),
        pytest.param("linear", True, marks=LATER),
    ],
)
def test_a_state_that_grows_with_a_channel_has_its_closed_form_at_every_observation(interpolation, sequences):
    cde = px.science.NeuralCDE(
        lambda first: first[:, :1], grows_with_the_first_channel, interpolation=interpolation,
        return_sequences=sequences, rtol=1e-7, atol=1e-7, solver="bosh3",
    )  # fmt: skip
    z = px.jit(lambda cde, *given: cde(*given))(cde, jnp.array(X), jnp.array(TIMES), jnp.array([6, 4, 2]))[..., 0]
    expected = TIMES[:, :1] * np.exp(X[..., 0] - X[:, :1, 0])
    if sequences:
        real = np.arange(6) < np.array([[6], [4], [2]])
        np.testing.assert_allclose(z, np.where(real, expected, 0), rtol=1e-5)
    else:
        np.testing.assert_allclose(z, expected[np.arange(3), [5, 3, 1]], rtol=1e-5)


@LATER
def test_gaps_are_joined_and_a_first_that_is_missing_is_the_first_seen():
    cde = px.science.NeuralCDE(
        lambda first: first[:, 1:2], grows_with_the_first_channel, solver="bosh3", rtol=1e-9, atol=1e-9
    )
    holes = X.copy()
    holes[0, 0, 0] = holes[1, 5, 0] = holes[2, 2] = np.nan
    starts, ends = np.array([X[0, 1, 0], X[1, 0, 0], X[2, 0, 0]]), np.array([X[0, 5, 0], X[1, 4, 0], X[2, 5, 0]])
    np.testing.assert_allclose(
        px.jit(lambda cde, x: cde(x))(cde, jnp.array(holes))[:, 0], starts * np.exp(ends - starts), rtol=1e-5
    )


def test_a_field_of_another_shape_and_observations_of_another_are_refused():
    cde = px.science.NeuralCDE(px.f64(px.Dense(3, 4)), px.f64(px.Dense(4, 4 * 2)))
    with pytest.raises(
        px.ShapeError,
        match=r"a field that gives \(3, 4, 3\), or that flat.*got float64\[3, 8\]\n  fix: .* have 4 \* 3",
    ):
        cde(X)
    with pytest.raises(px.ShapeError, match=r"floating \(batch, times, channels\), got float64\[6, 2\]"):
        cde(X[0])
    with pytest.raises(px.ShapeError, match=r"ts as \(6,\) or \(3, 6\), got float64\[3\]"):
        cde(X, TIMES[:, 0])
    with pytest.raises(px.RangeError, match="interpolation 'hermite' or 'linear', got 'cubic'"):
        px.science.NeuralCDE(px.Dense(3, 4), px.Dense(4, 12), interpolation="cubic")


# --- behind a series ---------------------------------------------------------------------------------


def test_a_latent_state_is_read_off_the_reversed_series_and_drawn_in_training_alone():
    seen = []

    def encoder(series):
        seen.append(np.asarray(series))
        return jnp.concatenate([series[:, -1, 1:], jnp.full((3, 2), -4.0)], -1)

    ts = np.array([0.0, 0.5, 2.0])
    ode = px.science.NeuralODE(lambda z: -z, solver="euler", step=0.25)  # each step takes a quarter away
    model = px.science.LatentODE(encoder, ode, lambda z: 2 * z, noise=0.5, key=0)
    x = X[:, :3]
    z0 = x[:, 0]
    expected = 2 * z0[:, None] * 0.75 ** (4 * ts)[:, None]
    np.testing.assert_allclose(model(x, ts), expected, rtol=1e-6)
    np.testing.assert_allclose(seen[0][:, :, 0], [[0.0, 1.5, 0.5]] * 3)
    np.testing.assert_allclose(seen[0][:, :, 1:], x[:, ::-1])
    likely = jax.scipy.stats.norm.logpdf(x, expected, 0.5).sum((1, 2))
    apart = 0.5 * (z0**2 + np.exp(-4.0) - 1 + 4.0).sum(-1)
    np.testing.assert_allclose(model.loss(x, ts, beta=0.3), jnp.mean(0.3 * apart - likely), rtol=1e-6)
    drawn = jax.random.normal(jax.random.split(model.key)[1], (3, 2), z0.dtype)
    px.trainmode(model)
    expected = 2 * (z0 + np.exp(-2.0) * drawn)[:, None] * 0.75 ** (4 * ts)[:, None]
    np.testing.assert_allclose(model(x, ts), expected, rtol=1e-6)


def test_what_a_latent_model_is_made_of_is_checked():
    ode = px.science.NeuralODE(px.Dense(2, 2))
    with pytest.raises(px.RangeError, match="ode as a NeuralODE, got Dense"):
        px.science.LatentODE(px.Dense(2, 4), px.Dense(2, 2), px.Dense(2, 2))
    odd = px.science.LatentODE(lambda x: x[:, 0], ode, px.Dense(2, 2))
    with pytest.raises(px.ShapeError, match=r"an encoder that gives \(batch, 2 · latent\), got float64\[3, 3\]"):
        odd(X, np.arange(6.0))
