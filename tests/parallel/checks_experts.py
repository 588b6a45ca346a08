"""Experts that are cut over devices: the layer against itself on one device, and trainings against one device's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.by_hand import assert_learns_alike
from parallel.kit import assert_same, assert_trains_alike, refused
from parallel.networks import WORDS

expert_parallel, data_parallel, fsdp = px.parallel.expert_parallel, px.parallel.data_parallel, px.parallel.fsdp
LEARN = {"loss": px.losses.cross_entropy, "precision": "float64"}


def _mixture(dropout: float = 0.0, **options: Any) -> px.nn.MixtureOfExperts:
    build = lambda: px.Chain(px.Dense(8, 16, px.tanh), px.Dropout(dropout), px.Dense(16, 8))  # noqa: E731
    with px.seed(5):
        return px.f64(px.nn.MixtureOfExperts(8, 8, build, **options))


def _gradients(model: Any, x: Any, spread: Callable[..., Any] = px.jit) -> Any:
    """Results, the balancing loss and gradients, of the model's and of the input."""

    @spread
    def run(model: Any, x: Any) -> Any:
        def loss(model: Any, x: Any) -> Any:
            y, balance = model(x, return_loss=True)
            return jnp.sum(jnp.sin(y)) + balance, (y, balance)

        return px.value_and_grad(loss, has_aux=True, argnums=(0, 1))(model, x)

    return run(model, x)


def _assert_alike(x: Any, strategy: Any, **options: Any) -> None:
    one, many = _mixture(**options), _mixture(**options)
    placement = px.parallel.shard(many, strategy)
    experts = many.experts.layers[0].weight
    assert experts.addressable_shards[0].data.shape[0] == 8 // dict(placement.sizes)["expert"]
    (first, (y, balance)), (grads, dx) = _gradients(one, jnp.asarray(x))
    (second, (z, level)), (slopes, dz) = _gradients(many, placement.spread(x), placement.jit)
    for ours, theirs in ((second, first), (z, y), (level, balance), (dz, dx)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    assert_same(slopes, grads, 1e-11)
    assert_same(many, one, 0.0)


def _rows(*shape: int) -> Any:
    return np.random.default_rng(4).normal(size=shape)


def check_every_expert_computes_every_token() -> None:
    """Draws of dropout within experts are one device's."""
    _assert_alike(_rows(8, 6, 8), expert_parallel(4) * data_parallel(2), dropout=0.2)


def check_a_batch_of_rows() -> None:
    """As many as there are tokens, so that experts see what looks like a batch."""
    _assert_alike(_rows(16, 8), expert_parallel(8))


def check_tokens_are_sent_within_groups() -> None:
    """Five places for two groups: a sixth stays empty. Experts run out of room, in the order of the whole batch."""
    _assert_alike(_rows(8, 16, 8), expert_parallel(4) * data_parallel(2), capacity=0.3, top_k=1)


def check_tokens_that_do_not_fit_their_slots_are_gathered() -> None:
    """All of a device's tokens are for one expert, another device's for another."""
    x = np.repeat(_rows(8, 1, 8), 32, axis=1) + 0.01 * _rows(8, 32, 8)
    _assert_alike(x, expert_parallel(4) * data_parallel(2), capacity=1.0, top_k=1)


def check_tokens_are_sent_by_their_slots() -> None:
    _assert_alike(_rows(8, 32, 8), expert_parallel(8), capacity=1.1, dropout=0.2)


def check_tokens_of_eight_devices_are_gathered() -> None:
    x = np.repeat(_rows(8, 1, 8), 32, axis=1) + 0.01 * _rows(8, 32, 8)
    _assert_alike(x, expert_parallel(8), capacity=2.0, top_k=1)


def check_experts_of_repeated_blocks_are_cut() -> None:
    """Along their own axis, which stands behind that of the blocks; the router lies whole."""
    cuts = px.parallel.Placement.of(expert_parallel(4)).cuts(decoder())
    assert cuts["blocks.block.mlp.experts.up.weight"][:2] == (None, "expert"), cuts
    assert cuts["blocks.block.mlp.router.weight"] == jax.sharding.PartitionSpec(), cuts


def check_refusals() -> None:
    dense = lambda: px.Chain(px.Dense(8, 8))  # noqa: E731
    with refused(px.RangeError, "expert_parallel", "a model with a MixtureOfExperts", "Chain without one"):
        px.parallel.shard(dense(), expert_parallel())
    few = px.Chain(px.nn.MixtureOfExperts(8, 6, lambda: px.nn.GatedMLP(8, 16)))
    with refused(px.RangeError, "experts that 4 devices share", "6 in layers.0", "a divisor of 6"):
        px.parallel.shard(few, expert_parallel(4))
    for size in (0, True, "all"):
        with refused(px.RangeError, "expert_parallel", "a number of devices", repr(size)):
            expert_parallel(size)
    assert jax.device_count() == 8


# --- trainings, of which the longer ones are for soak: see test_experts ---------------------------------


class Decoder(px.Module):
    """Blocks of attention and experts, the first of them repeated."""

    def __init__(self, dropout: float = 0.1, balance: float = 0.01, **options: Any):
        expert = lambda: px.nn.GatedMLP(16, 24)  # noqa: E731
        self.token = px.Embedding(WORDS, 16)
        mixture = lambda: px.nn.MixtureOfExperts(16, 8, expert, balance=balance, **options)  # noqa: E731
        layer = functools.partial(px.nn.TransformerEncoderLayer, 16, 2, norm_first=True, causal=True, dropout=dropout)
        self.blocks = px.nn.RepeatedLayer(lambda: layer(mlp=mixture()), 2)
        self.head = px.Dense(16, WORDS)

    def __call__(self, tokens: Any) -> Any:
        return self.head(self.blocks(self.token(tokens)))


def decoder(**options: Any) -> Decoder:
    with px.seed(6):
        return Decoder(**options)


def texts(count: int = 32) -> tuple[Any, Any]:
    words = np.random.default_rng(2).integers(0, WORDS, (count, 17)).astype(np.int32)
    return words[:, :-1], words[:, 1:]


def check_a_decoder_in_small() -> None:
    """Experts behind the axis of repeated blocks, sequences that are cut too, dropout, a loss that balances."""
    strategy = expert_parallel(2) * px.parallel.context_parallel(2) * fsdp(2, whole=64)
    model = assert_learns_alike(functools.partial(decoder, capacity=1.25), texts(8), strategy)
    up = model.blocks.block.mlp.experts.up.weight
    assert up.sharding.spec[1] == "expert", up.sharding


def check_a_decoder_with_capacity() -> None:
    build = functools.partial(decoder, capacity=1.25)
    strategies = (expert_parallel(4) * data_parallel(2), expert_parallel(4) * fsdp(2, whole=64))
    assert_trains_alike(build, texts(), *strategies, **LEARN)


def check_a_decoder_whose_experts_compute_all() -> None:
    assert_trains_alike(decoder, texts(), expert_parallel(8), **LEARN)


SIZES = {
    "vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}  # fmt: skip


def check_models_of_the_hub() -> None:
    """Mixtral, and a Qwen with a shared expert."""
    mixtral = px.models.MixtralConfig(**SIZES, intermediate_size=12, num_local_experts=4)
    qwen = px.models.Qwen2MoeConfig(
        **SIZES, intermediate_size=24, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
        shared_expert_intermediate_size=12,
    )  # fmt: skip

    def build(config: Any) -> Any:
        with px.seed(7):
            return px.models.create(config)

    for config in (mixtral, qwen):
        strategy = expert_parallel(4) * data_parallel(2)
        assert_trains_alike(functools.partial(build, config), texts(), strategy, **LEARN, steps=6)
