"""Batch normalisation by the kernel against PyTorch, and its further derivatives against the plain form's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_plain_forms, against_torch, assert_close, oracle
from phlox.nn.functional._norm import normalise_batch
from phlox.nn.functional.kernels import _norm as K
from phlox.nn.functional.kernels._kernels import package, reference_forms

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)


def arrays(*shape, offset=0.0):
    rng = np.random.default_rng(0)
    draw = lambda *s: rng.normal(size=s).astype("float32")  # noqa: E731
    return draw(*shape) + np.float32(offset), 1 + 0.3 * draw(shape[-1]), draw(shape[-1])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(5, 16), (3, 7, 5, 33), (70, 3, 16)])
def test_value_and_gradients_are_pytorchs(shape, relu):
    torch = oracle("torch")
    before = K._forward.use.kernel, K._backward.use.kernel

    def theirs(x, scale, bias):
        y = torch.nn.functional.batch_norm(x.movedim(-1, 1), None, None, scale, bias, training=True).movedim(1, -1)
        return y.relu() if relu else y

    against_torch(lambda x, s, b: normalise_batch(x, s, b, 1e-5, relu=relu)[0], theirs, *arrays(*shape))
    assert (K._forward.use.kernel, K._backward.use.kernel) == (before[0] + 1, before[1] + 1)


def test_statistics_keep_their_digits_far_from_zero():
    x, scale, bias = arrays(40000, 16, offset=1e4)
    y, mean, var = jax.jit(lambda *a: normalise_batch(*a, 1e-5))(x, scale, bias)
    exact = x.astype("float64")
    assert_close(mean, exact.mean(0))
    np.testing.assert_allclose(var, exact.var(0, ddof=1), rtol=1e-5)
    want = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5) * scale + bias
    np.testing.assert_allclose(y, want, atol=1e-3)  # what float32 leaves of numbers around 10000: 13 bits


@pytest.mark.parametrize("relu", [False, True])
def test_every_other_derivative_is_that_of_the_plain_form(relu):
    x, scale, bias = arrays(6, 16)

    def f(x, scale, bias):  # all three results count
        y, mean, var = normalise_batch(x, scale, bias, 1e-2, relu=relu)
        return jnp.sum(jnp.sin(y)) + jnp.sum(mean**2) + jnp.sum(var**2)

    penalty = lambda *a: jnp.sum(jax.grad(f)(*a) ** 2)  # noqa: E731
    calls = {
        "gradient": lambda *a: jax.grad(f, (0, 1, 2))(*a),
        "grad of grad": lambda *a: jax.grad(penalty, (0, 1, 2))(*a),
        "jvp": lambda *a: jax.jvp(f, a, a),
        "forward over reverse": lambda *a: jax.jvp(jax.grad(f, (0, 2)), a, a)[1],
        "vmap of grad": lambda *a: jax.vmap(jax.grad(f), (None, 0, None))(a[0], jnp.stack([a[1], 2 * a[1]]), a[2]),
    }
    against_plain_forms(calls, x, scale, bias, scale=10.0)  # sums of squares of gradients


def test_nan_is_not_silenced():
    x = jnp.ones((4, 16)).at[0, 3].set(jnp.nan)
    y = normalise_batch(x, None, None, 1e-5, relu=True)[0]
    assert jnp.isnan(y).any(0).tolist() == [i == 3 for i in range(16)]


def test_the_layer_moves_its_statistics_as_without_kernels():
    def step(layer, x):
        return px.grad(lambda layer: jnp.sum(jnp.cos(layer(x))))(layer)

    x, found = arrays(8, 5, 16)[0], []
    for kernels in (True, False):
        layer = px.BatchNorm(16, px.relu)
        if kernels:
            gradient = px.jit(step)(layer, x)
        else:
            with reference_forms():
                gradient = step(layer, x)
        found.append((gradient.scale, gradient.bias, layer.mean, layer.var))
    for a, r in zip(*found, strict=True):
        assert_close(a, r, kind="grad")
