"""Sums of 16-bit numbers: 4096 equal terms, whose sum is exact, where bfloat16 stops at 256 and float16 at 2048."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.nn import functional as F
from phlox.nn.recurrence._cells import _begun

N = 4096
FEW = np.zeros(N, int)
ROWS, IMAGES = np.ones((N, 1), "f"), np.ones((4, 32, 32, 1), "f")
KERNEL, ONE = np.ones((1, 1, 1, 1), "f"), np.ones(1, "f")
TABLE = np.ones((2, 1), "f")
SCALED = (np.arange(N)[:, None] % 2 * 2 - 1).astype("f")

# what is differentiated by its first argument; the sum of its results
CASES = {
    "embedding": (lambda t: F.embedding(FEW, t), TABLE),
    "embedding by batches": (lambda t: jax.vmap(lambda i: F.embedding(i, t))(FEW.reshape(64, 64)), TABLE),
    "bags": (lambda t: F.embedding_bag(FEW.reshape(64, 64), t, mode="sum"), TABLE),
    "bags, largest": (lambda t: F.embedding_bag(FEW.reshape(N, 1), t, mode="max"), TABLE),
    "one hot": (lambda t: jax.nn.one_hot(FEW, 2, dtype=t.dtype) @ t, TABLE),
    "gather": (lambda t: F.gather(t, FEW), TABLE),
    "gather by pairs": (lambda t: F.gather(t, (FEW, FEW)), TABLE),
    "segment_sum": (lambda v: F.segment_sum(v, FEW, 2) / 64, ROWS),
    "dense bias": (lambda b: F.dense(ROWS.astype(b.dtype), jnp.ones((1, 1), b.dtype), b), ONE),
    "dense bias, three axes": (
        lambda b: F.dense(ROWS.reshape(64, 64, 1).astype(b.dtype), jnp.ones((1, 1), b.dtype), b),
        ONE,
    ),
    "dense weight": (lambda w: F.dense(ROWS.astype(w.dtype), w), np.ones((1, 1), "f")),
    "bilinear bias": (lambda b: F.bilinear(*[ROWS.astype(b.dtype)] * 2, jnp.ones((1, 1, 1), b.dtype), b), ONE),
    "conv bias": (lambda b: F.conv(IMAGES.astype(b.dtype), jnp.ones((1, 1, 1, 1), b.dtype), b), ONE),
    "conv bias, 3 by 3": (lambda b: F.conv(IMAGES.astype(b.dtype), jnp.ones((3, 3, 1, 1), b.dtype), b, padding=1), ONE),
    "conv weight": (lambda w: F.conv(IMAGES.astype(w.dtype), w), KERNEL),
    "conv_transpose bias": (
        lambda b: F.conv_transpose(IMAGES.astype(b.dtype), jnp.ones((1, 1, 1, 1), b.dtype), b),
        ONE,
    ),
    "prelu": (lambda s: F.prelu(-IMAGES.astype(s.dtype), s), ONE),
    "layer_norm bias": (lambda b: F.layer_norm(SCALED.reshape(-1, 2).astype(b.dtype), 2, None, b), np.ones(2, "f")),
    "rms_norm scale": (lambda s: F.rms_norm(IMAGES.astype(s.dtype), 1, s), ONE),
    "batch_norm bias": (lambda b: F.batch_norm_train(SCALED.astype(b.dtype), None, b)[0], ONE),
    "group_norm bias": (lambda b: F.group_norm(SCALED.reshape(1, -1, 1).astype(b.dtype), 1, None, b), ONE),
    "global_mean_pool": (lambda x: F.global_mean_pool(x), np.ones((1, N, 1), "f")),
    "lp_pool": (lambda x: F.lp_pool(x, 2, N), np.ones((1, N, 1), "f")),
    "long windows": (lambda x: F.mean_pool(x, 400, stride=1, divisor_override=1.0), np.full((1, 799, 1), 1 / 64, "f")),
    "nearest": (lambda x: F.interpolate(x, size=(N,), mode="nearest"), np.ones((1, 2, 1), "f")),
    "nearest, uneven": (lambda x: F.interpolate(x, size=(N + 1,), mode="nearest"), np.ones((1, 2, 1), "f")),
    "adaptive_max_pool": (lambda x: F.adaptive_max_pool(x, (N,)), np.ones((1, 2, 1), "f")),
    "unfold": (lambda x: F.unfold(x, 400), np.ones((1, 799, 1), "f")),
    "logsumexp": (lambda x: F.logsumexp(x), np.zeros(N, "f")),
    "cdist": (lambda x: F.cdist(jnp.ones((N, 1), x.dtype), x), np.zeros((1, 1), "f")),
    "Scale": (lambda b: px.nn.Scale.of(jnp.ones(1, b.dtype), b)(IMAGES.astype(b.dtype)), ONE),
    "Scale's factor": (lambda s: px.nn.Scale.of(s)(IMAGES.astype(s.dtype)), ONE),
    "a first state": (lambda h: _begun(h, (64, 64), 1, h.dtype), ONE),
    "relative positions": (lambda w: relative(w), np.ones((2, 1), "f")),
}
RARE = ("embedding by batches", "bilinear bias", "dense weight", "nearest, uneven", "unfold", "long windows", "lp_pool")


def relative(weight):
    layer = px.nn.RelativePositionBias(1, buckets=2, bidirectional=False, max_distance=4, key=0)
    layer.weight = weight
    return layer.bias(jnp.arange(64), jnp.arange(64))


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.soak) if n in RARE else n for n in CASES])
def test_gradients_are_those_of_float32_rounded_once(name, dtype):
    f, x = CASES[name]
    found = jax.jit(jax.value_and_grad(lambda x: jnp.sum(f(x), dtype=jnp.float32)))
    want_value, want = found(jnp.asarray(x))
    value, got = found(jnp.asarray(x, dtype))
    assert got.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(got.astype("float32"), want, rtol=eps, atol=1e-6)
    np.testing.assert_allclose(value, want_value, rtol=eps)


def test_the_sum_is_the_one_of_float64():
    """4096 random terms, so that no order of addition is favoured."""
    terms = np.random.default_rng(0).uniform(0.5, 1.5, (N, 1)).astype("float32")
    half = jnp.asarray(terms, "bfloat16")
    got = jax.grad(lambda t: jnp.sum(F.embedding(FEW, t) * half, dtype=jnp.float32))(jnp.ones((2, 1), "bfloat16"))
    want = np.asarray(half, "float64").sum()
    assert abs(float(got[0, 0]) - want) <= want * 2**-8


def test_all_derivatives_of_a_copy():
    table, at = jnp.ones((2, 1), "bfloat16"), jnp.array([1, 0, 1])
    square = lambda t: jnp.sum(F.embedding(at, t).astype("float32") ** 2)  # noqa: E731
    assert np.diagonal(np.asarray(jax.hessian(square)(table), "f").reshape(2, 2)).tolist() == [2, 4]
    _, tangent = jax.jvp(lambda t: F.embedding(at, t), (table,), (jnp.array([[3], [5]], "bfloat16"),))
    assert tangent.dtype == "bfloat16"
    assert tangent.ravel().tolist() == [5, 3, 5]


@pytest.mark.parametrize("layer", ["Embedding", "EmbeddingBag"])
def test_a_frequent_row_of_a_layer(layer):
    model = px.bf16(getattr(px.nn, layer)(4, 2, key=0))
    at = np.zeros((8, 512), int)
    grad = px.grad(lambda m: jnp.sum(m(at), dtype=jnp.float32))(model).weight
    assert grad[0].tolist() == ([4096] * 2 if layer == "Embedding" else [8] * 2)
