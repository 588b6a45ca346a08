"""Each rule of reverse mode against JAX's own gradient, in float64, with numbers where formulas break."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import phlox as px
from phlox.autodiff._rules import RULES, STOPS

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 4, 5))
P, Q = RNG.uniform(0.1, 0.9, size=(2, 4, 5))
TIES = np.array([[1.0, 3.0, 3.0, 0.0, -1.0], [2.0, 2.0, 2.0, 0.0, 2.0]])
Z = X + 1j * Y
WHICH = np.array([[0], [2], [0]])
IMAGE = RNG.normal(size=(2, 9, 8, 4))


def conv(*shape, **options):
    kernel = RNG.normal(size=shape)

    def apply(x, k=kernel):
        numbers = lax.conv_dimension_numbers(x.shape, k.shape, ("NHWC", "HWIO", "NHWC"))
        return lax.conv_general_dilated(x, k, dimension_numbers=numbers, **options)

    return apply, (IMAGE, kernel)


def windows(x):
    return lax.reduce_window(
        x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 3, 1), ((0, 0), (1, 2), (0, 1), (0, 0)), (1, 2, 1, 1), (1, 1, 2, 1)
    )


def scattered(write):
    numbers = lax.ScatterDimensionNumbers((1,), (0,), (0,))
    return lambda x, u: write(x, WHICH, u, numbers)


def step(constant, carry, x):
    hidden, count = carry
    return (hidden * x + constant, count + 1), hidden**2


def turn(carry, x):
    return carry * x + jnp.cos(carry), carry


UPDATES = RNG.normal(size=(3, 5))
ELEMENTWISE = {
    **{name: (getattr(jnp, name), (X,)) for name in ("negative", "sin", "cos", "tan", "tanh", "sinh", "cosh", "exp")},
    **{name: (getattr(jnp, name), (X,)) for name in ("arctan", "arcsinh", "exp2", "expm1", "square", "cbrt")},
    **{name: (getattr(jnp, name), (P,)) for name in ("arcsin", "arccos", "arctanh", "log", "log1p", "sqrt")},
    "abs": (jnp.abs, (np.array([-2.0, 0.0, 3.0]),)),
    "abs of complex": (lambda a, b: jnp.abs(lax.complex(a, b)), (X, Y)),
    "arccosh": (jnp.arccosh, (1 + P,)),
    "rsqrt": (lax.rsqrt, (P,)),
    "logistic": (lax.logistic, (X,)),
    "erf": (lax.erf, (X,)),
    "erfc": (lax.erfc, (X,)),
    "erf_inv": (lax.erf_inv, (P,)),
    "lgamma": (lax.lgamma, (P,)),
    "digamma": (lax.digamma, (P,)),
    "integer_pow": (lambda x: lax.integer_pow(x, -3), (X,)),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 8, 7), (X,)),
}
PAIRS = {
    "add": (lambda a, b: a + b, (X, Y)),
    "sub": (lambda a, b: a - b, (X, Y)),
    "mul": (lambda a, b: a * b, (X, Y)),
    "div": (lambda a, b: a / b, (X, P)),
    "pow": (lambda a, b: a**b, (P, Y)),
    "pow at zero": (lambda a: a ** jnp.array([2.0, 1.0]), (np.zeros(2),)),
    "pow by whole numbers": (lambda a: a ** jnp.array([2, 1, 0, -1, 3]), (np.array([-2.0, 0.0, 0.0, 2.0, 0.0]),)),
    "atan2": (jnp.arctan2, (X, Y)),
    "rem": (lax.rem, (X, P)),
    "max": (jnp.maximum, (TIES, TIES[::-1].copy())),
    "min": (jnp.minimum, (TIES, TIES[::-1].copy())),
    "clamp": (lambda a, x, b: lax.clamp(a, x, b), (-P, X, Q)),
    "clamp by numbers": (lambda x: lax.clamp(-0.3, x, 0.5), (X,)),
    "select": (lambda a, b: jnp.where(X > 0, a, b), (X, Y)),
    "select of three": (lambda a, b, c: lax.select_n(np.arange(20).reshape(4, 5) % 3, a, b, c), (X, Y, P)),
}
COMPLEX = {
    "complex": (lambda a, b: jnp.real(lax.complex(a, b) ** 2 * jnp.conj(lax.complex(b, a * 2))), (X, Y)),
    "imag": (lambda a, b: jnp.imag(jnp.exp(lax.complex(a, b))), (X, Y)),
    "a real number among complex ones": (lambda a: jnp.imag(a * Z), (X,)),
}
SHAPES = {
    "an axis of size one": (lambda a, b: a + b * X, (X[:1], Y)),
    "reshape": (lambda x: x.reshape(2, 10)[:, None], (X,)),
    "transpose": (lambda x: jnp.transpose(x, (2, 0, 3, 1)), (IMAGE,)),
    "broadcast": (lambda x: lax.broadcast_in_dim(x[:, :1], (4, 3, 5), (0, 2)), (X,)),
    "rev": (lambda x: lax.rev(x, (1,)), (X,)),
    "slice": (lambda x: lax.slice(x, (1, 0), (4, 5), (2, 3)), (X,)),
    "pad": (lambda x, v: lax.pad(x, v[0, 0], [(2, -1, 0), (-1, 3, 2)]), (X, Y)),
    "concatenate": (lambda a, b: jnp.concatenate([a, b[:, :2], a], 1), (X, Y)),
    "split": (lambda x: jnp.split(x, [1, 3], 1)[1], (X,)),
    "stack": (lambda a, b: jnp.stack([a, b, a], 1), (X, Y)),
}
REDUCTIONS = {
    "sum": (lambda x: jnp.sum(x, 0), (X,)),
    "prod": (lambda x: jnp.prod(x, (0, 2)), (np.where(np.abs(IMAGE) < 0.05, 0, IMAGE),)),
    "greatest, with ties": (lambda x: jnp.max(x, 1), (TIES,)),
    "least, with ties": (lambda x: jnp.min(x, 1), (TIES,)),
    "cumsum": (lambda x: lax.cumsum(x, 1), (X,)),
    "cumsum from the end": (lambda x: lax.cumsum(x, 0, reverse=True), (X,)),
    "cumprod": (lambda x: lax.cumprod(x, 1), (TIES,)),
    "cummax": (lambda x: lax.cummax(x, 1, reverse=True), (X,)),
    "cumlogsumexp": (lambda x: lax.cumlogsumexp(x, 0), (X,)),
    "windows": (windows, (IMAGE,)),
    "sort": (lambda x: jnp.sort(x, 0), (X,)),
    "sort of several": (lambda a, b: lax.sort([a, b], dimension=1, num_keys=1)[1], (X, Y)),
    "top_k": (lambda x: lax.top_k(x, 3)[0], (X,)),
}
PARTS = {
    "gather": (lambda x: x[np.array([2, 0, 2, -1])], (X,)),
    "gather out of bounds": (lambda x: x.at[np.array([1, 9])].get(mode="fill", fill_value=0), (X,)),
    "gather from a batch": (lambda x: jnp.take_along_axis(x, np.array([[0], [4], [4], [1]]), 1), (X,)),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (1, 2), (2, 3)), (X,)),
    "dynamic_update_slice": (lambda x, u: lax.dynamic_update_slice(x, u[:2, :3], (1, 2)), (X, Y)),
    "scatter_add": (scattered(lax.scatter_add), (X, UPDATES)),
    "scatter, twice at one place": (scattered(lax.scatter), (X, UPDATES)),
    "scatter_max": (scattered(lax.scatter_max), (X, UPDATES)),
    "scatter_min": (scattered(lax.scatter_min), (X, UPDATES)),
}
PRODUCTS = {
    "dot": (lambda a, b: a @ b.T, (X, Y)),
    "dot over a batch": (lambda a, b: jnp.einsum("ijbc,bkcj->bki", a, b), (IMAGE, RNG.normal(size=(8, 3, 4, 9)))),
    "conv": conv(3, 2, 4, 6, window_strides=(2, 3), padding=((1, 2), (0, 1))),
    "conv, dilated": conv(3, 2, 4, 6, window_strides=(1, 2), padding="VALID", rhs_dilation=(2, 3)),
    "conv, transposed": conv(3, 2, 4, 6, window_strides=(1, 1), padding=((2, 1), (0, 3)), lhs_dilation=(2, 3)),
    "conv, grouped": conv(3, 3, 2, 6, window_strides=(2, 1), padding="SAME", feature_group_count=2),
    "conv, batches in groups": conv(3, 3, 4, 6, window_strides=(2, 1), padding="SAME", batch_group_count=2),
}
FOURIER = {
    "fft": (lambda a, b: jnp.real(jnp.fft.fft2(lax.complex(a, b)) * Z), (X, Y)),
    "ifft": (lambda a, b: jnp.imag(jnp.fft.ifft(lax.complex(a, b)) * Z), (X, Y)),
    "rfft": (lambda x: jnp.real(jnp.fft.rfft2(x) * Z[:, :3]), (X,)),
    "irfft, odd": (lambda a, b: jnp.fft.irfft2(lax.complex(a, b), (4, 9)), (X, Y)),
    "irfft, even": (lambda a, b: jnp.fft.irfft(lax.complex(a, b), 8), (X, Y)),
}
CONTROL = {
    "scan": (lambda c, xs: lax.scan(lambda c, x: (jnp.sin(c) * x, c * x), c[0], xs), (X, Y)),
    "scan from the end": (lambda c, xs: lax.scan(partial(step, c[1]), (c[0], 0), xs, reverse=True)[1], (X, Y)),
    "scan in scan": (lambda x: lax.scan(lambda c, row: lax.scan(turn, c, row), x[0, 0], x)[1], (X,)),
    "cond": (lambda x, y: lax.cond(x[0, 0] > 0, lambda x: x * y, lambda x: jnp.exp(x) + 2 * y, x), (X, Y)),
    "switch": (lambda x, i: lax.switch(2, [jnp.sin, jnp.cos, lambda x: x**3], x) * i, (X, Y)),
    "fori_loop": (lambda x: lax.fori_loop(0, 5, lambda i, v: jnp.tanh(v) * x + i, x), (X,)),
    "custom_jvp": (jax.nn.relu, (np.array([-1.0, 0.0, 2.0]),)),
    "custom_jvp of several": (jax.nn.logsumexp, (X,)),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sin(x) * x), (X,)),
    "stopped": (lambda x: x * lax.stop_gradient(x) + jnp.floor(x), (X,)),
    "used three times": (lambda x: x * x + x, (X,)),
}  # fmt: skip


FAMILIES = {"elementwise": ELEMENTWISE, "pairs": PAIRS, "complex": COMPLEX, "shapes": SHAPES, "reductions": REDUCTIONS}
FAMILIES |= {"parts": PARTS, "products": PRODUCTS, "fourier": FOURIER, "control": CONTROL}
CASES = {name: case for family in FAMILIES.values() for name, case in family.items()}


def loss_of(fn):
    def loss(*xs):
        leaves = jax.tree.leaves(fn(*xs))
        return sum(
            jnp.sum(y * np.random.default_rng(i).normal(size=y.shape))
            for i, y in enumerate(leaves)
            if jnp.issubdtype(y.dtype, jnp.floating)
        )

    return loss


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_jax(family):
    """The cases of a family in one program: their losses are added, and each has arguments of its own."""
    cases = FAMILIES[family]

    def loss(arguments):
        return sum(loss_of(fn)(*arguments[name]) for name, (fn, _) in cases.items())

    with jax.enable_x64(True):
        arguments = {name: list(map(jnp.asarray, xs)) for name, (_, xs) in cases.items()}
        value, grads = px.autodiff.backward(loss, arguments)(arguments)
        value2, grads2 = jax.jit(jax.value_and_grad(loss))(arguments)
    np.testing.assert_allclose(value, value2, rtol=1e-10)
    for name in cases:
        for ours, theirs in zip(grads[name], grads2[name], strict=True):
            np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-10, atol=1e-10, err_msg=name)


def test_every_rule_is_met_by_a_case_or_another_name_of_one():
    met = set()
    for fn, xs in CASES.values():
        met |= kinds(jax.make_jaxpr(fn)(*xs).jaxpr)
    same = {
        "add_any",
        "convert_element_type",
        "copy",
        "copy_p",
        "name",
        "optimization_barrier",
        "expand_dims",
        "unstack",
        "cummin",
    }
    older = {"scatter_add", "scatter_max", "scatter_min"}  # names of other versions of JAX
    assert set(RULES) - met - same - older == {"while", "custom_vjp_call"}
    assert not set(RULES) & STOPS


def kinds(jaxpr):
    found = set()
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for v in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            if hasattr(getattr(v, "jaxpr", v), "eqns"):
                found |= kinds(getattr(v, "jaxpr", v))
    return found
