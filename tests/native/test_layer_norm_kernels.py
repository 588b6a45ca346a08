"""Layer normalisation by the kernel against PyTorch, and its further derivatives against the plain form's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_plain_forms, against_torch, oracle
from phlox.nn.functional.kernels import _layer_norm as K
from phlox.nn.functional.kernels._kernels import package

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

layer_norm = px.nn.functional.layer_norm


def arrays(*shape, offset=0.0):
    rng = np.random.default_rng(0)
    draw = lambda *s: rng.normal(size=s).astype("float32")  # noqa: E731
    return draw(*shape) + np.float32(offset), 1 + 0.3 * draw(shape[-1]), draw(shape[-1])


@pytest.mark.parametrize(
    "shape", [(5, 16), (3, 7, 5, 33), (2, 65, 40), (901, 600)]
)  # the last by several threads, unevenly
def test_value_and_gradients_are_pytorchs(shape):
    torch = oracle("torch")
    before = K._forward.use.kernel, K._backward.use.kernel
    theirs = lambda x, s, b: torch.nn.functional.layer_norm(x, shape[-1:], s, b)  # noqa: E731
    scale = 10.0 if shape[0] > 900 else 1.0  # sums over as many rows cancel
    against_torch(lambda x, s, b: layer_norm(x, shape[-1], s, b), theirs, *arrays(*shape), scale=scale)
    assert (K._forward.use.kernel, K._backward.use.kernel) == (before[0] + 1, before[1] + 1)


def test_digits_are_kept_far_from_zero():
    x, scale, bias = arrays(50, 200, offset=1e4)
    exact = x.astype("float64")
    centred = exact - exact.mean(-1, keepdims=True)
    want = centred / np.sqrt(exact.var(-1, keepdims=True) + 1e-5) * scale + bias
    np.testing.assert_allclose(jax.jit(lambda *a: layer_norm(a[0], 200, *a[1:]))(x, scale, bias), want, atol=1e-4)


def test_every_other_derivative_is_that_of_the_plain_form():
    x, scale, bias = arrays(6, 16)
    f = lambda x, scale, bias: jnp.sum(jnp.sin(layer_norm(x, 16, scale, bias, eps=1e-2)))  # noqa: E731
    penalty = lambda *a: jnp.sum(jax.grad(f)(*a) ** 2)  # noqa: E731
    two = jnp.stack([x, 2 * x])
    calls = {
        "gradient": lambda *a: jax.grad(f, (0, 1, 2))(*a),
        "grad of grad": lambda *a: jax.grad(penalty, (0, 1, 2))(*a),
        "jvp": lambda *a: jax.jvp(f, a, a),
        "forward over reverse": lambda *a: jax.jvp(jax.grad(f, (0, 2)), a, a)[1],
        "vmap over scale": lambda x, s, b: jax.vmap(jax.grad(f), (None, 0, None))(x, jnp.stack([s, 2 * s]), b),
        "vmap of grad": lambda x, s, b: jax.vmap(jax.grad(f, (0, 1, 2)), (0, None, None))(two, s, b),
        "grad of vmap": lambda x, s, b: jax.grad(lambda s: jnp.sum(jax.vmap(f, (1, None, None))(two, s, b) ** 2))(s),
    }
    against_plain_forms(calls, x, scale, bias, scale=10.0)  # sums of squares of gradients


def test_nan_and_infinity_stay_in_their_rows():
    x = jnp.ones((4, 16)).at[1, 3].set(jnp.nan).at[2, 3].set(jnp.inf)
    y, back = jax.vjp(lambda x: layer_norm(x, 16), x)
    for found in (y, back(jnp.ones((4, 16)))[0]):
        assert jnp.isnan(found).any(1).tolist() == [False, True, True, False]


def test_what_the_kernel_does_not_know_is_left_to_the_plain_form():
    x = arrays(4, 6, 16)[0]
    before = K._forward.use.kernel
    cases = {"a vector": x[0, 0], "two axes": x, "few features": x[..., :8], "half precision": x.astype(jnp.bfloat16)}
    for name, array in cases.items():
        size = array.shape[-2:] if name == "two axes" else array.shape[-1]
        jax.jit(lambda a, size=size: layer_norm(a, size))(array)
    assert K._forward.use.kernel == before


def test_layers_reach_the_kernel():
    layer, x = px.LayerNorm(48), arrays(3, 48)[0]
    before = K._forward.use.kernel, K._backward.use.kernel
    px.jit(lambda layer: px.grad(lambda layer: jnp.sum(jnp.sin(layer(x))))(layer))(layer)
    assert (K._forward.use.kernel, K._backward.use.kernel) == (before[0] + 1, before[1] + 1)
