"""Pipelines of whole networks, each beside one device."""

import re
from functools import partial

import numpy as np

import phlox as px
from parallel.checks_pipeline import WIDTH, gradient, made, part_of
from parallel.kit import arrays, assert_trains_alike
from parallel.networks import gpt, next_token, sentences
from phlox.parallel import data_parallel, fsdp, pipeline, shard

STEPS, WORDS = 6, 11


class Reader(px.Module):
    """A small encoder, whose blocks all read how long each text is."""

    def __init__(self):
        self.embed, self.head = px.Embedding(WORDS, WIDTH), px.Dense(WIDTH, 3)
        self.blocks = px.RepeatedLayer(lambda: px.nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0), 4)

    def __call__(self, tokens, lengths):
        return self.head(self.blocks(self.embed(tokens), lengths=lengths)[:, 0])


def tokens(rows, seed=0):
    return np.random.default_rng(seed).integers(0, WORDS, (rows, STEPS))


def check_a_language_model_trains_as_on_one_device():
    """With a last batch that is filled up, clipped, averaged; beside data parallelism and with weights in parts."""
    data, fsdp_ = pipeline(4, microbatches=2) * data_parallel(2), pipeline(2, remat=True) * fsdp(4, whole=16)
    models = assert_trains_alike(
        lambda: px.f64(gpt(depth=4, width=16, dropout=0.0)), sentences(40, 7), data, fsdp_, loss=next_token, clip=0.5,
        callbacks=[px.EMA(0.9)],
    )  # fmt: skip
    up = [part_of(model.blocks.block.perceptron[0].weight) for model in models]
    assert up == [(1, 16, 32), (2, 16, 8)], "one block on a stage; a quarter of two"
    assert part_of(models[0].token.weight) == (40, 16)


def check_an_encoder_reads_lengths_and_predicts_uneven_batches():
    x, lengths = tokens(32, 1), np.random.default_rng(2).integers(1, STEPS, 32)
    loss = lambda model, x, lengths, y: px.losses.cross_entropy(model(x, lengths), y)  # noqa: E731
    [many] = assert_trains_alike(
        partial(made, Reader), (x, lengths, x[:, 0] % 3), pipeline(2, microbatches=4) * data_parallel(2), loss=loss,
        accumulate=2,
    )  # fmt: skip
    one = made(Reader)
    px.load_state_dict(one, arrays(many))
    placement = shard(many, pipeline(2, microbatches=4))
    odd = placement.spread((x[:9], lengths[:9]), strict=False)
    np.testing.assert_allclose(placement.jit(lambda m, *a: m(*a))(many, *odd), one(x[:9], lengths[:9]), atol=1e-12)


def check_a_ready_model_goes_through_stages_once_its_blocks_are_joined():
    config = px.models.LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    many = made(px.models.Llama, config)
    many.blocks = [px.RepeatedLayer.of(many.blocks)]
    x, mask = tokens(8), np.arange(STEPS) < np.random.default_rng(1).integers(2, STEPS, 8)[:, None]
    loss = lambda m, x, mask: px.losses.cross_entropy(m(x, mask=mask), x, weight=mask)  # noqa: E731
    value, grads = px.jit(gradient(loss))(made(px.models.Llama, config), x, mask)
    placement = shard(many, pipeline(2, microbatches=2))
    theirs, mine = placement.jit(gradient(loss))(many, *placement.spread((x, mask)))
    np.testing.assert_allclose(theirs, value, rtol=1e-12)
    for path, v in px.paths(grads).items():
        at = re.fullmatch(r"blocks\.(\d+)\.(.*)", path)
        ours = px.paths(mine)[f"blocks.0.block.{at[2]}"][int(at[1])] if at else px.paths(mine)[path]
        np.testing.assert_allclose(ours, v, atol=1e-12, err_msg=path)
