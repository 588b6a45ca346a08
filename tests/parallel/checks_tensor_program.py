"""The compiled program of tensor parallelism, with all of XLA's passes: what goes between devices."""

from __future__ import annotations

from typing import Any

import numpy as np

import phlox as px
from parallel.checks_program import moves

data_parallel, tensor_parallel = px.parallel.data_parallel, px.parallel.tensor_parallel
VOCABULARY, WIDTH, BATCH, TIME = 64, 32, 8, 16
X = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, TIME))


class Pair(px.Module):
    """A model of two texts that takes them side by side."""

    def __init__(self, model: px.Module):
        self.model = model

    def __call__(self, x: Any) -> Any:
        half = x.shape[1] // 2
        return self.model(x[:, :half], x[:, half:])


def decoder(layers: int, **options: Any) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_attention_heads": 4,
    }
    with px.seed(0):
        return px.models.create(px.models.LlamaConfig(**sizes, num_hidden_layers=layers, **options))


def gradient(model: Any, strategy: Any, x: Any = X, y: Any = X) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    """What devices send for the loss of a batch and its gradient, with the shapes of a device's part."""
    placement = px.parallel.shard(model, strategy)

    def step(model: Any, x: Any, y: Any) -> Any:
        return px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)

    compiled: Any = placement.jit(step)
    return moves(compiled.lower(model, *placement.spread((x, y))).compile().as_text())


def sums_of_features(found: Any, wanted: int) -> list[int]:
    """How many arrays of features each sum of them takes; nothing else goes between devices that is as large.

    For one block: behind attention and behind features, and in the gradient of three maps of attention and of two of
    features; of the words and the head one each.
    """
    assert {name for name, _ in found} == {"all-reduce"}, found
    features, sums = BATCH * TIME * WIDTH, [[int(np.prod(shape)) for shape in shapes] for _, shapes in found]
    counts = [sum(size == features for size in sizes) for sizes in sums]
    assert sum(counts) == wanted, found
    rest = [size for sizes in sums for size in sizes if size != features]
    assert max(rest) <= BATCH * TIME, found  # of a cut vocabulary the largest score, the sum, the target
    return sorted(count for count in counts if count)


def check_a_block_sums_twice_in_each_direction() -> None:
    """In as many calls; what stands beside them are the words, and the gradient of the head."""
    assert sums_of_features(gradient(decoder(1), tensor_parallel(2)), 9) == [1, 1, 1, 1, 2, 3]


def check_with_data_parallel_gradients_are_added_too_and_nothing_is_gathered() -> None:
    found = gradient(decoder(1), data_parallel(2) * tensor_parallel(2))
    assert {name for name, _ in found} == {"all-reduce"}, found


def check_encoder_decoder_gathers_nothing() -> None:
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "d_kv": 8,
        "d_ff": 96,
        "num_layers": 1,
        "num_heads": 4,
    }
    with px.seed(0):
        model = Pair(px.models.create(px.models.T5Config(**sizes, dropout_rate=0.1)))
    found = gradient(model, data_parallel(2) * tensor_parallel(2), X, X[:, : TIME // 2])
    assert {name for name, _ in found} == {"all-reduce"}, found
