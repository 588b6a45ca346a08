"""Positions against the models that introduced them, as `transformers` computes them, and against their theorems."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from phlox import nn
from phlox.nn import functional as F

SIZE, TIME = 16, 40
X = np.random.default_rng(0).normal(size=(2, TIME, 3, SIZE)).astype(np.float32)
SCALINGS = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "yarn-tuned": {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 128, "beta_fast": 20.0,
        "beta_slow": 2.0, "attention_factor": 1.3, "truncate": False,
    },
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
    "longrope": {
        "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64,
        "short_factor": [1.0 + 0.1 * i for i in range(SIZE // 2)], "long_factor": [2.0 + i for i in range(SIZE // 2)],
    },
    "longrope-beyond": {
        "rope_type": "longrope", "original_max_position_embeddings": 24, "attention_factor": 1.3,
        "short_factor": [1.0] * (SIZE // 2), "long_factor": [2.0 + i for i in range(SIZE // 2)],
    },
}  # fmt: skip


def llama_angles(scaling, base=500.0):
    """Cosines and sines of Llama's rotary embedding at positions 0 to TIME, (1, TIME, SIZE)."""
    torch = oracle("torch")
    llama = oracle("transformers.models.llama.modeling_llama")
    config = oracle("transformers").LlamaConfig(
        hidden_size=4 * SIZE, num_attention_heads=4, rope_parameters={"rope_theta": base, **scaling},
        max_position_embeddings=scaling.get("original_max_position_embeddings", 64),
    )  # fmt: skip
    return llama, llama.LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(TIME)[None])


@pytest.mark.parametrize("kind", SCALINGS)
def test_rotary_turns_queries_as_llama_does(kind):
    torch = oracle("torch")
    llama, (cos, sin) = llama_angles(SCALINGS[kind])
    want, _ = llama.apply_rotary_pos_emb(*[torch.tensor(X).transpose(1, 2)] * 2, cos, sin)
    rotary = nn.RotaryEmbedding(SIZE, base=500.0, scaling=SCALINGS[kind])
    got = px.jit(lambda r, x: r(x))(rotary, X)
    # float32 angles of up to 40 radians are known to 40 ulp on both sides
    assert_close(got, to_numpy(want.transpose(1, 2)), scale=5.0)
    if kind not in ("dynamic", "longrope-beyond"):  # whose frequencies are those of the longest position of a call
        assert_close(rotary.rotate(X[:, 7:9], jnp.array([7, 8])), got[:, 7:9], scale=5.0)


def test_longrope_changes_beyond_its_length():
    scaling = SCALINGS["longrope-beyond"]
    plain = 500.0 ** (-np.arange(0, SIZE, 2) / SIZE)
    for length, name in ((None, "short_factor"), (24, "short_factor"), (25, "long_factor")):
        found, gain = F.rotary_frequencies(SIZE, base=500.0, scaling=scaling, length=length)
        np.testing.assert_allclose(found, plain / np.array(scaling[name]), rtol=1e-6)
        assert gain == 1.3


def test_interleaved_rotary_is_a_product_of_complex_numbers():
    frequencies, gain = F.rotary_frequencies(6, base=100.0)
    assert gain == 1.0
    assert_close(frequencies, 100.0 ** (-np.arange(3) / 3).astype(np.float32))
    positions = np.array([[0, 3, 5], [9, 2, 2]])
    x = X[:, :3, :, :8]
    cos, sin = F.rotary_angles(positions, frequencies)
    got = np.asarray(F.apply_rotary(x, cos, sin, interleaved=True))
    turned = (x[..., 0:6:2] + 1j * x[..., 1:6:2]) * np.exp(1j * positions[..., None, None] * np.asarray(frequencies))
    np.testing.assert_allclose(got[..., 0:6:2], turned.real, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(got[..., 1:6:2], turned.imag, rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(got[..., 6:], x[..., 6:])
    halves = np.concatenate([x[..., 0:6:2], x[..., 1:6:2]], -1)
    other = np.asarray(F.apply_rotary(halves, cos, sin))
    np.testing.assert_allclose(other, np.concatenate([got[..., 0:6:2], got[..., 1:6:2]], -1), rtol=1e-6)


def test_rotated_products_depend_on_distance_alone():
    rotary = nn.RotaryEmbedding(SIZE, base=100.0)
    q, k = jnp.asarray(X[:1, :1]), jnp.asarray(X[1:, :1])
    product = lambda i, j: jnp.sum(rotary.rotate(q, jnp.array([i])) * rotary.rotate(k, jnp.array([j])), -1)  # noqa: E731
    assert_close(product(12, 7), product(5, 0), scale=5.0)
    assert np.abs(np.asarray(product(12, 7) - product(12, 8))).min() > 1e-3


def test_alibi_is_blooms():
    torch = oracle("torch")
    bloom = oracle("transformers.models.bloom.modeling_bloom")
    for heads in (1, 4, 6, 8, 12):
        mask = torch.ones(1, 5)
        theirs = to_numpy(bloom.build_alibi_tensor(mask, heads, torch.float32)).reshape(heads, 1, 5)
        ours = F.alibi_bias(F.alibi_slopes(heads), jnp.arange(4, 5), jnp.arange(5))
        assert_close(ours - ours[..., :1], theirs - theirs[..., :1])  # equal up to what softmax does not see
    both = nn.ALiBi(2).bias(jnp.array([[0, 1], [3, 4]]), jnp.arange(3))
    assert_close(both[1, 0, 0], -0.0625 * np.array([3.0, 2.0, 1.0], np.float32))


def test_alibi_attention_is_mpts():
    torch = oracle("torch")
    mpt = oracle("transformers.models.mpt.modeling_mpt")
    config = oracle("transformers").MptConfig(d_model=16, n_heads=4, max_seq_len=6, n_layers=1)
    theirs = mpt.MptAttention(config).eval()
    layer = nn.MultiHeadAttention(16, 4, causal=True, bias=False, positions=nn.ALiBi(4), key=0)
    weights = [np.asarray(p.weight).T for p in (layer.q_proj, layer.k_proj, layer.v_proj)]
    with torch.no_grad():
        theirs.Wqkv.weight.copy_(torch.tensor(np.concatenate(weights)))
        theirs.out_proj.weight.copy_(torch.tensor(np.asarray(layer.out_proj.weight)).T)
    x = np.random.default_rng(1).normal(size=(2, 6, 16)).astype(np.float32)
    hidden = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)[None, None]
    bias = mpt.build_mpt_alibi_tensor(4, 6)
    assert_close(layer(x), to_numpy(theirs(torch.tensor(x), bias, attention_mask=hidden)[0]))


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_buckets_are_t5s(bidirectional):
    torch = oracle("torch")
    t5 = oracle("transformers.models.t5.modeling_t5").T5Attention
    apart = np.arange(-300, 301)
    for buckets, distance in ((32, 128), (8, 20)):
        want = t5._relative_position_bucket(torch.tensor(apart), bidirectional, buckets, distance)
        got = F.relative_buckets(apart, buckets=buckets, max_distance=distance, bidirectional=bidirectional)
        np.testing.assert_array_equal(got, to_numpy(want))


def test_relative_bias_is_t5s_in_value_and_gradient():
    torch = oracle("torch")
    modeling = oracle("transformers.models.t5.modeling_t5")
    config = oracle("transformers").T5Config(
        d_model=16, d_kv=4, num_heads=4, relative_attention_num_buckets=8, relative_attention_max_distance=20
    )
    theirs = modeling.T5Attention(config, has_relative_attention_bias=True).eval()
    relative = nn.RelativePositionBias(4, buckets=8, max_distance=20, key=3)
    layer = nn.MultiHeadAttention(16, 4, bias=False, scale=1.0, positions=relative, key=0)
    with torch.no_grad():
        for ours, name in ((layer.q_proj, "q"), (layer.k_proj, "k"), (layer.v_proj, "v"), (layer.out_proj, "o")):
            getattr(theirs, name).weight.copy_(torch.tensor(np.asarray(ours.weight)).T)
        theirs.relative_attention_bias.weight.copy_(torch.tensor(np.asarray(relative.weight)))
    x = np.random.default_rng(1).normal(size=(2, 12, 16)).astype(np.float32)
    want = theirs(torch.tensor(x))[0]
    (want**2).sum().backward()
    for chunk in (None, 5):
        layer.chunk = chunk
        y, grads = px.jit(lambda m, x: (m(x), px.grad(lambda m: jnp.sum(m(x) ** 2))(m)))(layer, x)
        assert_close(y, to_numpy(want))
        theirs_grad = to_numpy(theirs.relative_attention_bias.weight.grad)
        assert_close(grads.positions.weight, theirs_grad, kind="grad")


def test_sinusoidal_positions_are_the_papers_and_barts():
    torch = oracle("torch")
    p, i = np.arange(50)[:, None], np.arange(4)
    angle = p / 10000.0 ** (2 * i / 8)
    want = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(50, 8)
    layer = nn.SinusoidalEmbedding(8)
    x = np.ones((2, 50, 8), np.float32)
    np.testing.assert_allclose(layer(x), 1 + np.broadcast_to(want, x.shape), rtol=1e-5, atol=4e-6)
    np.testing.assert_allclose(layer(x[:, :1], offset=jnp.array([7, 9]))[:, 0], 1 + want[[7, 9]], rtol=1e-5, atol=4e-6)
    marian = oracle("transformers.models.marian.modeling_marian").MarianSinusoidalPositionalEmbedding(50, 8)
    table = marian.create_weight() if hasattr(marian, "create_weight") else None
    theirs = to_numpy(marian.weight if table is None else torch.as_tensor(table))
    ours = F.sinusoidal_positions(jnp.arange(50), 8, interleaved=False)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=4e-6)  # float32 angles of up to 50 radians


def test_learned_positions_are_rows_of_the_table():
    layer = nn.PositionEmbedding(6, 4, key=0)
    x = np.zeros((2, 3, 4), np.float32)
    table = np.asarray(layer.weight)
    np.testing.assert_array_equal(layer(x)[1], table[:3])
    np.testing.assert_array_equal(layer(x[:, :2], offset=jnp.array([1, 4])), [table[1:3], table[4:6]])
    grads = px.grad(lambda m: jnp.sum(m(x, offset=2)))(layer)
    np.testing.assert_array_equal(np.asarray(grads.weight).sum(1), [0, 0, 8, 8, 8, 0])
    late = px.jit(lambda m, x, at: m(x, offset=at))(layer, x, jnp.array(4))
    assert np.isnan(late[:, 2]).all()
    assert np.isfinite(late[:, :2]).all()
    np.testing.assert_allclose(np.asarray(nn.PositionEmbedding(500, 64, key=0).weight).std(), 0.02, rtol=0.03)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: nn.RotaryEmbedding(5), "RotaryEmbedding expects an even size of at least 2, got 5"),
        (lambda: nn.RotaryEmbedding(4, scaling={"rope_type": "spiral"}), "rope_type to be one of default, linear, "),
        (lambda: nn.RotaryEmbedding(4, scaling={"rope_type": "linear"}), "scaling 'linear' with factor, got no factor"),
        (lambda: nn.RotaryEmbedding(4, scaling={"rope_type": "linear", "factor": 2, "x": 1}), "with factor, got x"),
        (lambda: nn.RotaryEmbedding(8, scaling=SCALINGS["longrope"]), "short_factor: 4 numbers above 0, got [1.0, 1.1"),
        (
            lambda: nn.RotaryEmbedding(SIZE, scaling=SCALINGS["longrope"] | {"original_max_position_embeddings": 1}),
            "original_max_position_embeddings above 1, got 1",
        ),
        (lambda: nn.RotaryEmbedding(4)(X[0]), "expects (batch, time, heads, 4 or more), got float32[40, 3, 16]"),
        (lambda: F.apply_rotary(X, X[0, :3], X[0, :3]), "cos and sin of shape (40, pairs) or (2, 40, pairs)"),
        (lambda: nn.RelativePositionBias(4, buckets=2), "2 buckets or more in each direction, and max_distance beyond"),
        (lambda: nn.PositionEmbedding(3, 4)(jnp.ones((1, 4, 4))), "(3, 4) expects at most 3 positions"),
        (lambda: nn.SinusoidalEmbedding(16)(X[0, 0]), "expects (batch, time, 16), got float32[3, 16]\n  fix: add"),
        (lambda: nn.ALiBi(0), "ALiBi expects heads to be a whole number of at least 1, got 0"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_by_name(build, text):
    with pytest.raises((px.RangeError, px.ShapeError), match=re.escape(text)) as caught:
        build()
    assert "\n  fix: " in str(caught.value)


def test_frequencies_follow_the_default_float():
    with jax.enable_x64(True):
        frequencies, _ = F.rotary_frequencies(64)
        np.testing.assert_allclose(frequencies, 10000.0 ** (-np.arange(32) / 32), rtol=1e-15)
    assert F.rotary_frequencies(64)[0].dtype == jnp.float32
