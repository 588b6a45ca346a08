"""The largest of windows by the kernel against PyTorch; further derivatives against the plain form."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_plain_forms, against_torch, oracle
from phlox.nn.functional.kernels._kernels import _all, package, reference_forms

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

max_pool = px.nn.functional.max_pool

CASES = {  # space, window, stride, padding, dilation, ceil_mode
    "1d": ((11,), 3, 2, 1, 1, False),
    "2d": ((7, 9), (3, 2), (2, 1), (1, 0), 1, False),
    "2d dilated": ((9, 8), 2, 2, 1, 3, False),
    "2d over the edge": ((8, 8), 3, 2, 0, 1, True),
    "1d apart": ((13,), 2, 4, 0, 3, False),
    "2d apart": ((6, 8), 2, 2, 0, 1, False),
    "2d apart, some left over": ((7, 11), (2, 3), (3, 3), 0, 1, False),
    "2d apart, over the edge": ((7, 7), 2, 2, 0, 1, True),
    "3d": ((5, 4, 6), 3, 2, 1, 1, False),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ties", [False, True])
def test_value_and_gradient_are_pytorchs(case, ties):
    torch = oracle("torch")
    space, window, stride, padding, dilation, ceil_mode = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 2, (2, *space, 17)) if ties else rng.normal(size=(2, *space, 17))
    pool = getattr(torch.nn.functional, f"max_pool{len(space)}d")
    before = _all["phlox_max_pool"].use.kernel, _all["phlox_max_pool_backward"].use.kernel
    options = {"padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    against_torch(
        lambda x: max_pool(x, window, stride=stride, **options),
        lambda x: pool(x.movedim(-1, 1), window, stride, **options).movedim(1, -1),
        x.astype("float32"),
    )
    assert (_all["phlox_max_pool"].use.kernel, _all["phlox_max_pool_backward"].use.kernel) == (
        before[0] + 1,
        before[1] + 1,
    )


def test_every_other_derivative_is_that_of_the_plain_form():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 16)), jnp.float32)
    f = lambda x: jnp.sum(jnp.sin(max_pool(x, 3, stride=2, padding=1)))  # noqa: E731
    calls = {
        "grad of grad": jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 3)),
        "jvp": lambda x: jax.jvp(f, (x,), (x,)),
        "forward over reverse": lambda x: jax.jvp(jax.grad(f), (x,), (x,))[1],
        "vmap of grad": lambda x: jax.vmap(jax.grad(f))(jnp.stack([x, -x])),
    }
    against_plain_forms(calls, x)


def test_bfloat16_is_exact_and_its_gradient_rounded_once():
    rng = np.random.default_rng(0)
    x, ct = (jnp.asarray(rng.normal(size=(2, n, n, 16)), jnp.bfloat16) for n in (7, 4))
    pool = lambda x: max_pool(x, 3, stride=2, padding=1)  # noqa: E731
    both = lambda x, ct: (pool(x), jax.vjp(pool, x)[1](ct)[0])  # noqa: E731
    assert "phlox_max_pool_backward" in str(jax.make_jaxpr(both)(x, ct))
    ours = jax.jit(both)(x, ct)
    with reference_forms():
        y, dx = jax.jit(lambda *a: both(*a))(x.astype(jnp.float32), ct.astype(jnp.float32))
    np.testing.assert_array_equal(ours[0].astype(jnp.float32), y)
    np.testing.assert_allclose(ours[1].astype(jnp.float32), dx, rtol=2.0**-8, atol=1e-6)
    assert ours[0].dtype == ours[1].dtype == jnp.bfloat16


def test_nan_and_infinity():
    x = jnp.zeros((1, 5, 16)).at[0, 0, 0].set(jnp.nan).at[0, :, 1].set(-jnp.inf)
    y = max_pool(x, 3, stride=2, padding=1)
    assert jnp.isnan(y)[0, :, 0].tolist() == [True, False, False]
    assert (y[0, :, 1] == -jnp.inf).all()
    y, back = jax.vjp(lambda x: max_pool(x, 2), x[:, :4])
    assert jnp.isnan(y)[0, :, 0].tolist() == [True, False]
    assert (y[0, :, 1] == -jnp.inf).all()
    assert back(jnp.ones_like(y))[0][0, :, :2].tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]


@st.composite
def pools(draw):
    """The shape of an array, and a window."""
    rank = draw(st.integers(1, 3))
    axes = st.lists(st.integers(2, 3), min_size=rank, max_size=rank)
    size, dilation = draw(axes), draw(st.integers(1, 2))
    space = [draw(st.integers((k - 1) * dilation + 1, 9)) for k in size]
    stride = [draw(st.integers(1, 4)) for _ in size]
    some = draw(st.booleans())
    padding = [(draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) if some else (0, 0) for k in size]
    shape = draw(st.integers(1, 3)), *space, draw(st.integers(16, 35))
    return shape, tuple(size), {"stride": tuple(stride), "padding": tuple(padding), "dilation": dilation}


def check_against_the_plain_form(case):
    """Value and gradient of whole numbers, many of them equal, where every sum is exact."""
    shape, size, options = case
    x = jnp.asarray(np.random.default_rng(0).integers(-2, 3, shape), jnp.float32)
    pool = lambda x: max_pool(x, size, **options)  # noqa: E731
    ct = jnp.asarray(np.random.default_rng(1).integers(-9, 10, jax.eval_shape(pool, x).shape), jnp.float32)
    both = lambda x, ct: (pool(x), jax.vjp(pool, x)[1](ct))  # noqa: E731
    assert "phlox_max_pool_backward" in str(jax.make_jaxpr(both)(x, ct))
    ours = jax.jit(both)(x, ct)
    with reference_forms():
        theirs = jax.jit(lambda *a: both(*a))(x, ct)
    for a, r in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, r)


@hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
@hypothesis.given(pools())
def test_any_shape(case):
    check_against_the_plain_form(case)


@pytest.mark.soak
@hypothesis.settings(max_examples=200, deadline=None, database=None)
@hypothesis.given(pools())
def test_any_shape_at_length(case):
    check_against_the_plain_form(case)
