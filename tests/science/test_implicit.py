"""Layers that solve equations: their gradients are those of unrolling, and of closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

oracle("optimistix")


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


class Block(px.Module):
    """z ↦ tanh(z W + x U), which brings states closer together."""

    def __init__(self):
        self.inner, self.outer = px.Dense(3, 3, key=0), px.Dense(2, 3, key=1)
        self.inner.weight = 0.4 * self.inner.weight

    def __call__(self, z, x):
        return jnp.tanh(self.inner(z) + self.outer(x))


X = np.random.default_rng(0).normal(size=(4, 2))


def start(x):
    return jnp.zeros((x.shape[0], 3), x.dtype)


@pytest.mark.parametrize(
    ("solver", "linear"),
    [
        ("fixed_point", "gmres"),
        *(pytest.param(*way, marks=pytest.mark.soak) for way in [("newton", "gmres"), ("fixed_point", "bicgstab")]),
    ],
)
def test_an_equilibrium_and_its_gradients_are_those_of_unrolling(solver, linear):
    block, x = px.f64(Block()), jnp.array(X)
    layer = px.science.DeepEquilibrium(
        block, initial=start, solver=solver, linear_solver=linear, rtol=1e-10, atol=1e-10
    )

    def unrolled(block, x):
        z, _ = px.scan(lambda z, _: (block(z, x), None), start(x), length=80)
        return jnp.sum(jnp.sin(z)), z

    def solved(layer, x):
        found = layer.solve(x)
        return jnp.sum(jnp.sin(found.value)), found

    (expected, dx), z = px.jit(px.grad(unrolled, (0, 1), has_aux=True))(block, x)
    (grads, gx), found = px.jit(px.grad(solved, (0, 1), has_aux=True))(layer, x)
    np.testing.assert_allclose(found.value, z, rtol=1e-8)
    assert bool(found.finished)
    assert (int(found.steps) < 8) == (solver == "newton")
    np.testing.assert_allclose(gx, dx, rtol=1e-6, atol=1e-9)
    for name, g in px.paths(expected).items():
        np.testing.assert_allclose(px.paths(grads)[f"function.{name}"], g, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.soak
def test_a_root_has_the_gradient_of_the_implicit_function_for_each_example():
    layer = px.science.ImplicitLayer(
        lambda y, x: y["a"] ** 2 * x[:, :1] - x[:, 1:], lambda x: {"a": 1 + 0 * x[:, :1]}, rtol=1e-10, atol=1e-10
    )
    with pytest.raises(px.ShapeError, match=r"a residual that gives a slope like the state"):
        layer(jnp.ones((2, 2)))
    layer.residual = lambda y, x: {"a": y["a"] ** 2 * x[:, :1] - x[:, 1:]}
    x = jnp.array([[2.0, 8.0], [1.0, 9.0]])
    slope, found = px.grad(lambda x: ((f := layer.solve(x)).value["a"].sum(), f), has_aux=True)(x)
    np.testing.assert_allclose(found.value["a"][:, 0], [2.0, 3.0], rtol=1e-8)
    np.testing.assert_allclose(slope, [[-0.5, 0.125], [-1.5, 1 / 6]], rtol=1e-6)
    assert found.steps.shape == (2,)


def test_what_is_not_found_is_told_with_the_way_to_the_layer():
    grows = px.Chain(
        px.f64(px.Dense.of(jnp.eye(2), None)), px.science.DeepEquilibrium(lambda z, x: 2 * z + x, max_steps=9)
    )
    compiled = px.jit(lambda grows: grows(jnp.ones((1, 2))))
    text = r"^grows.layers\[1\] DeepEquilibrium\(<lambda>, solver='fixed_point'\) expects to meet rtol=0.0001 and atol"
    for call in (lambda: grows(jnp.ones((1, 2))), lambda: compiled(grows)):
        with pytest.raises(px.science.SolverError, match=text):
            call()
    grows[1].throw = False
    assert bool(jnp.isnan(grows(jnp.ones((1, 2)))).all())
    with pytest.raises(px.RangeError, match=r"solver as 'fixed_point', 'newton', or an object of .*, got 'anderson'"):
        px.science.DeepEquilibrium(lambda z, x: z, solver="anderson")
