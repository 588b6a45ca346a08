"""px.autodiff.derivative: every kind and mode beside JAX and closed forms, prepared once, the cheapest by sizes."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.autodiff.derivatives import _taylor

X = np.linspace(-0.8, 1.3, 5)


def wave(x):
    return jnp.sum(jnp.sin(x) * x[::-1] ** 2)


def waves(x):
    return jnp.sin(x) * x[::-1] ** 2


def wide(x):
    return jnp.tanh(jnp.outer(jnp.arange(1.0, 9.0), x)).reshape(-1)


def narrow(x):
    return jnp.stack([jnp.prod(jnp.cos(x)), jnp.sum(x**3)])


@pytest.mark.parametrize(
    ("mode", "rtol"), [("auto", 1e-12), ("forward", 1e-12), ("reverse", 1e-12), ("finite", 1e-6), ("sparse", 1e-12)]
)
def test_first_and_second_derivatives_are_those_of_jax(mode, rtol):
    with jax.enable_x64(True):
        x, slopes = jnp.asarray(X), {fn: px.autodiff.derivative(fn, mode) for fn in (wave, waves)}
        whole = lambda v: v.todense() if mode == "sparse" else v  # noqa: E731
        found = [(whole(slopes[waves].jacobian(x)), jax.jacobian(waves)(x))]
        found.append((whole(slopes[wave].hessian(x)), jax.hessian(wave)(x)))
        if mode != "sparse":
            found.append((slopes[wave].gradient(x), jax.grad(wave)(x)))
        for ours, theirs in found:
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


def test_products_are_those_of_the_matrices():
    with jax.enable_x64(True):
        x, v, w = jnp.asarray(X), jnp.arange(5.0), jnp.cos(jnp.arange(5.0))
        whole, curved = jax.jacobian(waves)(x), jax.hessian(wave)(x)
        for mode in ("auto", "forward", "finite", "taylor"):
            value, slope = px.autodiff.derivative(waves, mode).jvp((x,), (v,))
            np.testing.assert_allclose(value, waves(x), rtol=1e-12)
            np.testing.assert_allclose(slope, whole @ v, rtol=1e-9 if mode == "finite" else 1e-12, atol=1e-12)
        products = px.autodiff.derivative(waves)
        np.testing.assert_allclose(products.vjp((x,), w)[1][0], w @ whole, rtol=1e-12)
        np.testing.assert_allclose(px.autodiff.derivative(wave).hvp(x, v)[1], curved @ v, rtol=1e-12)


@pytest.mark.parametrize("mode", ["auto", "finite", "sparse"])
def test_a_derivative_is_prepared_once_for_each_shape(mode):
    calls = []

    def fn(x, scale):
        calls.append(1)
        return jnp.sin(x) * x[::-1] * scale

    slopes = px.autodiff.derivative(fn, mode)
    first = slopes.jacobian(jnp.arange(3.0), 2.0)
    traced = len(calls)
    second = slopes.jacobian(jnp.arange(3.0) + 1, 3.0)  # other numbers, the other argument's too
    assert len(calls) == traced
    assert slopes.prepared == 1
    whole = lambda v: v.todense() if mode == "sparse" else v  # noqa: E731
    wanted = jax.jacobian(lambda x: jnp.sin(x) * x[::-1] * 3.0)(jnp.arange(3.0) + 1)
    np.testing.assert_allclose(whole(second), wanted, rtol=1e-2 if mode == "finite" else 1e-5, atol=1e-3)
    assert not np.allclose(whole(first), wanted)
    slopes.jacobian(jnp.arange(4.0), 2.0)
    assert slopes.prepared == 2


def flops(fn, x):
    return jax.jit(fn).lower(x).compile().cost_analysis()["flops"]


@pytest.mark.parametrize(("fn", "mode", "products"), [(wide, "forward", (5, 40)), (narrow, "reverse", (2, 5))])
def test_the_cheapest_mode_is_taken_and_the_reason_told(fn, mode, products):
    x, slopes = jnp.asarray(X, jnp.float32), px.autodiff.derivative(fn)
    np.testing.assert_allclose(slopes.jacobian(x), jax.jacobian(fn)(x), rtol=1e-4, atol=1e-5)
    other = {"forward": "reverse", "reverse": "forward"}[mode]
    assert re.match(rf"{mode}, {products[0]} products .*, where {other} would take {products[1]}$", slopes.reason)
    cost = {"forward": flops(jax.jacfwd(fn), x), "reverse": flops(jax.jacrev(fn), x)}
    assert cost[mode] < cost[other]
    assert px.autodiff.derivative(fn, other).jacobian(x).shape == slopes.jacobian(x).shape


def test_a_gradient_of_one_number_goes_forward_and_of_many_back():
    slopes = px.autodiff.derivative(lambda x: jnp.sum(x**3))
    assert float(slopes.gradient(jnp.array([2.0]))[0]) == 12.0
    assert slopes.reason.startswith("forward, 1 product")
    assert slopes.gradient(jnp.array([1.0, 2.0])).tolist() == [3.0, 12.0]
    assert slopes.reason.startswith("reverse, 1 product for 2 inputs")


def test_modules_train_and_move_their_state_as_under_px_grad():
    with px.seed(0):
        model = px.Chain(px.Dense(3, 4, bias=False), px.BatchNorm(4), px.Dense(4, 1))
    twin, x = px.copy(model), jnp.linspace(0.0, 1.0, 15).reshape(5, 3)

    def loss(model, x):
        return jnp.mean(model(x) ** 2)

    slopes = px.autodiff.derivative(loss)
    for _ in range(2):
        ours, theirs = slopes.gradient(model, x), px.grad(loss)(twin, x)
        for path, g in px.paths(theirs).items():
            np.testing.assert_allclose(px.paths(ours)[path], g, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model[1].mean, twin[1].mean, rtol=1e-6)
    assert slopes.prepared == 1
    of_inputs = px.autodiff.derivative(px.testmode(model), "finite")
    np.testing.assert_allclose(of_inputs.jacobian(x), px.jacobian(model)(x), rtol=1e-2, atol=1e-4)


def test_differences_take_what_jax_cannot_differentiate():
    def by_numpy(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda v: np.sin(v) * np.asarray(v) ** 2, shape, x, vmap_method="sequential")

    with jax.enable_x64(True):
        x = jnp.asarray(X)
        slopes = px.autodiff.derivative(lambda x: jnp.sum(by_numpy(x)), "finite")
        closed = np.cos(X) * X**2 + 2 * X * np.sin(X)
        np.testing.assert_allclose(slopes.gradient(x), closed, rtol=1e-9, atol=1e-10)
        second = -np.sin(X) * X**2 + 4 * X * np.cos(X) + 2 * np.sin(X)
        np.testing.assert_allclose(slopes.hessian(x), np.diag(second), atol=1e-6)
        np.testing.assert_allclose(
            px.autodiff.derivative(lambda x: jnp.sum(1e6 * x**2), "finite").gradient(1e4 * x), 2e10 * X, rtol=1e-11
        )


TAYLOR = {
    "exp sin": lambda x: jnp.exp(jnp.sin(x)) * x,
    "tanh of a product": lambda x: jnp.tanh(x * x[::-1]),
    "logistic, quotient": lambda x: jax.nn.sigmoid(x) / (2 + jnp.cos(x)),
    "roots and logarithms": lambda x: jnp.sqrt(2 + x) * jnp.log1p(x**2) + jax.lax.rsqrt(3 + x),
    "powers": lambda x: (2 + x) ** 2.5 + x**3 - (3 + x) ** -2,
    "erf, atan2": lambda x: jax.lax.erf(x) + jnp.arctan2(x, 2 + x),
    "sinh, asinh": lambda x: jnp.sinh(x) + jnp.arcsinh(x) + jnp.expm1(x),
    "products of matrices": lambda x: jnp.outer(x, x) @ jnp.cos(jnp.outer(x, x)),
    "softmax": lambda x: jax.nn.softmax(x),
}


@pytest.mark.parametrize("names", [["exp sin", "powers"], pytest.param([*TAYLOR], marks=pytest.mark.soak)], ids=len)
def test_taylor_mode_is_forward_mode_in_forward_mode_to_order_6(names):
    """In one program; it is as exact as the other, whose work grows as 2 to the power of the order."""
    with jax.enable_x64(True):
        x, v = jnp.asarray(X / 2), jnp.asarray(np.cos(3 * X))
        sizes = np.cumsum([TAYLOR[name](x).size for name in names])

        def together(x):
            return jnp.concatenate([TAYLOR[name](x).reshape(-1) for name in names])

        slopes = px.autodiff.derivative(together, "taylor")
        found = slopes.directional((x,), v, order=6)
        assert slopes.reason == "taylor, one pass with polynomials of degree 6"
        wanted = jax.jit(lambda x: _taylor.nested(together, x, v, 6))(x)
    assert len(found) == 7
    for order, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        parts = zip(names, np.split(ours, sizes[:-1]), np.split(theirs, sizes[:-1]), strict=True)
        for name, a, b in parts:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=f"{name}, order {order}")


def test_derivatives_along_a_direction_have_closed_forms():
    with jax.enable_x64(True):
        for mode in ("auto", "taylor", "forward"):
            found = px.autodiff.derivative(jnp.exp, mode).directional((jnp.asarray(X),), 2 * jnp.ones(5), order=5)
            for n, y in enumerate(found):
                np.testing.assert_allclose(y, 2.0**n * np.exp(X), rtol=1e-12)
        assert len(px.autodiff.derivative(jnp.exp).directional((jnp.asarray(X),), jnp.ones(5), order=0)) == 1


def test_where_taylor_mode_has_no_rule_forward_mode_is_taken_and_the_operation_named():
    @jax.custom_jvp
    def own(x):
        return x**2

    own.defjvp(lambda xs, ts: (xs[0] ** 2, 3.0 * xs[0] * ts[0]))  # a slope of its own, which counts
    slopes = px.autodiff.derivative(own, "taylor")
    assert [float(v) for v in slopes.directional((jnp.asarray(2.0),), jnp.asarray(1.0), order=2)] == [4.0, 6.0, 3.0]
    assert slopes.reason == "forward in forward, 2 deep: Taylor mode has no rule for custom_jvp_call"
    loop = px.autodiff.derivative(lambda x: jax.lax.scan(lambda c, _: (c * x, None), 1.0, None, 3)[0])
    assert [float(v) for v in loop.directional((jnp.asarray(2.0),), jnp.asarray(1.0), order=3)] == [8, 12, 12, 6]
    assert loop.reason.endswith("no rule for scan")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: px.autodiff.derivative(wave, "fast"), px.RangeError, "expects one of the modes 'auto', 'forward',"),
        (
            lambda: px.autodiff.derivative(wave, "sparse").gradient(X),
            px.RangeError,
            "for gradient one of the modes 'auto', 'forward', 'reverse', 'finite', got 'sparse'",
        ),
        (
            lambda: px.autodiff.derivative(waves, "finite").gradient(jnp.ones(3)),
            px.ShapeError,
            "a function that returns a scalar, got float32[3]",
        ),
        (lambda: px.autodiff.derivative(waves).gradient(jnp.ones(3)), px.ShapeError, "a scalar, got 3 numbers"),
        (
            lambda: px.autodiff.derivative(lambda m, x: m(x), "sparse").jacobian(px.Dense(3, 2), jnp.ones(3)),
            px.StructureError,
            "one array to differentiate, got Dense\n  fix: take px.destructure(model)",
        ),
        (
            lambda: px.autodiff.derivative(lambda x: (x, x), "sparse").jacobian(jnp.ones(3)),
            px.ShapeError,
            "a function that returns one array in this mode, got 2 values",
        ),
        (
            lambda: px.autodiff.derivative(lambda x: x > 0, "finite").jacobian(jnp.ones(3)),
            px.DtypeError,
            "a function of a real array that returns one, got bool[3]",
        ),
        (
            lambda: px.autodiff.derivative(waves, "sparse", argnums=(0, 1)).jacobian(jnp.ones(3), jnp.ones(3)),
            px.RangeError,
            "one argument in mode 'sparse', got (0, 1)",
        ),
        (
            lambda: px.autodiff.derivative(jnp.exp).directional((jnp.ones(3),), jnp.ones(3), order=-1),
            px.RangeError,
            "an order of 0 or more, got -1",
        ),
        (
            lambda: px.autodiff.derivative(px.trainmode(px.BatchNorm(3)), "sparse").jacobian(jnp.ones((2, 3))),
            px.StateError,
            "a function that moves no State in this mode, got one that does",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()
