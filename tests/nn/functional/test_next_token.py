"""Drawing the next token: what is kept by NumPy's sums in float64, and how often each is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close

F = px.nn.functional
LOGITS = np.random.default_rng(0).normal(size=(6, 11)).astype(np.float32) * 3


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def top_k(x, k):
    return x >= np.sort(x, -1)[..., -min(k, x.shape[-1]), None]


def top_p(x, p):
    """transformers' TopPLogitsWarper: ascending, what sums to no more than 1 - p goes, but for the last."""
    order = np.argsort(x, -1, kind="stable")
    gone = np.cumsum(softmax(np.take_along_axis(x, order, -1)), -1) <= 1 - p
    gone[..., -1] = False
    kept = np.empty_like(gone)
    np.put_along_axis(kept, order, ~gone, -1)
    return kept


def min_p(x, p):
    """transformers' MinPLogitsWarper: what is less likely than p times the likeliest goes."""
    probabilities = softmax(x)
    return probabilities >= p * probabilities.max(-1, keepdims=True)


CASES = [
    *[(F.keep_top_k, top_k, k) for k in (1, 4, 11, 50)],
    *[(F.keep_top_p, top_p, p) for p in (0.0, 0.3, 0.7, 0.95, 0.999)],
    *[(F.keep_min_p, min_p, p) for p in (0.0, 0.02, 0.3, 0.9)],
]


@pytest.mark.parametrize(("ours", "theirs", "number"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_kept(ours, theirs, number, dtype):
    x = jnp.asarray(LOGITS, dtype)
    y = jax.jit(lambda x: ours(x, number))(x)
    want = np.where(theirs(np.asarray(x, np.float64), number), np.asarray(x, np.float32), -np.inf)
    assert y.dtype == dtype
    np.testing.assert_array_equal(np.asarray(y, np.float32), want)
    np.testing.assert_array_equal(y, ours(x, number))


def test_a_traced_share_and_leading_axes():
    x = jnp.asarray(LOGITS).reshape(2, 3, 11)
    for keep, theirs in ((F.keep_top_p, top_p), (F.keep_min_p, min_p)):
        got = jax.jit(keep)(x, jnp.asarray(0.6))
        np.testing.assert_array_equal(np.isfinite(got), theirs(np.asarray(x, np.float64), 0.6))


def test_ties_and_masked_tokens():
    tied = jnp.array([1.0, 2.0, 2.0, 0.0])
    assert F.keep_top_k(tied, 1).tolist() == [-np.inf, 2.0, 2.0, -np.inf]  # all that equal the k-th
    assert F.keep_top_p(tied, 1e-6).tolist() == [-np.inf, -np.inf, 2.0, -np.inf]
    assert F.keep_top_p(tied, 1.0).tolist() == tied.tolist()
    far = jnp.array([0.0, -200.0, -np.inf])  # too unlikely for float32: p of 1 keeps it all the same
    assert F.keep_top_p(far, 1.0).tolist() == F.keep_min_p(far, 0.0).tolist() == far.tolist()
    for cut in (F.keep_top_k(far, 3), F.keep_top_p(far, 0.9), F.keep_min_p(far, 0.5)):
        assert not np.isnan(cut).any()
        assert cut[0] == 0.0


DRAWS = 20_000


@pytest.mark.parametrize(
    ("sample", "theirs", "number"),
    [(F.sample_top_k, top_k, 3), (F.sample_top_p, top_p, 0.8), (F.sample_min_p, min_p, 0.3)],
)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_tokens_are_drawn_by_what_is_left(sample, theirs, number, temperature):
    row = np.array([0.1, 1.0, -2.0, 1.7, 0.8, -0.5])
    draw = jax.jit(lambda x, key: sample(x, number, key=key, temperature=temperature))
    drawn = draw(jnp.broadcast_to(jnp.asarray(row, jnp.float32), (DRAWS, 6)), jax.random.key(1))
    assert drawn.dtype == jnp.int32
    assert drawn.shape == (DRAWS,)
    warm = row / temperature
    want = softmax(np.where(theirs(warm, number), warm, -np.inf))
    found = np.bincount(drawn, minlength=6) / DRAWS
    assert (found[want == 0] == 0).all()
    assert (want == 0).any()
    sigma = np.sqrt(want * (1 - want) / DRAWS)
    assert (np.abs(found - want) <= 5 * sigma).all(), (found, want)


def test_temperature_zero_takes_the_largest_also_traced():
    x, key = jnp.asarray(LOGITS), jax.random.key(0)
    for sample, number in ((F.sample_top_k, 5), (F.sample_top_p, 0.9), (F.sample_min_p, 0.1)):
        greedy = sample(x, number, key=key, temperature=0.0)
        np.testing.assert_array_equal(greedy, LOGITS.argmax(-1))
        traced = jax.jit(lambda t, sample=sample, number=number: sample(x, number, key=key, temperature=t))
        np.testing.assert_array_equal(traced(0.0), greedy)


@pytest.mark.parametrize(
    ("do", "error", "text"),
    [
        (lambda x: F.keep_top_k(x, 0), px.RangeError, "keep_top_k expects k as a whole number of at least 1, got 0"),
        (lambda x: F.keep_top_k(x, 0.5), px.RangeError, "got 0.5"),
        (lambda x: F.keep_top_p(x, 1.5), px.RangeError, r"keep_top_p expects 0 <= p <= 1, got p=1.5"),
        (lambda x: F.keep_min_p(x, -0.1), px.RangeError, r"keep_min_p expects 0 <= p <= 1"),
        (lambda x: F.sample_top_p(x, 0.5, key=jax.random.key(0), temperature=-1.0), px.RangeError, "temperature >= 0"),
        (lambda x: F.sample_top_k(x, 3), px.OptionError, r"sample_top_k expects arguments .*got no key"),
        (lambda x: F.keep_top_k(x[0, 0], 1), px.ShapeError, r"keep_top_k expects \(\.\.\., tokens\)"),
    ],
)
def test_refusals(do, error, text):
    with pytest.raises(error, match=text):
        do(jnp.asarray(LOGITS))


# --- softmax over segments -----------------------------------------------------------------------------------

SEGMENTS = np.array([3, 0, 0, 1, 3, 0, 1])  # segment 2 is empty


@pytest.mark.parametrize("rest", [(), (2,)])
def test_segment_softmax_is_softmax_of_every_segment(rest):
    rng = np.random.default_rng(1)
    x, w = (rng.normal(size=(7, *rest)).astype(np.float32) * 4 for _ in range(2))
    y, grad = np.empty_like(x), np.empty_like(x)
    for s in range(4):
        at = s == SEGMENTS
        if at.any():
            y[at] = softmax(np.moveaxis(x[at].astype(np.float64), 0, -1)).T
            grad[at] = y[at] * (w[at] - (y[at] * w[at]).sum(0))
    call = lambda x: F.segment_softmax(x, SEGMENTS, 4)  # noqa: E731
    assert_close(jax.jit(call)(x), y)
    assert_close(jax.grad(lambda x: jnp.sum(call(x) * w))(jnp.asarray(x)), grad, kind="grad")


def test_segment_softmax_at_its_ends():
    inf = np.inf
    x = jnp.array([-inf, -inf, 0.0, -inf, 1000.0, 999.0, inf, 0.0])
    segments = jnp.array([0, 0, 1, 1, 2, 2, 3, 3])
    soft = jax.jit(F.segment_softmax, static_argnums=2)
    y = soft(x, segments, 5)
    assert y[:4].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert_close(y[4:6], softmax(np.array([1.0, 0.0])).astype(np.float32))
    assert np.isnan(y[6:]).all()  # as PyTorch's of an infinity
    grad = jax.jit(jax.grad(lambda x: soft(x, segments[:6], 5)[::2].sum()))(x[:6])
    assert np.isfinite(grad).all()
    assert grad[:4].tolist() == [0.0] * 4
    assert soft(jnp.ones(3), jnp.array([0, 5, 0]), 1).tolist() == [0.5, 0.0, 0.5]
    assert soft(jnp.zeros((0, 2)), jnp.zeros(0, int), 3).shape == (0, 2)
    assert soft(jnp.ones(2, "bfloat16"), jnp.array([0, 0]), 1).dtype == "bfloat16"
