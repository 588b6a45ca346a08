"""The compiled program of tensor parallelism, with all of XLA's passes: what goes between devices."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

import phlox as px
from parallel.checks_program import moves
from parallel.checks_tensor import pair, texts

data_parallel, tensor_parallel = px.parallel.data_parallel, px.parallel.tensor_parallel
VOCABULARY, WIDTH, BATCH, TIME = 64, 32, 8, 16
X = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, TIME))


def decoder(layers: int, **options: Any) -> Any:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 96, "num_attention_heads": 4}
    with px.seed(0):
        return px.models.create(px.models.LlamaConfig(**sizes, num_hidden_layers=layers, **options))


def gradient(model: Any, strategy: Any, x: Any = X, y: Any = X) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    """What devices send for the loss of a batch and its gradient, with the shapes of a device's part."""
    placement = px.parallel.shard(model, strategy)

    @placement.jit
    def step(model: Any, x: Any, y: Any) -> Any:
        return px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)

    return moves(step.lower(model, *placement.spread((x, y))).compile().as_text())


def check_a_block_sums_twice_in_each_direction_and_sends_nothing_else() -> None:
    """Forward behind attention and behind features; backward three maps of attention and two of features, together."""
    found = gradient(decoder(1), tensor_parallel(2))
    assert {name for name, _ in found} == {"all-reduce"}, found
    features = BATCH * TIME * WIDTH
    sums = Counter(len(shapes) for _, shapes in found if all(np.prod(shape) == features for shape in shapes))
    assert sums == {1: 4, 2: 1, 3: 1}, found  # alone: two forward, the embedding, and the gradient of the head
    rest = [shape for _, shapes in found for shape in shapes if np.prod(shape) != features]
    assert all(np.prod(shape) == BATCH * TIME for shape in rest), found  # of a cut vocabulary: largest, sum, target


def check_with_data_parallel_only_gradients_are_added() -> None:
    """Beside the sums of a block: of the data axis, no part of a batch goes to another device."""
    found = gradient(decoder(1), data_parallel(2) * tensor_parallel(2))
    assert {name for name, _ in found} == {"all-reduce"}, found


def check_encoder_decoder_gathers_nothing() -> None:
    found = gradient(pair(), data_parallel(2) * tensor_parallel(2), *(v[:BATCH] for v in texts(12)))
    assert {name for name, _ in found} == {"all-reduce"}, found
