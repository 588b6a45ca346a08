"""Attention as a function, against PyTorch: masks, lengths, windows, shared heads, chunks, dropout."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import TOLERANCE, assert_close, oracle, to_numpy
from phlox.nn import functional as F
from phlox.nn.functional.attention import _attention
from phlox.nn.functional.attention._checks import window_of
from phlox.nn.functional.attention._cudnn import cudnn_attention, cudnn_refusal
from phlox.nn.functional.kernels._kernels import reference_forms

BATCH, QUERIES, KEYS, HEADS, SIZE = 2, 6, 8, 4, 8
RNG = np.random.default_rng(0)
MASK = RNG.random((BATCH, HEADS, QUERIES, KEYS)) < 0.7
MASK[..., 0] = True
BIAS = RNG.normal(size=(1, HEADS, QUERIES, KEYS)).astype(np.float32)
ADDED = np.where(MASK, BIAS, -np.inf)


def tensors(shared=HEADS, queries=QUERIES, keys=KEYS, value_size=SIZE, seed=1):
    rng = np.random.default_rng(seed)
    shapes = [(BATCH, queries, HEADS, SIZE), (BATCH, keys, shared, SIZE), (BATCH, keys, shared, value_size)]
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def theirs(q, k, v, attn_mask=None, **options):
    """PyTorch's function with its own layout, (batch, heads, time, size)."""
    torch = oracle("torch")
    if attn_mask is not None:
        attn_mask = torch.tensor(attn_mask)
    heads_first = [x.transpose(1, 2) for x in (q, k, v)]
    gqa = q.shape[2] != k.shape[2]
    y = torch.nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=attn_mask, enable_gqa=gqa, **options)
    return y.transpose(1, 2)


def formula(q, k, v, *, soft_cap=None, hidden=None, bias=0.0):
    """The definition on torch tensors, for what PyTorch's function does not take."""
    torch = oracle("torch")
    scores = torch.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
    scores = scores if soft_cap is None else soft_cap * torch.tanh(scores / soft_cap)
    scores = scores + torch.as_tensor(bias)
    if hidden is not None:
        scores = scores.masked_fill(torch.tensor(hidden), -torch.inf)
    return torch.einsum("bhts,bshd->bthd", torch.softmax(scores, -1), v)


def window_mask(left, right):
    apart = np.arange(KEYS) - np.arange(QUERIES)[:, None]
    return (apart >= -left) & (apart <= right)


KV_LENGTHS = np.array([5, 3])
IN_LENGTH = (np.arange(KEYS) < KV_LENGTHS[:, None])[:, None, None]

# name: (heads of keys, value size, our options, theirs)
CASES = {
    "plain": (HEADS, 5, {}, theirs),
    "causal": (HEADS, SIZE, {"causal": True}, lambda q, k, v: theirs(q, k, v, is_causal=True)),
    "boolean mask": (HEADS, SIZE, {"mask": MASK}, lambda q, k, v: theirs(q, k, v, MASK)),
    "additive mask": (
        HEADS, SIZE, {"mask": ADDED}, lambda q, k, v: theirs(q, k, v, ADDED),
    ),
    "bias and scale": (
        HEADS, SIZE, {"bias": BIAS[:, :, :1], "scale": 0.3},
        lambda q, k, v: theirs(q, k, v, np.broadcast_to(BIAS[:, :, :1], BIAS.shape).copy(), scale=0.3),
    ),
    "grouped queries": (2, SIZE, {"mask": MASK, "bias": BIAS}, lambda q, k, v: theirs(q, k, v, ADDED)),
    "multi-query": (1, 3, {"causal": True}, lambda q, k, v: theirs(q, k, v, is_causal=True)),
    "lengths of keys": (HEADS, SIZE, {"kv_lengths": KV_LENGTHS}, lambda q, k, v: theirs(q, k, v, IN_LENGTH)),
    "window": (HEADS, SIZE, {"window": (2, 1)}, lambda q, k, v: theirs(q, k, v, window_mask(2, 1))),
    "causal window": (2, SIZE, {"causal": True, "window": 2}, lambda q, k, v: theirs(q, k, v, window_mask(2, 0))),
    "soft cap": (
        HEADS, SIZE, {"soft_cap": 0.7, "mask": MASK, "bias": BIAS},
        lambda q, k, v: formula(q, k, v, soft_cap=0.7, hidden=~MASK, bias=BIAS),
    ),
    "offset": (
        HEADS, SIZE, {"offset": np.array([2, 1]), "causal": True},
        lambda q, k, v: theirs(
            q, k, v, (np.arange(KEYS) <= np.arange(QUERIES)[:, None] + np.array([2, 1])[:, None, None])[:, None]
        ),
    ),
    "bias as a function": (
        HEADS, SIZE, {"bias": lambda at, to: jnp.cos(at[:, None] * 1.0 + 2 * to)[None]},
        lambda q, k, v: theirs(
            q, k, v, np.cos(np.arange(QUERIES)[:, None] + 2.0 * np.arange(KEYS)).astype(np.float32)
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_pytorchs_whole_and_in_chunks(name):
    torch = oracle("torch")
    shared, value_size, options, twin = CASES[name]
    arrays = tensors(shared, value_size=value_size)
    w = np.random.default_rng(9).normal(size=(BATCH, QUERIES, HEADS, value_size)).astype(np.float32)

    @jax.jit
    def ours(q, k, v):
        found = []
        for chunk in (None, 4):  # 6 queries: the second chunk is half empty
            f = lambda q, k, v: F.dot_product_attention(q, k, v, chunk=chunk, **options)  # noqa: B023, E731
            grads = jax.grad(lambda *a: jnp.sum(f(*a) * w), (0, 1, 2))(q, k, v)  # noqa: B023
            found.append((f(q, k, v), grads))
        return found

    inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
    want = twin(*inputs)
    (want * torch.tensor(w)).sum().backward()
    for y, grads in ours(*arrays):
        assert_close(y, to_numpy(want), what="value")
        for got, x, what in zip(grads, inputs, "qkv", strict=True):
            assert_close(got, to_numpy(x.grad), kind="grad", what=what)


def test_float64_is_computed_in_float64_and_halves_sum_in_float32():
    torch = oracle("torch")
    q, k, v = tensors(2)
    with jax.enable_x64(True):
        wide = [np.asarray(x, np.float64) for x in (q, k, v)]
        y = F.dot_product_attention(*wide, causal=True)
        assert_close(y, to_numpy(theirs(*map(torch.tensor, wide), is_causal=True)))
        assert y.dtype == jnp.float64
    # 4096 equal weights: a sum in half precision stops growing long before
    for dtype in ("bfloat16", "float16"):
        ones = jnp.ones((1, 4096, 1, 8), dtype)
        many = jax.jit(lambda q, k, v: F.dot_product_attention(q, k, v))(ones[:, :1], ones, ones)
        assert many.dtype == dtype
        np.testing.assert_allclose(np.asarray(many, np.float32), 1.0, rtol=TOLERANCE[dtype]["value"][0])
        # scores of 1024.25 and 1024, which half precision cannot tell apart
        close = jnp.asarray([[1024, 0.25], [1024, 0]], dtype).reshape(1, 2, 1, 2)
        one = F.dot_product_attention(
            ones[:, :1, :, :2], close, jnp.asarray([1, 0], dtype).reshape(1, 2, 1, 1), scale=1.0
        )
        assert_close(one.ravel(), [1 / (1 + np.exp(-0.25))])
        low = [jnp.asarray(x, dtype) for x in (q, k, v)]
        want = F.dot_product_attention(*[x.astype(jnp.float32) for x in low], mask=MASK)
        assert_close(F.dot_product_attention(*low, mask=MASK), want)


def test_weights_are_the_probabilities_that_were_used():
    torch = oracle("torch")
    q, k, v = tensors(2)
    y, weights = F.dot_product_attention(q, k, v, mask=MASK, return_weights=True)
    scores = torch.einsum("bthd,bshd->bhts", torch.tensor(q), torch.tensor(k).repeat_interleave(2, 2)) / SIZE**0.5
    want = torch.softmax(scores.masked_fill(~torch.tensor(MASK), -torch.inf), -1)
    assert_close(weights, to_numpy(want))
    assert_close(jnp.einsum("bhts,bshd->bthd", weights, np.repeat(v, 2, 2)), y)


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_query_that_sees_nothing_gets_zeros_and_no_gradient(chunk):
    q, k, v = tensors()
    mask = MASK.copy()
    mask[0, 1, 2] = False
    ways = {
        "boolean": {"mask": mask},
        "additive": {"mask": np.where(mask, 0.0, -np.inf).astype(np.float32)},
        "empty": {"kv_lengths": np.array([0, 5])},
        "window": {"window": (1, 0), "kv_lengths": np.array([3, 8])},
        "lengths": {"lengths": np.array([2, 6])},
    }
    blind = {"boolean": [(0, 2, 1)], "additive": [(0, 2, 1)], "empty": [(0,)], "window": [(0, slice(4, 6))]}
    blind["lengths"] = [(0, slice(2, 6))]

    @jax.jit
    def everything(q, k, v):
        found = {}
        for name, options in ways.items():
            f = lambda q, k, v: F.dot_product_attention(q, k, v, chunk=chunk, **options)  # noqa: B023, E731
            grads = jax.grad(lambda *a: jnp.sum(jnp.sin(f(*a))), (0, 1, 2))(q, k, v)  # noqa: B023
            found[name] = f(q, k, v), grads
        return found

    for name, (y, grads) in everything(q, k, v).items():
        for x in (y, *grads):
            assert np.isfinite(x).all(), name
        for at in blind[name]:
            assert not np.asarray(y)[at].any(), name
            assert not np.asarray(grads[0])[at].any(), name
        assert np.asarray(y)[1].any(), name


def test_what_is_hidden_never_changes_the_rest():
    """Keys behind the length, masked keys and later keys may hold anything: same values, and no gradient to them."""
    q, k, v = tensors(2)
    hidden = {"kv_lengths": (slice(None), slice(5, None)), "mask": (slice(None), slice(3, 4))}
    mask = np.ones((1, 1, 1, KEYS), bool)
    mask[..., 3] = False

    @jax.jit
    def both(q, k, v):
        return {
            "kv_lengths": jax.value_and_grad(lambda *a: loss(*a, kv_lengths=jnp.array([5, 5])), (0, 1, 2))(q, k, v),
            "mask": jax.value_and_grad(lambda *a: loss(*a, mask=mask), (0, 1, 2))(q, k, v),
            "chunked": jax.value_and_grad(lambda *a: loss(*a, mask=mask, chunk=4), (0, 1, 2))(q, k, v),
        }

    def loss(q, k, v, **options):
        return jnp.sum(jnp.sin(F.dot_product_attention(q, k, v, **options)))

    before = both(q, k, v)
    for name, at in (hidden | {"chunked": hidden["mask"]}).items():
        other_k, other_v = k.copy(), v.copy()
        other_k[at], other_v[at] = (np.nan, np.nan) if name == "kv_lengths" else (1e3, -1e4)
        after = both(q, other_k, other_v)[name]
        jax.tree.map(np.testing.assert_array_equal, after, before[name])
        assert not np.asarray(after[1][1])[at].any()
        assert not np.asarray(after[1][2])[at].any()


def test_causal_values_depend_on_the_past_alone():
    q, k, v = tensors(keys=QUERIES)
    slopes = jax.jit(jax.jacobian(lambda v: F.dot_product_attention(q, k, v, causal=True)[0].sum((1, 2))))(v)
    flows = np.abs(np.asarray(slopes)[:, 0]).sum((2, 3)) > 0  # (queries, keys)
    np.testing.assert_array_equal(flows, np.tril(np.ones((QUERIES, QUERIES), bool)))
    np.testing.assert_array_equal(F.causal_mask(QUERIES), np.tril(np.ones((QUERIES, QUERIES), bool)))
    want = np.tril(np.ones((3, 7), bool), 4) & np.triu(np.ones((3, 7), bool), 2)
    np.testing.assert_array_equal(F.causal_mask(3, 7, offset=4, window=2), want)


def test_any_chunk_gives_the_same_and_all_derivatives_pass():
    q, k, v = tensors()
    key = jax.random.key(3)

    @jax.jit
    def outputs(q, k, v):
        f = lambda chunk: F.dot_product_attention(  # noqa: E731
            q, k, v, causal=True, mask=MASK, bias=BIAS, dropout=0.4, key=key, chunk=chunk, lengths=jnp.array([4, 6])
        )
        g = lambda chunk: lambda q: jnp.sum(F.dot_product_attention(q, k, v, chunk=chunk) ** 2)  # noqa: E731
        forward = [jax.jvp(jax.grad(g(c)), (q,), (jnp.cos(q),))[1] for c in (None, 4)]  # a Hessian times a vector
        return [f(c) for c in (None, 1, 3, 4, 6, 100)], forward

    (whole, *others), (want, got) = outputs(q, k, v)
    for y in others:
        assert_close(y, whole)
    assert_close(got, want, kind="grad", scale=5.0)  # second derivatives of order 10


def test_memory_is_linear_in_length_by_chunks_also_for_gradients():
    def bytes_at(length, chunk):
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        loss = lambda q, k, v: jnp.sum(F.dot_product_attention(q, k, v, causal=True, chunk=chunk))  # noqa: E731
        with reference_forms():
            compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_at(2048, 64) < 2.3 * bytes_at(1024, 64)
    assert bytes_at(2048, None) > 3.5 * bytes_at(1024, None)
    assert bytes_at(2048, 64) < bytes_at(2048, None) / 8


def test_large_scores_go_by_chunks_on_their_own(monkeypatch):
    q, k, v = tensors()
    seen = []
    real = _attention._by_chunks
    monkeypatch.setattr(_attention, "_by_chunks", lambda *a: seen.append(a[-1]) or real(*a))
    with reference_forms():
        small = F.dot_product_attention(q, k, v)
        assert seen == []
        monkeypatch.setattr(_attention, "WHOLE", 100)
        assert_close(F.dot_product_attention(q, k, v), small)
    assert seen == [16]


def test_dropout_keeps_the_mean_and_zeroes_a_share():
    p, n = 0.3, 4000
    q = jnp.zeros((1, n, 1, 2))
    k, v = jnp.zeros((1, 5, 1, 2)), jnp.ones((1, 5, 1, 1))
    draw = jax.jit(lambda key: F.dot_product_attention(q, k, v, dropout=p, key=key, return_weights=True))
    y, weights = draw(jax.random.key(0))
    zero = np.asarray(weights) == 0
    error = np.sqrt(p * (1 - p) / zero.size)  # of a rate over this many draws
    assert abs(zero.mean() - p) < 5 * error
    np.testing.assert_allclose(np.asarray(weights)[~zero], 0.2 / (1 - p), rtol=1e-6)
    assert abs(float(y.mean()) - 1.0) < 5 * error / (1 - p)
    assert np.abs(np.corrcoef(zero[0, 0].T) - np.eye(5)).max() < 5 / np.sqrt(n), "keys draw independently"
    assert not np.array_equal(draw(jax.random.key(1))[1], weights)


def test_cudnn_is_asked_for_the_same():
    """The arguments of the kernel, given to JAX's other implementation of the same call."""
    q, k, v = tensors(2)
    mask = MASK.copy()
    mask[0, 1, 2] = False
    cases = [
        {"mask": mask, "bias": BIAS},
        {"mask": np.where(mask, BIAS, -np.inf).astype(np.float32)},
        {"causal": True, "window": 2, "scale": 0.2},
        {"causal": True, "kv_lengths": np.array([4, 8]), "lengths": np.array([6, 2])},
        {"window": (1, 0), "causal": True, "kv_lengths": np.array([2, 0])},
    ]
    for options in cases:
        y = F.dot_product_attention(q, k, v, **options)
        names = {n: options.get(n) for n in ("mask", "bias", "lengths", "kv_lengths")}
        arrays = [jnp.asarray(x) for x in (q, k, v)]
        given = _attention.given_of(arrays[0], arrays[1], *names.values(), 0, None)
        rule = _attention.Options(
            options.get("causal", False), window_of("", options.get("window")),
            options.get("scale", SIZE**-0.5), None, 0.0,
        )  # fmt: skip
        seen = _attention._seen(jnp.arange(QUERIES), KEYS, given, rule)
        assert_close(cudnn_attention(*arrays, given, rule, seen, implementation="xla"), y)


def test_cudnn_serves_only_what_it_can(monkeypatch):
    from phlox.nn.functional.attention import _cudnn as _attention_cudnn

    monkeypatch.setattr(_attention_cudnn, "_ampere", lambda: True)
    half = [jnp.asarray(x, jnp.bfloat16) for x in tensors()]

    def refusal(arrays=half, **options):
        given = _attention.given_of(
            *arrays[:2], options.get("mask"), options.get("bias"), None, None, options.get("offset", 0), None
        )
        rule = _attention.Options(
            options.get("causal", False), options.get("window", (None, None)), 1.0, options.get("cap"), 0.0
        )
        return cudnn_refusal(*arrays, given, rule)  # fmt: skip

    assert refusal() is None
    assert refusal(causal=True, window=(2, None), mask=MASK) is None
    assert refusal([jnp.asarray(x) for x in tensors()]) == ("float16 or bfloat16", "float32")
    for options in ({"cap": 1.0}, {"offset": 1}, {"window": (2, 2)}, {"bias": lambda a, b: a}):
        assert refusal(**options) is not None


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"k": np.ones((2, 8, 3, 8))}, px.ShapeError, "v of shape (2, 8, 3, size), got float32[2, 8, 4, 8]"),
        ({"q": np.ones((2, 6, 32))}, px.ShapeError, "q of shape (batch, time, heads, size), got float32[2, 6, 32]"),
        ({"q": np.ones((2, 6, 4, 5))}, px.ShapeError, "q of shape (2, time, heads, 8), got float32[2, 6, 4, 5]"),
        ({"q": np.ones((2, 6, 6, 8))}, px.ShapeError, "heads of q divisible by the 4 of k, got float32[2, 6, 6, 8]"),
        ({"mask": np.ones((2, 8), bool)}, px.ShapeError, "mask of shape (6, 8) or (2, 4, 6, 8), where any may be 1"),
        ({"mask": np.ones((2, 6, 8), bool)}, px.ShapeError, "give it four axes: mask[:, None] if it has a batch axis"),
        ({"kv_lengths": np.ones(3, int)}, px.ShapeError, "kv_lengths of shape (2,), integers, got int"),
        ({"offset": 1.5}, px.ShapeError, "offset () or (2,), integers, got"),
        ({"dropout": 0.5}, px.RangeError, "a random key for dropout, got dropout=0.5 and no key"),
        ({"dropout": 2.0}, px.RangeError, "0 <= dropout <= 1, got dropout=2.0"),
        ({"soft_cap": 0.0}, px.RangeError, "soft_cap > 0, got soft_cap=0.0"),
        ({"chunk": 0}, px.RangeError, "chunk of at least 1 query, got 0"),
        ({"window": -1}, px.RangeError, "window of 0 or more positions to either side, got -1"),
        ({"window": (1, 2, 3)}, px.RangeError, "got (1, 2, 3)"),
        ({"implementation": "flash"}, px.RangeError, "\"xla\", \"chunked\", \"cudnn\" or None, got 'flash'"),
        ({"implementation": "cudnn"}, px.RangeError, 'NVIDIA GPU of compute capability 8.0 or more for implementation'),
        ({"implementation": "xla", "chunk": 2}, px.RangeError, 'no chunk with implementation "xla", got chunk=2'),
        ({"return_weights": True, "chunk": 2}, px.RangeError, "where weights are returned, got implementation=None"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(change, error, text):
    arguments = dict(zip("qkv", tensors(), strict=True)) | change
    arguments = {n: np.asarray(x, np.float32) if n in "qkv" else x for n, x in arguments.items()}
    with pytest.raises(error, match=re.escape(text)) as caught:
        F.dot_product_attention(**arguments)
    assert str(caught.value).startswith("dot_product_attention expects ")
    assert "\n  fix: " in str(caught.value)
