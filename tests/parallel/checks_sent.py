"""Compiled programs with all of XLA's passes: what attention in a ring and experts send, and what is held."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.checks_experts import decoder
from parallel.checks_program import held, moves, spread_step
from parallel.networks import gpt
from phlox.core import ways
from phlox.nn import functional as F

STRATEGY = px.parallel.context_parallel(4) * px.parallel.data_parallel(2)


def _compiled(time: int, **options: Any) -> Any:
    placement = px.parallel.Placement.of(STRATEGY)

    def loss(q: Any, k: Any, v: Any) -> Any:
        with ways(STRATEGY.ways(placement.mesh)):
            return jnp.sum(F.dot_product_attention(q, k, v, **options) ** 2)

    x = jax.ShapeDtypeStruct((2, time, 2, 16), jnp.float32, sharding=placement.spread(jnp.ones((2, 8))).sharding)
    return jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()


def check_keys_go_round_and_no_device_holds_a_sequence() -> None:
    """Nothing but pieces and blocks go from device to device; forward and backward take room for a few of them."""
    compiled = _compiled(8192, causal=True, chunk=256)
    found = moves(compiled.as_text())
    assert {name for name, _ in found} == {"collective-permute"}, found
    part = 8192 // 4 * 2 * 16 * 4  # bytes of a device's queries
    most = max(np.prod(shape) * 4 for _, shapes in found for shape in shapes)
    assert most <= part, found
    tile = 2 * 256 * 1024 * 4  # bytes of the scores that it makes at once
    held = compiled.memory_analysis().temp_size_in_bytes
    assert held < 30 * part + 8 * tile, (held, part, tile)


def check_maps_of_features_gather_no_activation() -> None:
    """Batch and time stay two axes in a product: what is sent are sums of gradients."""
    with px.seed(0):
        model = px.Chain(px.Dense(16, 32, px.gelu), px.LayerNorm(32), px.Dense(32, 16))
    placement = px.parallel.shard(model, STRATEGY)
    step = placement.jit(lambda model, x: px.grad(lambda model: jnp.sum(model(x) ** 2))(model))
    found = moves(step.lower(model, placement.spread(jnp.ones((8, 64, 16), jnp.float32))).compile().as_text())
    assert {name for name, _ in found} == {"all-reduce"}, found
    assert all(len(shape) < 3 for _, shapes in found for shape in shapes), found


def _trained(model: Any, strategy: Any) -> tuple[int, Any]:
    """What a device holds of a model, its optimiser and a batch, and the step of training compiled for them."""
    x = np.zeros((16, 16), np.int32)
    loss_of = lambda model, x, y: px.losses.cross_entropy(model(x), y)  # noqa: E731
    model, opt, batch, compiled = spread_step(model, strategy, loss_of, x, x)
    part = sum(v.addressable_shards[0].data.nbytes for v in batch)
    return held(model)[0] + held(opt)[0] + part, compiled


def check_steps_of_products_hold_parts_and_gather_no_activation() -> None:
    """Along time and over stages, too: gathered are weights, and vectors of small gradients."""
    P = px.parallel
    for strategy in (P.context_parallel(4) * P.fsdp(2), P.pipeline(2, microbatches=2) * P.context_parallel(4)):
        part, compiled = _trained(gpt(width=64, dropout=0.0), strategy)
        found = moves(compiled.as_text())
        assert {name for name, _ in found} <= {"all-gather", "all-reduce", "collective-permute"}, found
        gathered = [shape for name, shapes in found if name == "all-gather" for shape in shapes]
        assert all(len([n for n in shape if n > 1]) < 3 for shape in gathered), (strategy, gathered)
        assert compiled.memory_analysis().argument_size_in_bytes <= 1.01 * part, strategy
    part, compiled = _trained(gpt(width=64, dropout=0.0), P.fsdp(4) * P.tensor_parallel(2))
    found = moves(compiled.as_text())
    features = [shape for name, shapes in found if name == "all-gather" for shape in shapes if len(shape) > 2]
    assert len(features) <= 1, "words that were looked up move once"
    assert not any(name == "all-to-all" for name, _ in found), found
    assert compiled.memory_analysis().argument_size_in_bytes <= 1.01 * part


def check_experts_of_stages_stay() -> None:
    """Within a stage tokens go to experts along the axes that are left; weights of experts are not sent."""
    strategy = px.parallel.pipeline(2, microbatches=2) * px.parallel.expert_parallel(4)
    _, compiled = _trained(decoder(dropout=0.0, balance=0.0), strategy)
    found = moves(compiled.as_text())
    sent = {tuple(n for n in shape if n > 1)[-2:] for _, shapes in found for shape in shapes}
    assert not sent & {(16, 24), (24, 16)}, found
    assert Counter(name for name, _ in found)["reduce-scatter"] >= 1, "results of experts are summed where tokens lie"


def _sent(strategy: Any, **options: Any) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    """What goes between devices in a forward and a backward pass of one layer, 512 tokens of 32 features."""
    with px.seed(0):
        model = px.nn.MixtureOfExperts(32, 8, lambda: px.Dense(32, 32, bias=False), top_k=1, **options)
    placement = px.parallel.shard(model, strategy)

    @placement.jit
    def step(model: Any, x: Any) -> Any:
        return px.grad(lambda model, x: jnp.sum(model(x) ** 2), argnums=(0, 1))(model, x)

    x = placement.spread(jnp.ones((8, 64, 32), jnp.float32))
    return moves(step.lower(model, x).compile().as_text())


def _of_tokens(found: Any) -> Counter[str]:
    """How often each kind of collective moves arrays of tokens, (…, 32); none moves weights of experts."""
    assert not any(shape[-2:] == (32, 32) for _, shapes in found for shape in shapes), found
    return Counter(name for name, shapes in found if any(shape[-1:] == (32,) and shape[0] != 8 for shape in shapes))


def check_without_capacity_tokens_are_gathered_and_results_summed() -> None:
    """And backward the other way round, by a sum of which each device takes its part."""
    found = _of_tokens(_sent(px.parallel.expert_parallel(8)))
    assert found == {"all-gather": 2, "reduce-scatter": 1, "all-reduce": 1}, found


def check_with_capacity_tokens_go_by_all_to_all() -> None:
    """There and back, forward and backward; what is gathered stands in the other branch."""
    found = _of_tokens(_sent(px.parallel.expert_parallel(8), capacity=1.0))
    assert found["all-to-all"] == 4, found
    assert "all-reduce" not in found, found
