"""Sequences that are cut over devices: attention in a ring against attention on one device, and trainings likewise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.by_hand import assert_learns_alike
from parallel.kit import assert_trains_alike, refused
from parallel.networks import WORDS, gpt
from phlox.core import ways
from phlox.nn import functional as F

context_parallel, data_parallel, fsdp = px.parallel.context_parallel, px.parallel.data_parallel, px.parallel.fsdp


def _draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def _qkv(queries: int = 16, keys: int = 16, *, heads: int = 4, shared: int = 2) -> tuple[Any, Any, Any]:
    return _draw(2, queries, heads, 4), _draw(2, keys, shared, 4, seed=1), _draw(2, keys, shared, 3, seed=2)


def _assert_alike(fn: Callable[..., Any], *arrays: Any, size: int = 4, others: int = 2) -> Any:
    """A function's results and gradients in the ring are those on one device; the ring's program."""
    strategy = context_parallel(size) * data_parallel(others)
    placement = px.parallel.Placement.of(strategy)
    found: list[bool] = []

    def loss(*arrays: Any) -> Any:
        y = fn(*arrays)
        return jnp.sum(y * jnp.asarray(_draw(*y.shape, seed=9))), y

    run = lambda *arrays: jax.value_and_grad(loss, tuple(range(len(arrays))), has_aux=True)(*arrays)  # noqa: E731

    def spread(*arrays: Any) -> Any:
        with ways({name: _Noted(way, found) for name, way in strategy.ways(placement.mesh).items()}):
            return run(*arrays)

    one = jax.jit(run)(*arrays)
    program = jax.jit(spread).lower(*[placement.spread(x, strict=False) for x in arrays])
    many = program.compile()(*[placement.spread(x, strict=False) for x in arrays])
    assert found == [True], f"the way was asked {len(found)} times, and took it {sum(found)} times"
    for ours, theirs in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)
    return program


class _Noted:
    """A way that notes whether it did something."""

    def __init__(self, way: Any, found: list[bool]):
        self.way, self.found = way, found

    def __call__(self, *args: Any) -> Any:
        y = self.way(*args)
        self.found.append(y is not None)
        return y


def check_causal_with_groups_dropout_and_a_soft_cap() -> None:
    """Two pieces for each device, several tiles for each piece; draws are one device's."""
    options = {"causal": True, "soft_cap": 2.0, "dropout": 0.3, "key": jax.random.key(3), "chunk": 1}
    _assert_alike(lambda q, k, v: F.dot_product_attention(q, k, v, **options), *_qkv())


def check_window_lengths_and_a_learned_bias() -> None:
    """A window to both sides shows the keys of neighbours alone; one example's last queries and keys do not count."""
    lengths = {"lengths": jnp.array([16, 9]), "kv_lengths": jnp.array([11, 16]), "window": (3, 2)}
    attend = lambda q, k, v, bias: F.dot_product_attention(q, k, v, bias=bias, **lengths)  # noqa: E731
    _assert_alike(attend, *_qkv(), _draw(1, 4, 16, 16, seed=3))


def check_cross_attention_to_keys_that_lie_whole() -> None:
    """Seven keys on four devices, a mask of keys that is added, a bias and a scale that are learned, dropout."""
    mask = jnp.where(jnp.arange(14).reshape(2, 1, 1, 7) % 5 == 3, -jnp.inf, _draw(2, 1, 1, 7))

    def attend(q: Any, k: Any, v: Any, bias: Any, scale: Any) -> Any:
        options = {"mask": mask, "bias": bias, "scale": scale, "dropout": 0.2, "key": jax.random.key(1)}
        return F.dot_product_attention(q, k, v, **options)

    _assert_alike(attend, *_qkv(16, 7, shared=1), _draw(1, 4, 1, 7, seed=6), np.float64(0.7))


def check_masks_by_row_and_positions_that_move_scores() -> None:
    """More keys than queries, offsets, a bias by positions with weights of its own; a query that sees nothing."""
    mask = jnp.asarray(_draw(2, 1, 8, 16) > -0.5).at[0, 0, 3].set(False)

    def attend(q: Any, k: Any, v: Any, weight: Any) -> Any:
        bias = lambda at, to: jnp.moveaxis(weight[jnp.clip(to - at[..., None] + 9, 0, 18)], -1, -3)  # noqa: E731
        options = {"mask": mask, "offset": jnp.array([2, 6]), "window": (7, None)}
        return F.dot_product_attention(q, k, v, bias=bias, **options)

    _assert_alike(attend, *_qkv(8, 16), _draw(19, 4, seed=4))


def check_causal_from_an_offset() -> None:
    """In pieces of several tiles, of which some are passed over."""
    attend = lambda q, k, v: F.dot_product_attention(q, k, v, causal=True, offset=6, chunk=2)  # noqa: E731
    _assert_alike(attend, *_qkv(16, 32))


def check_a_window_sends_keys_no_further() -> None:
    """Of four devices' keys a causal window of a device's length shows two: one step of the ring."""
    placement = px.parallel.Placement.of(context_parallel(4))
    way = placement.strategy.ways(placement.mesh)["attention"]
    seen: list[tuple[int, int]] = []

    def noted(q: Any, k: Any, v: Any, *more: Any) -> None:
        del v
        ring = way.ring(q, k, *more)[0]
        seen.append((ring.first, ring.steps))

    for causal, window in ((True, (4, 0)), (True, (5, 0)), (True, None), (False, (3, 2)), (False, (3, 5))):
        look = functools.partial(F.dot_product_attention, causal=causal, window=window)
        with ways({"attention": noted}):
            jax.eval_shape(look, *_qkv())
    assert seen == [(0, 2), (0, 3), (0, 4), (-1, 3), (0, 4)], seen


def check_other_generators() -> None:
    """Their draws are not one device's, yet the same both ways: what is linear in v is its gradient times v."""
    placement = px.parallel.Placement.of(context_parallel(4))
    q, k, v = _qkv()

    def loss(v: Any) -> Any:
        with ways(placement.strategy.ways(placement.mesh)):
            key = jax.random.key(5, impl="rbg")
            return jnp.sum(F.dot_product_attention(q, k, v, dropout=0.5, key=key) * _draw(2, 16, 4, 3))

    value, slope = jax.jit(jax.value_and_grad(loss))(v)
    np.testing.assert_allclose(value, np.sum(slope * v), rtol=1e-10)


def check_what_it_leaves_to_the_compiler() -> None:
    """Queries that do not divide, one query, weights that are asked for: right too."""
    placement = px.parallel.Placement.of(context_parallel(4))
    for options, queries in (({}, 6), ({}, 1), ({"return_weights": True}, 8), ({"implementation": "xla"}, 8)):
        q, k, v = _qkv(queries, 8)
        attend = functools.partial(F.dot_product_attention, **options)

        def spread(*arrays: Any, attend: Any = attend) -> Any:
            with ways(placement.strategy.ways(placement.mesh)):
                return attend(*arrays)

        many, one = jax.jit(spread)(*[placement.spread(x, strict=False) for x in (q, k, v)]), jax.jit(attend)(q, k, v)
        for ours, theirs in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


def check_what_is_time_in_a_batch() -> None:
    """The second axis of the first array, any as long, and that of another text; classes and weights are not."""
    placement = px.parallel.Placement.of(context_parallel(4) * data_parallel(2))
    words, classes = np.zeros((16, 12), np.int32), np.zeros((16, 3))
    batch = {
        "0 text": (words, "data context"),
        "another": (words[:, :8], "data context"),
        "another, odd": (words[:, :7], "data -"),
        "a weight for each step": (np.zeros((16, 12)), "data context"),
        "classes": (classes, "data -"),
        "one number": (classes[:, :1], "data -"),
        "labels": (words[:, 0], "data"),
        "a mask": (np.zeros((16, 1, 1, 12), bool), "data - - -"),
        "a weight for each step of another": (np.zeros((16, 8)), "data context"),
    }
    spread = placement.spread({name: array for name, (array, _) in batch.items()})
    for name, (_, cut) in batch.items():
        wanted = jax.sharding.PartitionSpec(*(None if axis == "-" else axis for axis in cut.split()))
        where = jax.sharding.NamedSharding(placement.mesh, wanted)
        assert spread[name].sharding.is_equivalent_to(where, spread[name].ndim), (name, spread[name].sharding)


class Sorted(px.Module):
    """A text to scores of three classes."""

    def __init__(self) -> None:
        self.token, self.head = px.Embedding(WORDS, 8), px.Dense(8, 3)
        self.attention = px.nn.MultiHeadAttention(8, 2, positions=px.nn.RotaryEmbedding(4))

    def __call__(self, tokens: Any) -> Any:
        return self.head(jnp.mean(self.attention(self.token(tokens)), 1))


def check_texts_with_a_share_of_each_class() -> None:
    """Targets of as many columns as there are classes, which four devices do not share."""

    def build() -> Sorted:
        with px.seed(4):
            return Sorted()

    shares = np.random.default_rng(5).dirichlet(np.ones(3), 16)
    assert_learns_alike(build, (texts(16)[0], shares), context_parallel(4) * fsdp(2))


def check_refusals() -> None:
    placement = px.parallel.Placement.of(context_parallel())
    with refused(px.ShapeError, "sequences that 8 devices share evenly", "[16, 12]", "pad the sequences"):
        placement.spread(texts(16, 12))
    for size in (0, True, 1.5):
        with refused(px.RangeError, "context_parallel", "a number of devices", repr(size)):
            context_parallel(size)


# --- trainings, of which the longer ones are for soak: see test_context ---------------------------------


def texts(count: int = 32, length: int = 16) -> tuple[Any, Any]:
    """Sentences, and what comes next at each place."""
    words = np.random.default_rng(2).integers(0, WORDS, (count, length + 1)).astype(np.int32)
    return words[:, :-1], words[:, 1:]


LEARN = {"loss": px.losses.cross_entropy, "precision": "float64"}


def check_a_decoder_in_small() -> None:
    """With dropout in attention and outside."""
    build = functools.partial(gpt, depth=1, repeated=False)
    assert_learns_alike(build, texts(16), context_parallel(4) * fsdp(2))


def check_gpt() -> None:
    """With dropout in attention and outside, repeated blocks."""
    strategies = (context_parallel(4) * fsdp(2), context_parallel(2) * data_parallel(4))
    for model in assert_trains_alike(gpt, texts(), *strategies, **LEARN):
        assert len(model.token.weight.devices()) == 8


class Neighbours(px.Module):
    """What looks along time: positions turned and lowered by distance, a convolution, a recurrence, a mean."""

    def __init__(self) -> None:
        self.token = px.Embedding(WORDS, 8)
        self.turned = px.nn.MultiHeadAttention(8, 2, kv_heads=1, causal=True, positions=px.nn.RotaryEmbedding(4))
        self.lowered = px.nn.MultiHeadAttention(8, 2, positions=px.nn.ALiBi(2), window=(5, 5))
        self.moved = px.nn.MultiHeadAttention(8, 2, positions=px.nn.RelativePositionBias(2))
        self.place = px.nn.PositionEmbedding(16, 8)
        self.near, self.past = px.Conv((3,), 8, 8, padding="SAME"), px.GRU(8, 8)
        self.head = px.Dense(8, WORDS)

    def __call__(self, tokens: Any) -> Any:
        x = self.place(self.token(tokens))
        for layer in (self.turned, self.lowered, self.moved, self.near, self.past):
            x = x + layer(x)
        return self.head(x + jnp.mean(x, 1, keepdims=True))


def _neighbours() -> Neighbours:
    with px.seed(3):
        return Neighbours()


def check_what_looks_at_neighbours() -> None:
    assert_trains_alike(_neighbours, texts(), context_parallel(4) * fsdp(2), **LEARN)
