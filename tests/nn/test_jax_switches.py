"""Every layer under JAX's switches: 64 bits, no compiling, no promotion of ranks, symbolic sizes; and empty."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import nn
from phlox.nn.functional.kernels._kernels import reference_forms
from registry import CASES, Case, built, normal

# Sizes that the kernels take, where there are any.
KERNELS = [
    Case("Conv", lambda key: px.Conv((3, 3), 16, 16, px.relu, padding=1, key=key), (normal(2, 6, 5, 16),), ""),
    Case("BatchNorm", lambda key: px.BatchNorm(16, affine=False), (normal(2, 6, 5, 16),), "", moves=True),
    Case("LayerNorm", lambda key: px.LayerNorm(16), (normal(4, 16),), ""),
    Case("LayerNorm-plain", lambda key: px.LayerNorm(16, affine=False), (normal(4, 16),), ""),
    Case("MaxPool", lambda key: px.MaxPool((3, 3), stride=2, padding=1), (normal(2, 6, 6, 16),), ""),
    Case("LSTM", lambda key: px.LSTM(16, 16, key=key), (normal(3, 2, 16),), ""),
    Case("GRU", lambda key: px.GRU(16, 16, key=key), (normal(3, 2, 16),), ""),
    Case(
        "MultiHeadAttention", lambda key: nn.MultiHeadAttention(16, 2, causal=True, key=key), (normal(2, 20, 16),), ""
    ),
]
kernels = pytest.mark.parametrize("case", KERNELS, ids=repr)
FORMS = {"kernels": contextlib.nullcontext, "plain": reference_forms}
# What a user writes with promotion of ranks stays theirs.
WITHOUT_PROMOTION = [c for c in CASES if c.name != "compact"]


def train(model, *xs):
    """Output, gradient and state after a step of training."""

    def loss(model, *xs):
        y = model(*xs)
        return sum(jnp.sum(jnp.sin(v)) for v in jax.tree.leaves(y)), y

    (_, y), grads = px.value_and_grad(loss, has_aux=True)(model, *xs)
    return y, px.paths(grads), {k: v for k, v in px.split(model)[1].items() if v.dtype == jnp.float32}


def abstract(case):
    """The shapes of a step of training, traced and not run."""
    model = built(case)
    return jax.eval_shape(lambda *xs: train(px.copy(px.constant(model)), *xs), *map(jnp.asarray, case.inputs))


def close(a, b):
    jax.tree.map(lambda x, y: assert_close(x, y, kind="grad"), a, b)


@kernels
def test_float32_stays_float32_in_64_bit_mode(case):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    want = train(px.copy(model), *xs)
    with jax.enable_x64(True):
        found = px.jit(train)(px.copy(model), *xs)
        assert {v.dtype for v in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    close(found, want)


@pytest.mark.soak
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_layer_stays_float32_in_64_bit_mode(case, form):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    with jax.enable_x64(True), FORMS[form]():
        found = px.jit(train)(px.copy(model), *xs), model(*xs)
    assert all(v.dtype not in (jnp.float64, jnp.complex128) for v in jax.tree.leaves(found))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", KERNELS, ids=repr)
def test_ranks_are_promoted_by_us_alone(case, form):
    with jax.numpy_rank_promotion("raise"), FORMS[form]():
        abstract(case)


LINEAR = ["Dense", "BatchNorm", "PReLU", "Mamba", "S4D", "MeanPool-inside"]
PLACES = ["SinusoidalEmbedding", "RotaryEmbedding", "DepthwiseConv"]
BIASES = ["MultiHeadAttention-cross", "MultiHeadAttention-dropout"]
QUICK = LINEAR + PLACES + BIASES


@pytest.mark.parametrize(
    "case", [c if c.name in QUICK else pytest.param(c, marks=pytest.mark.soak) for c in WITHOUT_PROMOTION], ids=repr
)
def test_layers_promote_no_rank_silently(case):
    with jax.numpy_rank_promotion("raise"), reference_forms():
        abstract(case)


@pytest.mark.sampled(2)
@kernels
def test_line_by_line_gives_the_same(case):
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    want = train(px.copy(model), *xs)
    with jax.disable_jit():
        found = train(px.copy(model), *xs)
    close(found, want)


def test_an_optimiser_steps_line_by_line():
    ends = []
    for context in (contextlib.nullcontext(), jax.disable_jit()):
        model = px.Dense(16, 16, key=0)
        with context:
            px.Optimizer(px.optim.Adam(0.1), model).update(
                model, px.grad(lambda m: (m(jnp.ones((2, 16))) ** 2).sum())(model)
            )
        ends.append(model.weight)
    assert_close(*ends)


REARRANGING = [
    "MultiHeadAttention-grouped", "MultiHeadAttention-cross", "TransformerEncoderLayer", "LinearAttention", "Mamba",
    "MixtureOfExperts", "GroupNorm", "LSTM", "ConvLSTM", "Embedding", "flatten",
]  # fmt: skip


@pytest.mark.parametrize(
    "case", [c if c.name in REARRANGING else pytest.param(c, marks=pytest.mark.soak) for c in CASES], ids=repr
)
def test_an_empty_batch_gives_an_empty_result(case):
    model, none = case.build(jax.random.key(0)), [jnp.asarray(x)[:0] for x in case.inputs]
    forward = lambda model, *xs: model(*xs)  # noqa: E731
    want = jax.eval_shape(forward, model, *case.inputs)
    for got in (jax.eval_shape(forward, model, *none), model(*none)):
        jax.tree.map(_same_but_empty, got, want)


def _same_but_empty(a, b):
    assert (a.shape, a.dtype) == ((0, *b.shape[1:]), b.dtype)


def test_attention_without_queries_or_keys_is_pytorchs():
    torch, layer = oracle("torch"), px.MultiHeadAttention(4, 2, key=0)
    for batch, time, keys in ((0, 3, 3), (2, 0, 3), (2, 3, 0)):
        q, k = np.ones((batch, time, 4), "float32"), np.ones((batch, keys, 4), "float32")
        heads = lambda x: torch.tensor(x).reshape(*x.shape[:2], 2, 2).transpose(1, 2)  # noqa: E731
        theirs = torch.nn.functional.scaled_dot_product_attention(heads(q), heads(k), heads(k))
        ours = nn.functional.dot_product_attention(*(x.reshape(*x.shape[:2], 2, 2) for x in (q, k, k)))
        np.testing.assert_allclose(ours, theirs.transpose(1, 2).numpy(), atol=1e-6)
        want = jnp.broadcast_to(layer.out_proj.bias, q.shape) if keys == 0 else jnp.zeros(q.shape)
        np.testing.assert_array_equal(layer(q, k), want)


def exported(case, form):
    """The layer exported for any batch, at two sizes of it."""
    model, xs = built(case), [jnp.asarray(x) for x in case.inputs]
    (batch,) = jax.export.symbolic_shape("b")
    shapes = [jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype) for x in xs]
    with FORMS[form]():
        program = jax.export.export(jax.jit(lambda *xs: px.constant(model)(*xs)))(*shapes)
    for inputs in (xs, [jnp.concatenate([x, x[:1]]) for x in xs]):
        jax.tree.map(assert_close, program.call(*inputs), model(*inputs))


@kernels
def test_a_symbolic_batch_exports(case):
    exported(case, "kernels")


@pytest.mark.soak
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_layer_exports_with_a_symbolic_batch(case, form):
    exported(case, form)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_exports_with_symbolic_time(causal):
    layer = nn.TransformerEncoderLayer(8, 2, causal=causal, dropout=0.0, key=0)
    b, t = jax.export.symbolic_shape("b, t")
    program = jax.export.export(jax.jit(lambda x: px.constant(layer)(x)))(jax.ShapeDtypeStruct((b, t, 8), jnp.float32))
    for x in (normal(2, 5, 8), normal(3, 17, 8)):
        assert_close(program.call(x), layer(x))
