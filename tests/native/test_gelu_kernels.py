"""gelu by the kernel against SciPy in float64, and its further derivatives against the plain form's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc

import phlox as px
from kit import against_plain_forms
from phlox.nn.functional.kernels._kernels import _all, package, reference_forms

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

gelu = px.nn.functional.gelu
FORWARD, BACKWARD = _all["phlox_gelu"], _all["phlox_gelu_backward"]


def exact(x):
    """gelu and its slope, in float64."""
    x = x.astype(np.float64)
    below = 0.5 * erfc(-x / np.sqrt(2))
    return x * below, below + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("shape", [(8193,), (130, 65), (3, 5, 17, 41), (700, 301)])  # the last by several threads
def test_value_and_slope_are_right_to_the_last_digits_in_both_tails(shape):
    x = np.linspace(-12.9, 12.9, np.prod(shape), dtype=np.float32).reshape(shape)
    before = FORWARD.use.kernel, BACKWARD.use.kernel
    y, back = jax.jit(lambda x: (lambda y, back: (y, back(2 * jnp.ones_like(x))[0]))(*jax.vjp(gelu, x)))(x)
    value, slope = exact(x)
    np.testing.assert_allclose(y, value, rtol=1e-6, atol=0)
    np.testing.assert_allclose(back, 2 * slope, rtol=2e-6, atol=3e-7)  # the slope crosses zero at -0.75
    lower = x < -1.5
    np.testing.assert_allclose(back[lower], 2 * slope[lower], rtol=2e-6, atol=0)
    assert (FORWARD.use.kernel, BACKWARD.use.kernel) == (before[0] + 1, before[1] + 1)


def test_far_out_it_is_the_ramp_and_nan_stays():
    far = np.float32(3e38)
    ends = jnp.array([jnp.nan, jnp.inf, -jnp.inf, far, -far, 0.0, -0.0, 20.0, -20.0, 1e-30])
    x = jnp.zeros((1000, 10)).at[500].set(ends)
    y, back = jax.vjp(gelu, x)
    np.testing.assert_array_equal(y[500], [np.nan, np.inf, 0, far, 0, 0, 0, 20, 0, np.float32(1e-30) / 2])
    np.testing.assert_array_equal(back(jnp.ones_like(x))[0][500], [np.nan, 1, 0, 1, 0, 0.5, 0.5, 1, 0, 0.5])
    assert not y[:500].any()
    assert not y[501:].any()


def test_every_other_derivative_is_that_of_the_plain_form():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(90, 100)), jnp.float32)
    two = jnp.stack([x, 2 * x])
    f = lambda x: jnp.sum(jnp.sin(gelu(x)))  # noqa: E731
    calls = {
        "gradient": jax.grad(f),
        "grad of grad": jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2)),
        "jvp": lambda x: jax.jvp(gelu, (x,), (jnp.cos(x),)),
        "forward over reverse": lambda x: jax.jvp(jax.grad(f), (x,), (x,))[1],
        "vmap of grad": lambda x: jax.vmap(jax.grad(f), 1, 1)(two.swapaxes(0, 1)),
        "remat": jax.grad(jax.checkpoint(f)),
    }
    against_plain_forms(calls, x)


def test_what_the_kernel_does_not_know_is_left_to_the_plain_form():
    x = jnp.ones((100, 100))
    before = FORWARD.use.kernel
    for array, how in ((x, "tanh"), (x, "sigmoid"), (x[0], "none"), (x[0, 0], "none")):
        jax.jit(lambda a, how=how: gelu(a, how))(array)
    with reference_forms():
        jax.jit(lambda a: gelu(a))(x)
    with jax.enable_x64(True):
        jax.jit(lambda a: gelu(a))(x.astype(jnp.float64))
    assert FORWARD.use.kernel == before


def test_layers_reach_the_kernel():
    layer, x = px.Dense(64, 160, px.gelu, key=jax.random.key(0)), jnp.ones((61, 64))
    before = FORWARD.use.kernel, BACKWARD.use.kernel
    px.jit(lambda layer: px.grad(lambda layer: jnp.sum(layer(x)))(layer))(layer)
    assert (FORWARD.use.kernel, BACKWARD.use.kernel) == (before[0] + 1, before[1] + 1)
