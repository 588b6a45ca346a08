"""The compiled program of experts on several devices, with all of XLA's passes: what is sent."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.checks_program import moves


def _sent(strategy: Any, **options: Any) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    """What goes between devices in a forward and a backward pass of one layer, 512 tokens of 32 features."""
    with px.seed(0):
        model = px.nn.MixtureOfExperts(32, 8, lambda: px.nn.GatedMLP(32, 48), top_k=1, **options)
    placement = px.parallel.shard(model, strategy)

    @placement.jit
    def step(model: Any, x: Any) -> Any:
        return px.grad(lambda model: jnp.sum(model(x) ** 2))(model)

    x = placement.spread(jnp.asarray(np.random.default_rng(0).normal(size=(8, 64, 32)), jnp.float32))
    return moves(step.lower(model, x).compile().as_text())


def _large(found: Any) -> dict[str, int]:
    """How often each kind of collective moves arrays of tokens, (…, 32), or of weights, (…, 48)."""
    kinds: dict[str, int] = {}
    for name, shapes in found:
        if any(set(shape) & {32, 48} for shape in shapes):
            kinds[name] = kinds.get(name, 0) + 1
    return kinds


def check_without_capacity_tokens_are_gathered_and_results_summed() -> None:
    found = _sent(px.parallel.expert_parallel(8))
    assert not any({48} & set(shape) for _, shapes in found for shape in shapes), "weights of experts stay"
    print(_large(found))


def check_with_capacity_tokens_go_by_all_to_all() -> None:
    found = _sent(px.parallel.expert_parallel(8), capacity=1.0)
    assert not any({48} & set(shape) for _, shapes in found for shape in shapes), "weights of experts stay"
    assert _large(found)["all-to-all"] >= 4, found
