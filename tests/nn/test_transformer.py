"""Transformer layers and stacks against PyTorch's; gated blocks and experts against their formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from phlox import nn
from phlox.nn import functional as F

DIM, HEADS, HIDDEN = 8, 2, 12
RNG = np.random.default_rng(0)
X, MEMORY = RNG.normal(size=(2, 5, DIM)).astype(np.float32), RNG.normal(size=(2, 6, DIM)).astype(np.float32)
LENGTHS, MEMORY_LENGTHS = np.array([3, 5]), np.array([6, 2])
PADDED = np.arange(5) >= LENGTHS[:, None]
MEMORY_PADDED = np.arange(6) >= MEMORY_LENGTHS[:, None]
LATER = ~np.tril(np.ones((5, 5), bool))


def moved(model):
    """Every parameter off its start, so that none can hide."""
    rng = np.random.default_rng(5)
    params, state = px.split(model)
    return px.merge(model, {k: v + 0.2 * rng.normal(size=v.shape).astype(v.dtype) for k, v in params.items()}, state)


def load_attention(twin, p, prefix):
    torch = oracle("torch")
    for kind, at in (("weight", -1), ("bias", 0)):
        packed = torch.cat([p[f"{prefix}{n}_proj.{kind}"] for n in "qkv"], at)
        getattr(twin, f"in_proj_{kind}").copy_(packed.T if kind == "weight" else packed)
    twin.out_proj.weight.copy_(p[prefix + "out_proj.weight"].T)
    twin.out_proj.bias.copy_(p[prefix + "out_proj.bias"])


def load(twin, model, attentions, norms):
    """Give PyTorch's layer our weights."""
    torch = oracle("torch")
    p = {name: torch.tensor(np.asarray(v)) for name, v in px.split(model)[0].items()}
    with torch.no_grad():
        for ours, theirs in attentions.items():
            load_attention(getattr(twin, theirs), p, ours + ".")
        for ours, theirs in (("mlp.layers.0", "linear1"), ("mlp.layers.2", "linear2")):
            getattr(twin, theirs).weight.copy_(p[ours + ".weight"].T)
            getattr(twin, theirs).bias.copy_(p[ours + ".bias"])
        for norm in norms:
            getattr(twin, norm).weight.copy_(p[norm + ".scale"])
            getattr(twin, norm).bias.copy_(p[norm + ".bias"])
    return twin


def theirs_by_our_names(twin, attentions, norms):
    """PyTorch's gradients under our names and layouts."""
    found = {}
    for ours, theirs in attentions.items():
        layer = getattr(twin, theirs)
        for n, w, b in zip("qkv", layer.in_proj_weight.grad.chunk(3), layer.in_proj_bias.grad.chunk(3), strict=True):
            found[f"{ours}.{n}_proj.weight"], found[f"{ours}.{n}_proj.bias"] = w.T, b
        found[ours + ".out_proj.weight"] = layer.out_proj.weight.grad.T
        found[ours + ".out_proj.bias"] = layer.out_proj.bias.grad
    for ours, theirs in (("mlp.layers.0", "linear1"), ("mlp.layers.2", "linear2")):
        found[ours + ".weight"] = getattr(twin, theirs).weight.grad.T
        found[ours + ".bias"] = getattr(twin, theirs).bias.grad
    for norm in norms:
        found[norm + ".scale"], found[norm + ".bias"] = getattr(twin, norm).weight.grad, getattr(twin, norm).bias.grad
    return found


def compare(model, twin, want, inputs, tensors, call, attentions, norms, train):
    """Values, and the gradients of parameters and inputs."""
    torch = oracle("torch")
    w = np.random.default_rng(3).normal(size=X.shape).astype(np.float32)
    w[PADDED] = 0.0  # what stands at padding is nobody's business

    @px.jit
    def ours(model, *xs):
        with px.training(train):
            loss = lambda model, *xs: jnp.sum(model(*xs, **call) * w)  # noqa: E731
            return model(*xs, **call), px.grad(loss, tuple(range(1 + len(xs))))(model, *xs)

    y, (grads, *by_input) = ours(model, *inputs)
    (want * torch.tensor(w)).sum().backward()
    assert_close(np.asarray(y)[~PADDED], to_numpy(want)[~PADDED])
    expected = theirs_by_our_names(twin, attentions, norms)
    assert set(px.paths(grads)) == set(expected)
    for path, g in px.paths(grads).items():
        assert_close(g, to_numpy(expected[path]), kind="grad", what=path)
    for g, t in zip(by_input, tensors, strict=True):
        assert_close(g, to_numpy(t.grad), kind="grad")


@pytest.mark.parametrize(("norm_first", "train"), [(True, True), (False, False)])
def test_encoder_layer_is_pytorchs(norm_first, train):
    torch = oracle("torch")
    act, name = (px.gelu, "gelu") if norm_first else (px.relu, "relu")
    model = moved(nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, act, dropout=0.0, norm_first=norm_first, key=0))
    twin = torch.nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, 0.0, name, batch_first=True, norm_first=norm_first)
    attentions, norms = {"attention": "self_attn"}, ["norm1", "norm2"]
    load(twin.train(train), model, attentions, norms)
    x = torch.tensor(X, requires_grad=True)
    want = twin(x, src_mask=torch.tensor(LATER), src_key_padding_mask=torch.tensor(PADDED))
    compare(model, twin, want, [X], [x], {"mask": ~LATER, "lengths": LENGTHS}, attentions, norms, train)


@pytest.mark.parametrize(("norm_first", "train"), [(False, True), (True, False)])
def test_decoder_layer_is_pytorchs(norm_first, train):
    torch = oracle("torch")
    model = moved(nn.TransformerDecoderLayer(DIM, HEADS, HIDDEN, dropout=0.0, norm_first=norm_first, key=0))
    twin = torch.nn.TransformerDecoderLayer(DIM, HEADS, HIDDEN, 0.0, batch_first=True, norm_first=norm_first)
    attentions = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
    norms = ["norm1", "norm2", "norm3"]
    load(twin.train(train), model, attentions, norms)
    x, memory = torch.tensor(X, requires_grad=True), torch.tensor(MEMORY, requires_grad=True)
    want = twin(
        x, memory, tgt_mask=torch.tensor(LATER), tgt_key_padding_mask=torch.tensor(PADDED),
        memory_key_padding_mask=torch.tensor(MEMORY_PADDED),
    )  # fmt: skip
    call = {"lengths": LENGTHS, "memory_lengths": MEMORY_LENGTHS}
    compare(model, twin, want, [X, MEMORY], [x, memory], call, attentions, norms, train)


def test_the_whole_transformer_is_pytorchs():
    torch = oracle("torch")
    model = moved(nn.Transformer(DIM, HEADS, HIDDEN, encoder_layers=2, decoder_layers=1, dropout=0.0, key=0))
    twin = torch.nn.Transformer(DIM, HEADS, 2, 1, HIDDEN, 0.0, batch_first=True)
    norms = ["norm1", "norm2", "norm3"]
    for ours, theirs in zip(model.encoder.layers, twin.encoder.layers, strict=True):
        load(theirs, ours, {"attention": "self_attn"}, norms[:2])
    across = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
    load(twin.decoder.layers[0], model.decoder.layers[0], across, norms)
    with torch.no_grad():
        for ours, theirs in ((model.encoder.norm, twin.encoder.norm), (model.decoder.norm, twin.decoder.norm)):
            theirs.weight.copy_(torch.tensor(np.asarray(ours.scale)))
            theirs.bias.copy_(torch.tensor(np.asarray(ours.bias)))
        want = twin(
            torch.tensor(MEMORY), torch.tensor(X), tgt_mask=torch.tensor(LATER),
            src_key_padding_mask=torch.tensor(MEMORY_PADDED), memory_key_padding_mask=torch.tensor(MEMORY_PADDED),
        )  # fmt: skip
    run = px.jit(lambda model, source, target: model(source, target, source_lengths=MEMORY_LENGTHS))
    assert_close(run(model, MEMORY, X), to_numpy(want))


def test_a_decoder_generates_with_its_cache_what_it_computes_at_once():
    build = lambda: nn.TransformerDecoderLayer(DIM, HEADS, HIDDEN, positions=nn.RotaryEmbedding(4), norm=px.RMSNorm)  # noqa: E731
    model = moved(nn.TransformerDecoder(build, 2, norm=px.RMSNorm(DIM), key=0))
    step = px.jit(lambda model, x, memory, cache: model(x, memory, cache=cache))
    cache = model.init_cache(2, 5)
    ys = [step(model, X[:, t : t + 1], MEMORY, cache) for t in range(5)]
    assert len(step.history.traces) == 1
    assert_close(jnp.concatenate(ys, 1), px.jit(lambda m, x, memory: m(x, memory))(model, X, MEMORY))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_its_dtype_and_errs_by_a_few_roundings(dtype):
    """An encoder layer is about ten roundings long; they add up like a random walk, at most like a sum."""
    model = moved(nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, norm_first=True, causal=True, key=0))
    low = (px.bf16 if dtype == "bfloat16" else px.f16)(model)
    x = jnp.asarray(X, dtype)
    y, want = px.jit(lambda low, model, x: (low(x), model(x.astype(jnp.float32))))(low, model, x)
    assert y.dtype == dtype
    error = np.asarray(y, np.float32) - np.asarray(want)
    assert np.linalg.norm(error) < 10 * float(jnp.finfo(dtype).eps) * np.linalg.norm(want)


def test_dropout_stands_where_pytorch_has_it():
    """With all weights of one branch dropped, what is left is the shortcut."""
    model = moved(nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, dropout=1.0, norm_first=True, key=0))
    with px.training(True):
        np.testing.assert_array_equal(model(X), X)
    drops = {path: m.p for path, m in px.modules(model).items() if isinstance(m, px.Dropout)}
    assert drops == dict.fromkeys(["attention.drop", "dropout1", "mlp.layers.1", "dropout2"], 1.0)


@pytest.mark.parametrize(
    ("act", "name"), [(F.silu, "silu"), (px.gelu, "gelu"), (px.relu, "relu"), (px.sigmoid, "sigmoid")]
)
def test_gated_mlp_is_its_formula_and_llamas(act, name):
    torch = oracle("torch")
    llama = oracle("transformers.models.llama.modeling_llama")
    config = oracle("transformers").LlamaConfig(
        hidden_size=DIM, intermediate_size=HIDDEN, hidden_act=name, num_attention_heads=2
    )
    model = nn.GatedMLP(DIM, HIDDEN, act, key=0)
    twin = llama.LlamaMLP(config)
    with torch.no_grad():
        for ours in ("gate", "up", "down"):
            getattr(twin, ours + "_proj").weight.copy_(torch.tensor(np.asarray(getattr(model, ours).weight)).T)
    x = torch.tensor(X, requires_grad=True)
    want = twin(x)
    (want**2).sum().backward()
    y, grad = px.jit(lambda m, x: (m(x), px.grad(lambda x: jnp.sum(m(x) ** 2))(x)))(model, X)
    assert_close(y, to_numpy(want))
    assert_close(grad, to_numpy(x.grad), kind="grad")


# --- experts ---------------------------------------------------------------------------------------


def experts(**options):
    return moved(nn.MixtureOfExperts(DIM, 4, lambda: nn.GatedMLP(DIM, HIDDEN), key=0, **options))


def by_hand(model, x, top_k, normalise=True, room=None):
    """Token by token and expert by expert, on torch tensors."""
    torch = oracle("torch")
    p = {n: torch.tensor(np.asarray(v)) for n, v in px.split(model)[0].items()}
    tokens = torch.tensor(x).reshape(-1, DIM)
    shares = torch.softmax(tokens @ p["router.weight"], -1)
    y, used = torch.zeros_like(tokens), [0] * 4
    for n, token in enumerate(tokens):
        weights, chosen = shares[n].topk(top_k)
        weights = weights / weights.sum() if normalise else weights
        for w, e in zip(weights, chosen.tolist(), strict=True):
            used[e] += 1
            if room is None or used[e] <= room:
                gate = torch.nn.functional.silu(token @ p["experts.gate.weight"][e])
                y[n] += w * ((gate * (token @ p["experts.up.weight"][e])) @ p["experts.down.weight"][e])
    return to_numpy(y).reshape(x.shape)


def test_each_token_gets_its_best_experts():
    assert_close(experts()(X), by_hand(experts(), X, 2))
    assert_close(experts(top_k=1, normalise=False)(X), by_hand(experts(), X, 1, normalise=False))
    assert_close(experts(capacity=4.0)(X), by_hand(experts(), X, 2))  # room for all: the same in another way


def test_beyond_its_capacity_an_expert_lets_tokens_pass():
    model = experts(capacity=0.6)  # 10 tokens, 2 of 4 experts each: a fair share is 5, and there is room for 3
    full = by_hand(model, X, 2)
    want = by_hand(model, X, 2, room=3)
    assert np.abs(full - want).max() > 1e-2, "something does not fit"
    assert_close(px.jit(lambda m, x: m(x))(model, X), want)


def test_the_balancing_loss_is_mixtrals():
    torch = oracle("torch")
    mixtral = oracle("transformers.models.mixtral.modeling_mixtral")
    logits = RNG.normal(size=(30, 4)).astype(np.float32)
    x = torch.tensor(logits, requires_grad=True)
    want = mixtral.load_balancing_loss_func((x,), 4, 2)
    want.backward()
    f = lambda z: F.load_balancing_loss(z, F.top_k_routing(z, 2))  # noqa: E731
    value, grad = jax.jit(jax.value_and_grad(f))(logits)
    assert_close(value, to_numpy(want))
    assert_close(grad, to_numpy(x.grad), kind="grad")
    even = jnp.eye(4)
    assert_close(F.load_balancing_loss(jnp.zeros((4, 4)), even), 1.0)
    assert F.load_balancing_loss(10 * even[:1].repeat(4, 0), even[:1].repeat(4, 0)) > 3.9


def test_balance_pulls_the_router_and_leaves_the_value():
    pulled, plain = experts(balance=0.3), experts()

    @px.jit
    def gradients(pulled, plain, x):
        ours = px.value_and_grad(lambda m: jnp.sum(m(x) ** 2))(pulled)

        def loss(m):
            y, balance = m(x, return_loss=True)
            return jnp.sum(y**2) + 0.3 * balance

        return ours, px.value_and_grad(loss)(plain), px.value_and_grad(lambda m: jnp.sum(m(x) ** 2))(plain)

    (value, got), (_, want), (bare, without) = gradients(pulled, plain, X)
    assert_close(value, bare)
    for path, g in px.paths(got).items():
        assert_close(g, px.paths(want)[path], kind="grad", what=path)
    assert np.abs(np.asarray(got.router.weight - without.router.weight)).max() > 1e-3


def test_experts_start_apart_and_serve_as_a_block():
    model = nn.MixtureOfExperts(DIM, 4, lambda: nn.GatedMLP(DIM, HIDDEN), key=0)
    weight = np.asarray(model.experts.up.weight)
    assert len({w.ravel()[0].item() for w in weight}) == 4
    np.testing.assert_allclose(weight.std(), np.sqrt(2 / (DIM + HIDDEN)), rtol=0.1)
    layer = nn.TransformerEncoderLayer(DIM, HEADS, mlp=model, norm_first=True, dropout=0.0, key=1)
    after = X + layer.attention(layer.norm1(X))
    assert_close(layer(X), after + model(layer.norm2(after)))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: nn.MixtureOfExperts(8, 4, nn.GatedMLP(8, 8)), "a function that makes an expert, got GatedMLP"),
        (lambda: nn.MixtureOfExperts(8, 2, lambda: nn.GatedMLP(8, 8), top_k=3), "top_k of at most 2, got 3"),
        (lambda: experts()(X[..., :3]), "MixtureOfExperts(8, 4) expects (..., 8), got float32[2, 5, 3]"),
        (lambda: nn.TransformerEncoder(nn.GatedMLP(8, 8), 2), "a function that makes one layer, got GatedMLP(8, 8)"),
        (lambda: nn.TransformerEncoder(lambda: 3, 2), "a build() that makes a layer of its own each time"),
        (lambda: wrong_caches(), "a cache for each of 2 layers, got 1"),
        (lambda: nn.TransformerEncoderLayer(8, 2, dropout=-1), "Layer expects dropout in [0, 1], got -1"),
        (lambda: nn.TransformerDecoderLayer(8, 2)(X[0], MEMORY), "MultiHeadAttention(8, 2) expects (batch, time, 8)"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_by_name(build, text):
    with pytest.raises((px.RangeError, px.ShapeError), match=re.escape(text)) as caught:
        build()
    assert "\n  fix: " in str(caught.value)


def wrong_caches():
    model = nn.TransformerEncoder(lambda: nn.TransformerEncoderLayer(8, 2, causal=True), 2, key=0)
    return model(X, cache=model.init_cache(2, 8)[:1])
