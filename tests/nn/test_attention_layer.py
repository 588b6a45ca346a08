"""MultiHeadAttention against PyTorch's, layer against layer; its cache, its options, its mistakes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from phlox import nn

DIM, HEADS, BATCH, TIME, KEYS = 12, 4, 2, 5, 7
RNG = np.random.default_rng(0)
X, MEMORY, VALUES = (RNG.normal(size=s).astype(np.float32) for s in [(2, 5, 12), (2, 7, 6), (2, 7, 9)])
PADDED = np.arange(KEYS) >= np.array([4, 7])[:, None]
HIDDEN = RNG.random((TIME, KEYS)) < 0.3
HIDDEN[:, 0] = False
LATER = ~np.tril(np.ones((TIME, TIME), bool))


def moved(model):
    """Every parameter off its start, so that a bias of zero hides nothing."""
    rng = np.random.default_rng(5)
    params, state = px.split(model)
    return px.merge(model, {k: v + 0.2 * rng.normal(size=v.shape).astype(v.dtype) for k, v in params.items()}, state)


def torch_twin(layer, **options):
    """PyTorch's layer with the same weights, and the names of ours behind its own."""
    torch = oracle("torch")
    own = {"kdim": layer.key_dim, "vdim": layer.value_dim, "bias": layer.bias}
    twin = torch.nn.MultiheadAttention(layer.dim, layer.heads, batch_first=True, **own, **options)
    p = {name: torch.tensor(np.asarray(v)) for name, v in px.split(layer)[0].items()}
    with torch.no_grad():
        weights = [p[f"{n}_proj.weight"].T for n in "qkv"]
        if twin.in_proj_weight is not None:
            twin.in_proj_weight.copy_(torch.cat(weights))
        else:
            for n, w in zip("qkv", weights, strict=True):
                getattr(twin, f"{n}_proj_weight").copy_(w)
        twin.out_proj.weight.copy_(p["out_proj.weight"].T)
        if layer.bias:
            twin.in_proj_bias.copy_(torch.cat([p[f"{n}_proj.bias"] for n in "qkv"]))
            twin.out_proj.bias.copy_(p["out_proj.bias"])
    return twin


def torch_gradients(twin, bias):
    """Its gradients under our names and layouts."""
    if twin.in_proj_weight is not None:
        weights = twin.in_proj_weight.grad.chunk(3)
    else:
        weights = [getattr(twin, f"{n}_proj_weight").grad for n in "qkv"]
    found = {f"{n}_proj.weight": w.T for n, w in zip("qkv", weights, strict=True)}
    found["out_proj.weight"] = twin.out_proj.weight.grad.T
    if bias:
        found |= {f"{n}_proj.bias": b for n, b in zip("qkv", twin.in_proj_bias.grad.chunk(3), strict=True)}
        found["out_proj.bias"] = twin.out_proj.bias.grad
    return found


# name: (layer's options, inputs, options of our call, of theirs)
CASES = {
    "self": ({}, (X,), {}, {}),
    "self, causal, no bias": (
        {"causal": True, "bias": False}, (X,), {}, {"attn_mask": LATER, "is_causal": True},
    ),
    "cross, padded": (
        {"key_dim": 6, "value_dim": 9}, (X, MEMORY, VALUES), {"kv_lengths": np.array([4, 7])},
        {"key_padding_mask": PADDED},
    ),
    "cross, masked": ({"key_dim": 6}, (X, MEMORY), {"mask": ~HIDDEN}, {"attn_mask": HIDDEN}),
    "additive": (
        {"key_dim": 6}, (X, MEMORY), {"mask": HIDDEN * np.float32(-2)}, {"attn_mask": HIDDEN * np.float32(-2)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "train"), [*((name, True) for name in CASES), ("self", False)])
def test_value_weights_and_gradients_are_pytorchs(name, train):
    torch = oracle("torch")
    options, inputs, call, their_call = CASES[name]
    layer = moved(nn.MultiHeadAttention(DIM, HEADS, key=0, **options))
    twin = torch_twin(layer).train(train)
    w = np.random.default_rng(3).normal(size=X.shape).astype(np.float32)

    @px.jit
    def ours(layer, *xs):
        with px.training(train):
            y, weights = layer(*xs, return_weights=True, **call)
            loss = lambda layer, *xs: jnp.sum(layer(*xs, **call) * w)  # noqa: E731
            return y, weights, px.grad(loss, tuple(range(1 + len(xs))))(layer, *xs)

    y, weights, (grads, *by_input) = ours(layer, *inputs)
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    q, k, v = (*tensors, *[tensors[-1]] * (3 - len(tensors)))
    masks = {n: torch.as_tensor(m) for n, m in their_call.items() if n != "is_causal"}
    want, want_weights = twin(q, k, v, average_attn_weights=False, **masks)
    (want * torch.tensor(w)).sum().backward()
    assert_close(y, to_numpy(want))
    assert_close(weights, to_numpy(want_weights))
    theirs = torch_gradients(twin, layer.bias)
    ours_by_path = px.paths(grads)
    assert set(ours_by_path) == set(theirs)
    for path, g in ours_by_path.items():
        assert_close(g, to_numpy(theirs[path]), kind="grad", what=path)
    for g, t in zip(by_input, tensors, strict=True):
        assert_close(g, to_numpy(t.grad), kind="grad")


def test_shared_heads_are_repeated_heads():
    """With grouped queries every head of keys counts as if it stood there for each of its queries."""
    shared = moved(nn.MultiHeadAttention(DIM, HEADS, kv_heads=2, head_dim=5, soft_cap=2.0, scale=0.4, key=1))
    full = moved(nn.MultiHeadAttention(DIM, HEADS, head_dim=5, soft_cap=2.0, scale=0.4, key=1))
    params = px.split(shared)[0]
    repeat = lambda v: np.repeat(np.asarray(v).reshape(*v.shape[:-1], 2, 5), 2, -2).reshape(*v.shape[:-1], 20)  # noqa: E731
    wide = {n: repeat(v) if n[0] in "kv" else v for n, v in params.items()}
    assert px.load_state_dict(full, wide).complete
    assert_close(shared(X), full(X))
    assert shared.k_proj.weight.shape == (DIM, 10)


def test_lengths_hide_padding_in_self_attention():
    layer = moved(nn.MultiHeadAttention(DIM, HEADS, key=0))
    lengths = jnp.array([3, 5])
    other = X.copy()
    other[0, 3:] = 100.0

    @px.jit
    def run(layer, x):
        return layer(x, lengths=lengths), px.grad(lambda x: jnp.sum(layer(x, lengths=lengths)[0, :3] ** 2))(x)

    y, grad = run(layer, X)
    again, _ = run(layer, other)
    np.testing.assert_array_equal(y[0, :3], again[0, :3])
    assert not np.asarray(grad)[0, 3:].any()
    assert_close(y[0, 3:], jnp.broadcast_to(layer.out_proj.bias, (2, DIM)))
    assert_close(y[0, :3], layer(X[:1, :3])[0])


def test_without_positions_order_does_not_matter():
    layer = moved(nn.MultiHeadAttention(DIM, HEADS, key=0))
    order = np.random.default_rng(1).permutation(TIME)
    assert_close(layer(X[:, order]), np.asarray(layer(X))[:, order])


SOAK = pytest.mark.soak
POSITIONS = ["rotary", "relative", "window", *(pytest.param(p, marks=SOAK) for p in ("none", "alibi"))]


@pytest.mark.parametrize("positions", POSITIONS)
def test_tokens_one_by_one_with_a_cache_are_the_full_pass_in_one_trace(positions):
    made = {
        "rotary": lambda: nn.RotaryEmbedding(4, interleaved=True),
        "alibi": lambda: nn.ALiBi(HEADS),
        "relative": lambda: nn.RelativePositionBias(HEADS, buckets=4, max_distance=4, bidirectional=False, key=2),
    }
    options = {"positions": made[positions]()} if positions in made else {}
    options |= {"window": 2} if positions == "window" else {}
    layer = moved(nn.MultiHeadAttention(16, HEADS, kv_heads=2, causal=True, key=0, **options))
    x = np.random.default_rng(2).normal(size=(2, 9, 16)).astype(np.float32)
    step = px.jit(lambda layer, cache, x: layer(x, cache=cache))
    cache = layer.init_cache(2, 12)
    first = step(layer, cache, x[:, :3])  # a prompt, then token by token
    rest = [step(layer, cache, x[:, t : t + 1]) for t in range(3, 9)]
    assert len(step.history.traces) == 2  # one for the prompt, one for all tokens
    assert cache.position.tolist() == [9, 9]
    assert_close(jnp.concatenate([first, *rest], 1), px.jit(lambda layer, x: layer(x))(layer, x))
    chunked = px.copy(layer)
    chunked.chunk = 4
    assert_close(px.jit(lambda layer, x: layer(x))(chunked, x), layer(x))


def test_a_cache_holds_prompts_of_different_lengths():
    layer = moved(nn.MultiHeadAttention(DIM, HEADS, causal=True, positions=nn.RotaryEmbedding(2), key=0))
    cache = layer.init_cache(2, 8)
    lengths = jnp.array([2, 4])
    layer(X[:, :4], lengths=lengths, cache=cache)
    y = layer(X[:, 4:5], cache=cache)
    assert cache.position.tolist() == [3, 5]
    assert_close(y[0], layer(X[:1, [0, 1, 4]])[0, -1:])
    assert_close(y[1], layer(X[1:, :5])[0, -1:])
    cache.reset()
    assert_close(layer(X[:, :1], cache=cache), layer(X[:, :1]))


def test_many_tokens_at_once_read_a_cache_only_where_it_holds_something():
    """The first prompt of some dozen tokens attends to itself, a second one to both; each to the tokens that count."""
    layer = moved(nn.MultiHeadAttention(DIM, HEADS, causal=True, window=(20, 0), key=0))
    x = np.random.default_rng(3).normal(size=(2, 80, DIM)).astype(np.float32)
    lengths, more = np.array([33, 40]), np.array([40, 36])
    step = px.jit(lambda layer, cache, x, lengths: layer(x, lengths=lengths, cache=cache))
    cache = layer.init_cache(2, 96, whole=True)
    hidden = x[:, :40].copy()
    hidden[0, 33:] = np.nan  # what does not count is never read
    first, second = step(layer, cache, hidden, lengths), step(layer, cache, x[:, 40:], more)
    empty = layer.init_cache(2, 96, whole=True)
    assert "cond" in str(px.explain(lambda layer, cache, x: layer(x, cache=cache), layer, empty, x[:, :40]).jaxpr)
    for row in range(2):
        said, then = lengths[row], more[row]
        whole = layer(np.concatenate([x[row : row + 1, :said], x[row : row + 1, 40 : 40 + then]], 1))[0]
        assert_close(first[row, :said], whole[:said])
        assert_close(second[row, :then], whole[said:])
        assert np.array_equal(first[row, said:], np.zeros((40 - said, DIM)) + layer.out_proj.bias)


def test_the_cache_is_donated_carried_and_refuses_what_does_not_fit():
    layer = moved(nn.MultiHeadAttention(DIM, HEADS, causal=True, key=0))
    cache = layer.init_cache(2, 6, dtype=jnp.bfloat16)
    assert cache.keys.dtype == jnp.bfloat16

    @px.jit
    def loop(layer, cache, x):
        step = lambda _, token: (None, layer(token[:, None], cache=cache)[:, 0])  # noqa: E731
        return px.scan(step, None, jnp.swapaxes(x, 0, 1))[1]

    before = cache.keys.unsafe_buffer_pointer()
    ys = loop(layer, cache, X)
    assert cache.keys.unsafe_buffer_pointer() == before, "the cache is written in place"
    assert ys.dtype == jnp.float32
    assert_close(jnp.swapaxes(ys, 0, 1).astype(jnp.bfloat16), layer(X))
    assert cache.position.tolist() == [5, 5]
    with pytest.raises(px.RangeError, match=re.escape("at most 6 positions, got 5 and 2 more\n  fix: make the cache")):
        layer(X[:, :2], cache=cache)
    compiled = px.jit(lambda layer, cache, x: layer(x, cache=cache))
    assert np.isfinite(compiled(layer, cache, X[:, :1])).all()
    assert np.isnan(compiled(layer, cache, X[:, :1])).all()


def test_dropout_zeroes_weights_in_training_alone():
    layer = nn.MultiHeadAttention(DIM, HEADS, dropout=0.5, key=0)
    plain, weights = layer(X, return_weights=True)
    assert (np.asarray(weights) > 0).all()
    np.testing.assert_array_equal(plain, layer(X))
    many = np.tile(X, (200, 1, 1))
    with px.training(True):
        _, dropped = px.jit(lambda layer, x: layer(x, return_weights=True))(layer, many)
    dropped = np.asarray(dropped)
    np.testing.assert_allclose((dropped == 0).mean(), 0.5, atol=5 * 0.5 / np.sqrt(dropped.size))
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 2 * np.tile(weights, (200, 1, 1, 1))[kept], rtol=1e-5)


def test_weights_start_as_glorot_says():
    layer = nn.MultiHeadAttention(64, 4, key_dim=32, key=0)
    for proj, ins in (("q_proj", 64), ("k_proj", 32), ("v_proj", 32), ("out_proj", 64)):
        weight = np.asarray(getattr(layer, proj).weight)
        bound = np.sqrt(6 / (ins + 64))
        assert np.abs(weight).max() <= bound
        np.testing.assert_allclose(weight.std(), bound / np.sqrt(3), rtol=0.05)
        assert not np.asarray(getattr(layer, proj).bias).any()
    assert len({np.asarray(getattr(layer, n).weight).ravel()[0].item() for n in ("q_proj", "k_proj", "v_proj")}) == 3


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: nn.MultiHeadAttention(10, 3), "heads that divides dim=10, got 3\n  fix: choose a divisor of 10"),
        (lambda: nn.MultiHeadAttention(12, 4, kv_heads=3), "kv_heads that divides heads=4, got 3"),
        (lambda: nn.MultiHeadAttention(12, 4, dropout=2.0), "dropout in [0, 1], got 2.0"),
        (lambda: nn.MultiHeadAttention(12, 4, positions=7), "positions with a method rotate or bias, got 7"),
        (lambda: nn.MultiHeadAttention(12, 4, window=-1), "window of 0 or more positions"),
        (lambda: nn.MultiHeadAttention(12, 0), "heads to be a whole number of at least 1, got 0"),
        (lambda: nn.MultiHeadAttention(12, 4)(X[0]), "(batch, time, 12), got float32[5, 12]\n  fix: add a batch axis"),
        (lambda: nn.MultiHeadAttention(12, 4)(X, MEMORY), "k of shape (2, keys, 12), got float32[2, 7, 6]"),
        (lambda: nn.MultiHeadAttention(12, 4, key_dim=6)(X), "k with 6 features, got q alone\n  fix: pass k too"),
        (lambda: cached(nn.MultiHeadAttention(12, 4)), "self-attention with causal=True where a cache is used"),
    ],
)
def test_mistakes_are_refused_by_name(build, text):
    with pytest.raises((px.RangeError, px.ShapeError), match="MultiHeadAttention") as caught:
        build()
    assert text in str(caught.value)


def cached(layer):
    return layer(X, cache=layer.init_cache(2, 8))


def test_the_input_size_is_found_by_autosize():
    model = nn.autosize((2, 5, 16), lambda: px.Chain(nn.MultiHeadAttention(nn.AUTO, 4)))
    assert model[0].dim == 16
    assert jax.tree.map(jnp.shape, px.split(model)[0])["layers.0.out_proj.weight"] == (16, 16)
