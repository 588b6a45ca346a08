"""Five kinds of network under each strategy and its products: twenty steps of px.fit over eight devices and on one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import phlox as px
from parallel.checks_experts import decoder
from parallel.kit import assert_trains_alike, trained
from parallel.networks import convnet, gpt, images, mlp, pairs, points, tower, translation, translator
from parallel.networks import sentences as words

P = px.parallel
data, fsdp, tensor, context = P.data_parallel, P.fsdp, P.tensor_parallel, P.context_parallel
stages, experts = functools.partial(P.pipeline, microbatches=2), P.expert_parallel
small = functools.partial(fsdp, whole=64)  # cuts what these networks have

Case = tuple[Callable[[], Any], Any, dict[str, Any]]
CLASSES = {"loss": px.losses.cross_entropy}
T5 = px.models.T5Config(vocab_size=40, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=4, dropout_rate=0.1)


def sentences(count: int = 32, length: int = 16) -> tuple[Any, Any]:
    """Texts, and what comes next at each place."""
    found = words(count, length + 1)
    return found[:, :-1], found[:, 1:]


def blocks() -> Any:
    """A perceptron of equal blocks."""
    with px.seed(0):
        block = lambda: px.Chain(px.Dense(16, 32, px.tanh), px.Dense(32, 16))  # noqa: E731
        return px.Chain(px.Dense(12, 16), px.RepeatedLayer(block, 4), px.Dropout(0.2), px.Dense(16, 3))


def mixture() -> Any:
    """A decoder of experts as a pipeline takes it: what draws and what balances look at the whole batch."""
    return decoder(dropout=0.0, balance=0.0)


def t5() -> Any:
    with px.seed(0):
        return px.models.create(T5)


# What each network is trained on and how, and how it is spread: with dropout wherever there are no stages, which draw
# by micro-batch.
PERCEPTRON: Case = mlp, points, CLASSES
PERCEPTRON_IN_BLOCKS: Case = blocks, points, CLASSES
CONVOLUTIONS: Case = convnet, images, CLASSES
CONVOLUTIONS_IN_BLOCKS: Case = tower, images, CLASSES
DECODER: Case = gpt, sentences, CLASSES
DECODER_THAT_DRAWS_NOTHING: Case = functools.partial(gpt, dropout=0.0), sentences, CLASSES
TWO_TEXTS: Case = translator, pairs, {"loss": translation}
TWO_TEXTS_WITHOUT_DRAWS: Case = functools.partial(translator, dropout=0.0), pairs, {"loss": translation}
OF_THE_HUB: Case = t5, pairs, {"loss": translation}
MIXTURE: Case = decoder, sentences, CLASSES
MIXTURE_WITH_ROOM: Case = functools.partial(decoder, capacity=1.25), sentences, CLASSES
MIXTURE_IN_STAGES: Case = mixture, sentences, CLASSES


def alike(case: Case, *strategies: Any) -> list[Any]:
    """In float64 losses, weights, statistics and keys are those of one device; the models."""
    build, made, options = case
    return assert_trains_alike(lambda: px.f64(build()), made(), *strategies, **options)


def check_perceptrons() -> None:
    alike(PERCEPTRON, data(), small(), tensor(8), small(4) * tensor(2), data(2) * small(2) * tensor(2))
    alike(PERCEPTRON_IN_BLOCKS, stages(4) * data(2), stages(2) * small(4), stages(2) * data(2) * tensor(2))


def check_convolutions_and_statistics_of_whole_batches() -> None:
    alike(CONVOLUTIONS, data(), small(4) * data(2), data(4) * tensor(2), small(2) * tensor(4))
    alike(CONVOLUTIONS_IN_BLOCKS, stages(4) * data(2), stages(2) * small(4))


def check_decoders() -> None:
    alike(DECODER, data(), small(), small(4) * tensor(2), context(4) * small(2), data(2) * context(2) * tensor(2))


def check_decoders_in_stages() -> None:
    strategies = stages(2) * data(4), stages(2) * small(2) * tensor(2), stages(2) * context(4)
    alike(DECODER_THAT_DRAWS_NOTHING, *strategies, stages(2) * data(2) * context(2))


def check_encoders_and_decoders() -> None:
    alike(TWO_TEXTS, small(4) * data(2), data(2) * tensor(4), context(4) * small(2), context(2) * tensor(4))
    alike(TWO_TEXTS_WITHOUT_DRAWS, stages(2) * data(4), stages(2) * context(2) * small(2))


def check_t5() -> None:
    alike(OF_THE_HUB, small(), data(2) * small(2) * tensor(2), context(4) * data(2))


def check_mixtures() -> None:
    alike(MIXTURE, experts(8), experts(4) * small(2), experts(2) * context(2) * data(2))
    alike(MIXTURE_WITH_ROOM, experts(4) * data(2), experts(2) * small(2) * tensor(2))


def check_mixtures_in_stages() -> None:
    (model, *_) = alike(MIXTURE_IN_STAGES, stages(2) * experts(4), stages(2) * experts(2) * small(2))
    up = model.blocks.block.mlp.experts.up.weight
    assert up.addressable_shards[0].data.shape == (1, 2, *up.shape[2:]), "a block, two of its experts"


def near(case: Case, *strategies: Any) -> None:
    """In float32 losses are those of one device to 1e-4."""
    build, made, options = case
    given = tuple(v.astype("float32") if v.dtype == np.float64 else v for v in made())
    one = trained(build, given, **options)[1]
    for strategy in strategies:
        many = trained(build, given, strategy, **options)[1]
        np.testing.assert_allclose(many.losses, one.losses, rtol=1e-4, err_msg=repr(strategy))


def check_float32_of_perceptrons_and_convolutions() -> None:
    near(PERCEPTRON, small(4) * data(2), tensor(8))
    near(CONVOLUTIONS, small(4) * data(2), data(4) * tensor(2))


def check_float32_of_decoders() -> None:
    near(DECODER, small(4) * tensor(2), context(4) * data(2))
    near(DECODER_THAT_DRAWS_NOTHING, stages(2) * data(4))
    near(TWO_TEXTS, small(4) * data(2), context(2) * tensor(4))
