"""px.gradcheck and px.gradgradcheck: planted errors are found and named, right gradients pass."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from autodiff.layers import in_float64
from registry import CASES

X = np.linspace(-1.0, 2.0, 12).reshape(3, 4)


@jax.custom_vjp
def planted(x):
    return jnp.sin(x)


def planted_backward(x, g):
    return (g * jnp.cos(x) * jnp.ones_like(x).at[1, 2].add(1e-4),)


planted.defvjp(lambda x: (jnp.sin(x), x), planted_backward)


def test_an_error_of_one_in_ten_thousand_is_found_and_named():
    with jax.enable_x64(True), pytest.raises(px.autodiff.GradientError) as caught:
        px.gradcheck(lambda x: jnp.sum(planted(x)), jnp.asarray(X))
    pattern = r"px\.gradcheck expects the slope of the function, (\S+) at x\[1, 2\], got a gradient of (\S+) there, the"
    found = re.match(pattern + " worst of 1 that differ", str(caught.value))
    assert found, str(caught.value)
    assert float(found[1]) == pytest.approx(1.5 * np.cos(X[1, 2]), rel=0.5)  # a weight of its own is on each element
    assert float(found[2]) / float(found[1]) == pytest.approx(1.0001, abs=1e-8)


def test_an_error_in_a_model_is_named_by_its_path():
    class Skewed(px.Module):
        def __init__(self):
            self.scale = jnp.ones(3)

        def __call__(self, x):
            return x * (self.scale - 1e-3 * (self.scale - jax.lax.stop_gradient(self.scale)))

    with jax.enable_x64(True):
        model = px.f64(px.Chain(px.Dense(4, 3), Skewed()))
        with pytest.raises(px.autodiff.GradientError, match=r"at layers\.1\.scale\[\d\], got a gradient"):
            px.gradcheck(lambda model, x: model(x), model, jnp.asarray(X))


def test_where_all_is_analytic_a_complex_step_needs_no_subtraction():
    with jax.enable_x64(True):
        smooth = px.gradcheck(
            lambda x, w: jnp.exp(jnp.sin(x) @ w) / (1 + x @ w), jnp.asarray(X), jnp.ones((4, 2)), argnums=(0, 1)
        )
        kinked = px.gradcheck(lambda x: jnp.abs(x) ** 3, jnp.asarray(X))
        quick = px.gradcheck(lambda x: jnp.sin(100 * x) * jnp.sign(x), jnp.asarray(X))
        complex_ = px.gradcheck(lambda z: jnp.conj(z) * z**2, jnp.asarray(X + 0.3j))
        turned = px.gradcheck(lambda x: jnp.exp(1j * x), jnp.asarray(X))
    assert (smooth.method, kinked.method, complex_.method) == ("complex step", "differences", "differences")
    assert turned.method == "differences"
    assert smooth.error < 1e-13
    assert quick.error < 1e-9  # of second order the best step, 5e-6, would be wrong by 4e-8
    assert max(kinked.error, complex_.error, turned.error) < 1e-8


def test_no_complex_step_is_taken_where_imaginary_parts_would_be_lost():
    def cast(x):  # the continuation would give a slope of zero
        return x if jnp.issubdtype(x.dtype, jnp.floating) else jnp.real(x) + 0j * x

    numbers = jax.lax.conv_dimension_numbers((1, 6, 2), (3, 2, 2), ("NWC", "WIO", "NWC"))
    conv = lambda x: jax.lax.conv_general_dilated(x, jnp.ones((3, 2, 2)), (1,), "SAME", dimension_numbers=numbers)  # noqa: E731
    with jax.enable_x64(True):
        assert px.gradcheck(cast, jnp.asarray(X)).method == "differences"
        assert px.gradcheck(conv, jnp.asarray(X).reshape(1, 6, 2)).method == "differences"


def test_both_parts_of_complex_results_count():
    @jax.custom_vjp
    def turned(x):
        return jnp.exp(1j * x)

    turned.defvjp(
        lambda x: (jnp.exp(1j * x), x), lambda x, g: (jnp.real(g) * -jnp.sin(x),)
    )  # forgets the imaginary part
    with jax.enable_x64(True), pytest.raises(px.autodiff.GradientError):
        px.gradcheck(turned, jnp.asarray(X))


def test_second_derivatives_are_checked_too():
    @jax.custom_jvp
    def cubed(x):
        return x**3

    cubed.defjvp(lambda xs, ts: (xs[0] ** 3, 3 * jax.lax.stop_gradient(xs[0]) * xs[0] * ts[0]))  # right once, not twice
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        px.gradcheck(cubed, x)
        px.gradgradcheck(lambda x: jnp.tanh(x) * x, x)
        with pytest.raises(px.autodiff.GradientError, match=re.escape("px.gradgradcheck expects the slope")):
            px.gradgradcheck(cubed, x)


def test_a_gradient_that_is_no_number_fails():
    with jax.enable_x64(True), pytest.raises(px.autodiff.GradientError, match=r"at x\[0\], got a gradient of nan"):
        px.gradcheck(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), jnp.array([-1.0, 2.0]))


def test_single_precision_and_no_directions_are_refused():
    with pytest.raises(
        px.DtypeError, match=re.escape("expects float64, in which differences tell enough digits, got x, float32[2]")
    ):
        px.gradcheck(jnp.sin, jnp.ones(2, jnp.float32))
    with jax.enable_x64(True), pytest.raises(px.RangeError, match="one direction or more, got 0"):
        px.gradcheck(jnp.sin, jnp.ones(2), directions=0)


LAYERS = [c if c.name in ("Dense", "GroupNorm") else pytest.param(c, marks=pytest.mark.soak) for c in CASES if c.slope]


@pytest.mark.parametrize("case", LAYERS, ids=repr)
def test_every_layer_passes(case):
    with jax.enable_x64(True):
        model, xs, which = in_float64(case)
        px.gradcheck(lambda model, *xs: model(*xs), model, *xs, argnums=which)
