"""Attention by the kernel against PyTorch, and its further derivatives against the plain form's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_plain_forms, against_torch, assert_close, oracle
from phlox.nn.functional.attention import _attention
from phlox.nn.functional.kernels._kernels import _all, package, reference_forms

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

attention = px.nn.functional.dot_product_attention

# batch, queries, keys, heads, heads of keys, size, size of values, causal
CASES = {
    "several blocks of queries": (1, 150, 150, 2, 2, 8, 8, False),
    "causal, the last block short": (2, 150, 150, 2, 2, 8, 8, True),
    "shared heads, other sizes": (2, 19, 33, 6, 2, 5, 7, False),
    "causal, fewer keys than queries": (1, 40, 20, 2, 1, 4, 4, True),
    "causal, fewer queries than keys": (1, 11, 40, 2, 2, 4, 4, True),
    "few queries": (3, 8, 17, 2, 2, 16, 3, False),
    "several spans of queries": (1, 800, 30, 2, 1, 20, 33, False),
    "causal, several spans": (1, 790, 790, 1, 1, 6, 6, True),
}


def arrays(batch, queries, keys, heads, shared, size, value, causal):
    rng = np.random.default_rng(0)
    shapes = (batch, queries, heads, size), (batch, keys, shared, size), (batch, keys, shared, value)
    return [rng.normal(size=s).astype("float32") for s in shapes]


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_pytorchs(case):
    torch = oracle("torch")
    *sizes, causal = CASES[case]
    kernels = _all["phlox_attention"], _all["phlox_attention_backward"]
    before = [k.use.kernel for k in kernels]

    def theirs(q, k, v):
        q, k, v = (a.movedim(1, 2) for a in (q, k, v))
        k, v = (a.repeat_interleave(q.shape[1] // a.shape[1], 1) for a in (k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal).movedim(1, 2)

    against_torch(lambda q, k, v: attention(q, k, v, causal=causal), theirs, *arrays(*sizes, causal))
    assert [k.use.kernel for k in kernels] == [n + 1 for n in before]


@pytest.mark.parametrize("run", [px.jit, lambda f: f], ids=["compiled", "eager"])
def test_layers_reach_the_kernel(run):
    layer = px.nn.MultiHeadAttention(8, 2, causal=True, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 37, 8))  # a length that no other test compiled a program for
    before = [_all[name].use.kernel for name in ("phlox_attention", "phlox_attention_backward")]
    loss = lambda layer: jnp.sum(jnp.sin(layer(x)))  # noqa: E731
    value, grads = run(lambda layer: px.value_and_grad(loss)(layer))(layer)
    assert [_all[name].use.kernel for name in ("phlox_attention", "phlox_attention_backward")] != before
    with reference_forms():
        want, wanted = px.jit(lambda layer: px.value_and_grad(loss)(layer))(layer)
    assert_close(value, want, kind="value")
    for path, g in px.paths(grads).items():
        assert_close(g, px.paths(wanted)[path], kind="grad", what=path)


def test_bfloat16_is_computed_in_float32_and_rounded_once():
    q, k, v = (jnp.asarray(a, jnp.bfloat16) for a in arrays(2, 19, 33, 6, 2, 5, 7, False))
    ct = jnp.asarray(np.random.default_rng(1).normal(size=(2, 19, 6, 7)), jnp.bfloat16)

    def run(*arrays):
        y, back = jax.vjp(lambda *a: attention(*a, causal=True), *arrays[1:])
        return y, *back(arrays[0])

    before = _all["phlox_attention_backward"].use.kernel
    ours = jax.jit(run)(ct, q, k, v)
    assert _all["phlox_attention_backward"].use.kernel == before + 1
    with reference_forms():
        theirs = jax.jit(lambda *a: run(*a))(*(a.astype(jnp.float32) for a in (ct, q, k, v)))
    for a, r in zip(ours, theirs, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), r, rtol=2.0**-8, atol=1e-5)  # bfloat16 has 8 bits


HALF = CASES | {
    "whole tiles": (2, 64, 96, 2, 2, 32, 64, False),
    "one key more than tiles": (1, 33, 65, 3, 1, 33, 31, True),
    "a single query's worth of rows": (1, 8, 400, 1, 1, 64, 32, False),
}


@pytest.mark.parametrize("case", HALF)
def test_in_bfloat16_weights_and_results_are_rounded_and_sums_are_not(case):
    """Each weight is off by 2⁻⁸ of itself at most, and so is the result."""
    *sizes, causal = HALF[case]
    q, k, v = (jnp.asarray(a, jnp.bfloat16) for a in arrays(*sizes, causal))
    tiles, before = package().library.phlox_cpu_integer_instructions() == 2, _all["phlox_attention_half"].use
    found = jax.jit(lambda q, k, v: attention(q, k, v, causal=causal, scale=0.7))(q, k, v)
    after = _all["phlox_attention_half"].use
    assert (after.kernel - before.kernel, after.reference - before.reference) == ((1, 0) if tiles else (0, 1))
    with reference_forms():
        exact = px.jit(lambda *a: attention(*a, causal=causal, scale=0.7))
        want, most = (np.asarray(exact(*(a.astype(jnp.float32) for a in (q, k, w)))) for w in (v, jnp.abs(v)))
    assert found.dtype == jnp.bfloat16
    assert (np.abs(np.asarray(found, np.float32) - want) <= 2.0**-8 * (1.01 * most + np.abs(want)) + 1e-6).all()


def test_in_bfloat16_nan_and_maps():
    q, k = jnp.ones((2, 9, 1, 4), jnp.bfloat16).at[0, 3].set(jnp.nan), jnp.ones((2, 20, 1, 4), jnp.bfloat16)
    y = attention(q, k, k)
    assert jnp.isnan(y).all((2, 3)).tolist() == [[n == 3 for n in range(9)], [False] * 9]
    y = attention(jnp.ones_like(q), k, k.at[1, 19].set(jnp.nan))
    assert jnp.isnan(y).all((1, 2, 3)).tolist() == [False, True]
    q, k, v = (jnp.asarray(a, jnp.bfloat16) for a in arrays(2, 19, 33, 2, 2, 5, 7, False))
    mapped = jax.jit(jax.vmap(attention, (0, None, None)))(jnp.stack([q, 2 * q]), k, v)
    np.testing.assert_array_equal(mapped[1], attention(2 * q, k, v))


def test_the_library_refuses_what_it_does_not_multiply():
    call = jax.ffi.ffi_call("phlox_cpu_attention_half", jax.ShapeDtypeStruct((1, 9, 1, 4), jnp.bfloat16))
    x = jnp.ones((1, 9, 1, 4))
    with pytest.raises(Exception, match=r"a processor with AMX|three times, got float32\[1, 9, 1, 4\]"):
        jax.block_until_ready(call(x, x, x, scale=np.float32(1), causal=False))


def test_every_other_derivative_is_that_of_the_plain_form():
    q, k, v = map(jnp.asarray, arrays(1, 9, 18, 2, 1, 3, 3, True))
    f = lambda q, k, v: jnp.sum(jnp.sin(attention(q, k, v, scale=0.7)))  # noqa: E731
    penalty = lambda *a: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1, 2))(*a))  # noqa: E731
    calls = {
        "grad of grad": lambda *a: jax.grad(penalty, (0, 1, 2))(*a),
        "jvp": lambda *a: jax.jvp(f, a, a),
        "forward over reverse": lambda *a: jax.jvp(jax.grad(f, (0, 2)), a, a)[1],
        "vmap of grad": lambda q, k, v: jax.vmap(jax.grad(f, 1), (0, None, None))(jnp.stack([q, -q]), k, v),
        "remat": jax.grad(jax.checkpoint(f), (0, 1, 2)),
    }
    against_plain_forms(calls, q, k, v)


def test_what_the_kernel_does_not_know_is_left_to_the_plain_form():
    q, k, v = map(jnp.asarray, arrays(1, 9, 18, 2, 2, 3, 3, False))
    others = {
        "mask": jnp.ones((9, 18), bool),
        "bias": jnp.zeros((9, 18)),
        "window": 2,
        "lengths": jnp.array([3]),
        "kv_lengths": jnp.array([3]),
        "offset": 2,
        "soft_cap": 3.0,
        "chunk": 2,
        "implementation": "xla",
    }
    found = jax.make_jaxpr(lambda q: attention(q, k, v))(q)
    assert "phlox_attention" in str(found)
    for name, value in others.items():
        found = jax.make_jaxpr(lambda q: attention(q, k, v, **{name: value}))(q)  # noqa: B023
        assert "phlox_attention" not in str(found), name


def test_few_queries_or_keys_are_left_to_xla():
    before = _all["phlox_attention"].use
    for queries, keys in ((7, 100), (100, 16)):
        q, k, v = arrays(1, queries, keys, 2, 2, 4, 4, False)
        jax.jit(lambda q, k, v: attention(q, k, v))(q, k, v)
    after = _all["phlox_attention"].use
    assert (after.kernel, after.reference) == (before.kernel, before.reference + 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_weights_of_large_scores_neither_overflow_nor_vanish(dtype):
    q = jnp.full((1, 9, 1, 4), 300, dtype)
    k = jnp.concatenate([jnp.full((1, 9, 1, 4), 300, dtype), jnp.full((1, 9, 1, 4), -300, dtype)], 1)
    v = jnp.arange(18, dtype=dtype).reshape(1, 18, 1, 1)
    assert attention(q, k, v).ravel().tolist() == [4.0] * 9


def test_nan_is_not_silenced():
    q = jnp.ones((2, 9, 1, 4)).at[0].set(jnp.nan)
    y = attention(q, jnp.ones((2, 20, 1, 4)), jnp.ones((2, 20, 1, 4)))
    assert jnp.isnan(y).all((1, 2, 3)).tolist() == [True, False]


def test_memory_is_linear_in_length():
    q = jax.ShapeDtypeStruct((1, 4096, 2, 16), jnp.float32)
    gradient = jax.jit(jax.grad(lambda q: jnp.sum(attention(q, q, q))))
    scores = 2 * 4096 * 4096 * 4
    assert gradient.lower(q).compile().memory_analysis().temp_size_in_bytes < scores / 16


def test_the_plain_form_of_long_sequences_goes_by_chunks():
    q = jax.ShapeDtypeStruct((1, 2**14, 1, 4), jnp.float32)
    assert "scan" in str(jax.make_jaxpr(lambda q: _attention._whole_or_chunks(q, q, q, scale=1.0, causal=True))(q))
