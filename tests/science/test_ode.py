"""NeuralODE: orders of its solvers, gradients of its adjoints, what a field may do, and what is said where it fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

diffrax = oracle("diffrax")


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def network(*, seed: int = 0) -> px.Chain:
    return px.f64(px.Chain(px.Dense(2, 3, px.tanh, key=seed), px.Dense(3, 2, key=seed + 1)))


def stretched(t, y, args):
    """dy/ds = h · y · cos(t) for t = h · s, so that steps of 1 in s are steps of h in t."""
    return args["h"] * y * jnp.cos(args["h"] * t)


LATER = pytest.mark.soak  # a program of Diffrax's takes a second to compile


@pytest.mark.parametrize(
    ("solver", "order", "least"),
    [
        ("euler", 1, 256.0),
        *(
            pytest.param(*row, marks=LATER)
            for row in [
                ("heun", 2, 128.0),
                ("midpoint", 2, 128.0),
                ("ralston", 2, 128.0),
                ("bosh3", 3, 32.0),
                ("tsit5", 5, 32.0),
            ]
        ),
    ],
)
def test_the_error_falls_with_the_step_as_the_order_of_the_solver_says(solver, order, least):
    ode = px.science.NeuralODE(stretched, time=True, solver=solver, step=1.0)
    solve = px.jit(lambda ode, n: ode(jnp.ones((1, 1)), jnp.stack([0.0 * n, n]), {"h": 6.0 / n})[0, -1, 0])
    errors = [abs(float(solve(ode, n)) - np.exp(np.sin(6.0))) for n in (least, 2 * least, 4 * least)]
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(slopes - order) < 0.2), (errors, slopes)


def test_every_name_is_one_of_diffrax():
    for names, base in (
        (px.science.ODE_SOLVERS, diffrax.AbstractSolver),
        (px.science.SDE_SOLVERS, diffrax.AbstractSolver),
        (px.science.ADJOINTS, diffrax.AbstractAdjoint),
    ):
        for name, of in names.items():
            assert isinstance(getattr(diffrax, of)(), base), name
            assert name.replace("_", "") == of.lower().removesuffix("adjoint" if "adjoint" not in name else "-"), name


# --- gradients ---------------------------------------------------------------------------------------


def directly(params, y0):
    """The sum of squares of the end, by the classical method of Runge and Kutta, written out."""

    def slope(y):
        return (
            jnp.tanh(y @ params["layers.0.weight"] + params["layers.0.bias"]) @ params["layers.1.weight"]
            + params["layers.1.bias"]
        )

    def step(y, _):
        h = 1 / 200
        a = slope(y)
        b = slope(y + h / 2 * a)
        c = slope(y + h / 2 * b)
        d = slope(y + h * c)
        return y + h / 6 * (a + 2 * b + 2 * c + d), None

    return jnp.sum(jax.lax.scan(step, y0, length=200)[0] ** 2)


def loss_of(ode, y0):
    return jnp.sum(ode(y0) ** 2)


@pytest.fixture(scope="module")
def truth():
    with jax.enable_x64(True):
        y0 = jnp.array([[0.5, -1.0], [1.5, 0.3]])
        return y0, jax.jit(jax.grad(directly, (0, 1)))(px.split(network())[0], y0)


OTHERS = ["direct", "backsolve", diffrax.RecursiveCheckpointAdjoint(3)]


@pytest.mark.parametrize("adjoint", ["recursive_checkpoint", *(pytest.param(a, marks=LATER) for a in OTHERS)], ids=str)
def test_gradients_of_adjoints_are_those_of_direct_differentiation(adjoint, truth):
    y0, (by_params, by_start) = truth
    ode = px.science.NeuralODE(network(), solver="bosh3", step=0.01, adjoint=adjoint)
    grads, start = px.jit(px.grad(loss_of, (0, 1)))(ode, y0)
    for name, g in by_params.items():
        np.testing.assert_allclose(px.paths(grads)[f"field.{name}"], g, rtol=1e-6, atol=1e-7, err_msg=name)
    np.testing.assert_allclose(start, by_start, rtol=1e-6, atol=1e-7)


@LATER
def test_forward_mode_is_the_same_gradient_seen_from_the_other_side(truth):
    y0, (by_params, by_start) = truth
    ode = px.science.NeuralODE(network(), solver="bosh3", step=0.01, adjoint="forward_mode")
    directions = {f"field.{name}": jnp.cos(jnp.arange(g.size)).reshape(g.shape) for name, g in by_params.items()}
    way = jnp.array([[0.3, -0.2], [1.0, 0.1]])
    _, slope = px.jit(lambda ode, y0: px.jvp(loss_of, (ode, y0), (directions, way)))(ode, y0)
    expected = sum(jnp.vdot(by_params[n.removeprefix("field.")], d) for n, d in directions.items())
    np.testing.assert_allclose(slope, expected + jnp.vdot(by_start, way), rtol=1e-6)


@LATER
def test_a_steady_state_has_the_gradient_of_the_implicit_function():
    rest = px.science.NeuralODE(
        lambda y, args: args - y**3, span=(0.0, 1e4), event="steady_state", adjoint="implicit", rtol=1e-8, atol=1e-8,
        solver="kvaerno3",
    )  # fmt: skip
    forces = jnp.array([[8.0], [27.0]])
    found, slope = px.value_and_grad(lambda a: rest(jnp.ones((2, 1)), None, a).sum())(forces)
    np.testing.assert_allclose(found, 5.0, rtol=1e-6)
    np.testing.assert_allclose(slope, forces ** (-2 / 3) / 3, rtol=1e-6)


def test_no_number_is_of_32_bits_where_the_state_has_64():
    ode = px.science.NeuralODE(network(), solver="heun")
    names = {str(v.dtype) for v in _values(px.jit(px.value_and_grad(loss_of)).trace(ode, jnp.ones((2, 2))).jaxpr.jaxpr)}
    assert "float64" in names
    assert not {n for n in names if n.startswith(("float", "bfloat")) and n not in ("float64", "float0")}


def _values(jaxpr):
    for eqn in jaxpr.eqns:
        yield from (v.aval for v in (*eqn.invars, *eqn.outvars) if hasattr(v.aval, "dtype"))
        for sub in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            if hasattr(sub, "eqns") or hasattr(sub, "jaxpr"):
                yield from _values(getattr(sub, "jaxpr", sub))
