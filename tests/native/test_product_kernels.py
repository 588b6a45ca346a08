"""Products of dense layers by the kernel: on whole numbers, where equality is exact, and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_plain_forms, against_torch, oracle
from phlox.nn.functional.kernels._kernels import _all, multiplies_half, package
from phlox.nn.functional.kernels._product import gathered

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

dense = px.nn.functional.dense
KERNELS = [_all[name] for name in ("phlox_product", "phlox_product_weight", "phlox_sums")]

# Larger than what is left to XLA; by several threads, unevenly.
CASES = {"a matrix": ((701, 160), 257), "more axes": ((3, 7, 67, 130), 150), "deep": ((700, 901), 200)}


def uses():
    return [kernel.use.kernel for kernel in KERNELS]


def whole(*shape, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_products_and_sums_of_whole_numbers_are_exact(case):
    shape, out = CASES[case]
    x, w, b, dy = whole(*shape), whole(shape[-1], out, seed=1), whole(out, seed=2), whole(*shape[:-1], out, seed=3)
    before = uses()
    y, back = jax.jit(lambda *a: (lambda y, back: (y, back(dy)))(*jax.vjp(dense, *a)))(x, w, b)
    rows, slopes = x.reshape(-1, shape[-1]).astype(np.float64), dy.reshape(-1, out).astype(np.float64)
    np.testing.assert_array_equal(y, (rows @ w + b).reshape(y.shape))
    np.testing.assert_array_equal(back[0], (slopes @ w.T).reshape(x.shape))
    np.testing.assert_array_equal(back[1], rows.T @ slopes)
    np.testing.assert_array_equal(back[2], slopes.sum(0))
    assert uses() == [before[0] + 2, before[1] + 1, before[2] + 1]


def rounded(x):
    return np.asarray(jnp.asarray(x, jnp.float32).astype(jnp.bfloat16), np.float32)


@pytest.mark.parametrize("case", CASES)
def test_products_of_bfloat16_are_exact_sums_rounded_once(case):
    shape, out = CASES[case]
    x, w, dy = whole(*shape), whole(shape[-1], out, seed=1), whole(*shape[:-1], out, seed=3)
    before = uses()
    half = [jnp.asarray(a, jnp.bfloat16) for a in (x, w, dy)]
    y, *back = jax.jit(lambda x, w, dy: (lambda y, back: (y, *back(dy)))(*jax.vjp(dense, x, w)))(*half)
    rows, slopes = x.reshape(-1, shape[-1]), dy.reshape(-1, out)
    assert y.dtype == jnp.bfloat16
    for found, exact in ((y, rows @ w), (back[0], slopes @ w.T), (back[1], rows.T @ slopes)):
        np.testing.assert_array_equal(np.asarray(found, np.float32), rounded(exact).reshape(found.shape))
    assert (uses() != before) == multiplies_half()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("sizes", [(33, 200, 1500), (2, 67, 130, 600), (700, 130, 150)], ids=str)
def test_scores_of_a_table_are_exact(sizes, dtype):
    """With fewer rows than numbers in one, as many, and more: each goes another way in bfloat16."""
    *rows, size, num = sizes
    x, table = whole(*rows, size), px.Embedding(num, size, key=0)
    table.weight = jnp.asarray(whole(num, size, seed=1), dtype)
    before = uses()
    found = px.jit(lambda table, x: table.attend(x))(table, jnp.asarray(x, dtype))
    exact = x @ whole(num, size, seed=1).T
    np.testing.assert_array_equal(np.asarray(found, np.float32), exact if dtype == jnp.float32 else rounded(exact))
    assert (uses()[0] == before[0] + 1) == (dtype == jnp.float32 or multiplies_half())


def test_value_and_gradients_are_pytorchs():
    torch = oracle("torch")
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype("float32") / 8 for s in ((513, 300), (300, 131), (131,)))
    theirs = lambda x, w, b: torch.nn.functional.linear(x, w.T, b)  # noqa: E731
    against_torch(dense, theirs, x, w, b, scale=10.0)  # sums over five hundred rows


def test_sums_keep_digits_over_many_rows():
    rows = np.random.default_rng(0).normal(size=(20_000, 33)).astype("float32") + np.float32(100)
    before = uses()[2]
    found = jax.jit(
        lambda dy: jax.vjp(lambda b: dense(jnp.ones((20_000, 1)), jnp.ones((1, 33)), b), jnp.ones(33))[1](dy)
    )
    np.testing.assert_allclose(found(rows)[0], rows.astype("float64").sum(0), rtol=3e-7)
    assert uses()[2] == before + 1


def test_every_other_derivative_and_map_is_that_of_the_plain_form():
    rng = np.random.default_rng(0)
    x, w, b = (jnp.asarray(rng.normal(size=s) / 8, jnp.float32) for s in ((520, 200), (200, 170), (170,)))
    f = lambda x, w, b: jnp.sum(jnp.sin(dense(x, w, b))) / 32  # noqa: E731
    penalty = lambda *a: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1, 2))(*a))  # noqa: E731
    two = jnp.stack([w, -w])
    calls = {
        "grad of grad": lambda *a: jax.grad(penalty, (0, 1, 2))(*a),
        "jvp": lambda *a: jax.jvp(f, a, a),
        "forward over reverse": lambda *a: jax.jvp(jax.grad(f, (0, 1, 2)), a, a)[1],
        "vmap over rows": lambda x, w, b: jax.vmap(dense, (1, None, None), 1)(jnp.stack([x, jnp.cos(x)], 1), w, b),
        "vmap over weights": lambda x, w, b: jax.vmap(jax.grad(f, (0, 1, 2)), (None, 0, None))(x, two, b),
        "vmap over biases": lambda x, w, b: jax.vmap(jax.grad(f, 2), (None, None, 0))(x, w, jnp.stack([b, -b])),
        "remat": jax.grad(jax.checkpoint(f), (0, 1, 2)),
        "gathered": lambda x, w, b: jax.grad(lambda x: jnp.sum(jnp.sin(gathered(x, x[:, :150]))))(x),
    }
    against_plain_forms(calls, x, w, b)


def test_a_nan_stays_in_its_row_and_column():
    x, w = jnp.ones((520, 200)).at[3, 5].set(jnp.nan), jnp.ones((200, 170))
    y, back = jax.vjp(lambda x, w: dense(x, w), x, w)
    assert jnp.isnan(y).any(1).sum() == jnp.isnan(y[3]).all() == 1
    dx, dw = back(jnp.ones_like(y))
    assert not jnp.isnan(dx).any()
    assert jnp.isnan(dw).any(1).sum() == jnp.isnan(dw[5]).all() == 1


def test_what_is_small_thin_or_of_another_dtype_is_left_to_xla():
    before = uses()
    shapes = {
        "small": ((64, 256), 256),
        "thin": ((8, 4096), 4096),
        "no rows": ((0, 256), 256),
        "a vector": ((4096,), 8192),
    }
    for shape, out in shapes.values():
        jax.jit(lambda x, w: dense(x, w, w[0])).lower(jnp.ones(shape), jnp.ones((shape[-1], out))).compile()
    half = jnp.ones((701, 160), jnp.float16), jnp.ones((160, 257), jnp.float16)
    jax.jit(lambda x, w: dense(x, w, w[0])).lower(*half).compile()
    assert uses() == before


def test_layers_reach_the_kernels():
    before = uses()
    layer, x = px.Dense(256, 300, px.tanh, key=jax.random.key(0)), jnp.ones((4, 131, 256))
    px.jit(lambda layer, x: px.grad(lambda layer, x: jnp.sum(layer(x)), (0, 1))(layer, x))(layer, x)
    assert uses() == [before[0] + 2, before[1] + 1, before[2] + 1]
    lstm, x = px.LSTM(100, 128, key=jax.random.key(0)), jnp.ones((33, 40, 100))
    before = uses()
    px.jit(lambda lstm: px.grad(lambda lstm: jnp.sum(lstm(x)))(lstm))(lstm)
    assert uses()[:2] == [before[0] + 1, before[1] + 2]
