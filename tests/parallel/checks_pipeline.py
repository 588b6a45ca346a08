"""Pipelines on eight devices, each beside one device."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.kit import arrays, assert_same, assert_trains_alike, refused
from parallel.networks import gpt, next_token, sentences
from phlox.parallel import data_parallel, fsdp, pipeline, shard

WIDTH, STEPS, WORDS = 8, 6, 11


class Reader(px.Module):
    """A small encoder, whose blocks all read how long each text is."""

    def __init__(self):
        self.embed, self.head = px.Embedding(WORDS, WIDTH), px.Dense(WIDTH, 3)
        self.blocks = px.RepeatedLayer(lambda: px.nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0), 4)

    def __call__(self, tokens, lengths):
        return self.head(self.blocks(self.embed(tokens), lengths=lengths)[:, 0])


class Pulled(px.Module):
    """A block that reads the first input, an array with a row for each of the batch, and one that all rows share."""

    def __init__(self):
        self.inner, self.drop = px.Dense(WIDTH, WIDTH, px.tanh), px.Dropout(0.3)

    def __call__(self, h, x, row, shared):
        return 0.5 * h + self.drop(self.inner(h + shared)) * row + 0.1 * x


class Tall(px.Module):
    """Blocks of that kind, and what they share, which is learned too."""

    shared: px.Param

    def __init__(self):
        self.blocks, self.shared = px.RepeatedLayer(Pulled, 4, inject=True), jnp.linspace(-1, 1, WIDTH)

    def __call__(self, x, row):
        return self.blocks(x, row, shared=self.shared)


class Unit(px.Module):
    """A block that has no gradient at zero, where a stage that idles must not be."""

    def __init__(self):
        self.inner = px.Dense(WIDTH, WIDTH, px.gelu)

    def __call__(self, h):
        h = h + self.inner(h)
        return h / jnp.sqrt(jnp.sum(h**2, -1, keepdims=True))


def made(build, *args, **options):
    with px.seed(0):
        return px.f64(build(*args, **options))


def rounds(build, each, count, **options):
    """Blocks whose rounds are interleaved: a repeated layer of repeated layers."""
    return px.RepeatedLayer(lambda: px.RepeatedLayer(build, each), count, **options)


def gradient(fn):
    """Loss and gradient of ``fn(model, *batch)``, as a step."""
    return lambda model, *batch: px.value_and_grad(fn)(model, *batch)


def tokens(rows, seed=0):
    return np.random.default_rng(seed).integers(0, WORDS, (rows, STEPS))


def part_of(array):
    """The shape of what one device holds."""
    return array.addressable_shards[0].data.shape


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


def check_interleaved_blocks_train_as_on_one_device():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(32, WIDTH)), rng.integers(0, 3, 32)
    build = lambda: made(px.Chain, rounds(Unit, 4, 2, key=5), px.Dense(WIDTH, 3, key=6))  # noqa: E731
    [many] = assert_trains_alike(
        build, (x, y), pipeline(4, microbatches=4, schedule="interleaved") * data_parallel(2),
        loss=px.losses.cross_entropy, batch_size=32,
    )  # fmt: skip
    assert part_of(many.layers[0].block.block.inner.weight) == (2, 1, WIDTH, WIDTH), "a block of each round"


def by_micro_batches(model, microbatches, stages, *inputs):
    """What a pipeline promises where blocks draw: one micro-batch after another, of the rows that it takes together."""
    rows = np.arange(len(inputs[0])).reshape(stages, -1, microbatches)
    result = [None] * len(inputs[0])
    for m in range(microbatches):
        mine = rows[:, :, m].T.ravel()
        for n, y in zip(mine, model(*(v[mine] for v in inputs)), strict=True):
            result[n] = y
    return jnp.stack(result)


def check_draws_depend_on_the_block_and_the_micro_batch_alone():
    """Injected input, arrays of rows and of all, dropout: as micro-batches one after another on one device."""
    rng = np.random.default_rng(3)
    x, row, wanted = rng.normal(size=(16, WIDTH)), rng.normal(size=(16, 1)), rng.normal(size=(16, WIDTH))
    one, many = made(Tall), made(Tall)
    loss = lambda y: jnp.sum(jnp.sin(y) * wanted)  # noqa: E731
    value, grads = px.jit(gradient(lambda m: loss(by_micro_batches(m, 4, 4, x, row))))(one)
    placement = shard(many, pipeline(4, microbatches=4))
    step = placement.jit(gradient(lambda m, x, row: loss(m(x, row))))
    theirs, mine = step(many, *placement.spread((x, row)))
    np.testing.assert_allclose(theirs, value, rtol=1e-12)
    assert_same(mine, grads, 1e-10)
    assert_same(many, one, 0, "keys move once for each micro-batch:")


def check_a_ready_model_goes_through_stages_once_its_blocks_are_joined():
    config = px.models.LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    one, many = made(px.models.Llama, config), made(px.models.Llama, config)
    one.blocks, many.blocks = ([px.RepeatedLayer.of(m.blocks)] for m in (one, many))
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


def program(model, strategy, loss, *batch):
    """The compiled program of a gradient."""
    placement = shard(model, strategy)
    return placement.jit(gradient(loss)).lower(model, *placement.spread(batch)).compile()


def check_activations_move_and_blocks_stay():
    mean = lambda m, x: jnp.mean(m(x) ** 2)  # noqa: E731
    text = program(gpt(depth=4, width=16), pipeline(4, microbatches=2) * data_parallel(2), mean, sentences(16, 6)).as_text()
    kinds = "all-gather|all-to-all|all-reduce|reduce-scatter|collective-permute"
    moved = {}
    for shape, kind in re.findall(rf"= (.+?) ({kinds})(?:-start)?\(", text):
        moved.setdefault(kind, []).append(shape)
    assert set(moved) == {"collective-permute", "all-reduce"}, moved
    print(moved)


def check_memory():
    x = np.random.default_rng(0).normal(size=(256, 64))
    block = lambda: px.Chain(px.Dense(64, 256, px.gelu), px.Dense(256, 64))  # noqa: E731
    mean = lambda m, x: jnp.mean(m(x) ** 2)  # noqa: E731
    for strategy in (pipeline(1, microbatches=8), pipeline(4, microbatches=8), pipeline(4, microbatches=8, remat=True)):
        print(strategy, program(px.RepeatedLayer(block, 8), strategy, mean, x).memory_analysis())
    for remat in (False, True):
        strategy = pipeline(4, microbatches=8, schedule="interleaved", remat=remat)
        print(strategy, program(rounds(block, 4, 2), strategy, mean, x).memory_analysis())


def check_models_that_stages_cannot_share_are_refused():
    dense = lambda: px.Dense(WIDTH, WIDTH)  # noqa: E731
    norm = lambda: px.Chain(px.Dense(WIDTH, WIDTH), px.BatchNorm(WIDTH))  # noqa: E731
    none = "pipeline(2) expects a model with a RepeatedLayer, got Chain\n  fix: build its equal blocks as"
    odd = "expects blocks that 4 stages share evenly, got 6 at layers.0\n  fix: "
    statistics = "expects blocks that need no statistics of the whole batch, got a BatchNorm at block.layers.1\n  fix: "
    flat = "expects interleaved blocks as a RepeatedLayer of RepeatedLayers at the root, got RepeatedLayer(4 × "
    for error, text, model, strategy in (
        (px.StructureError, none, px.Chain(dense()), pipeline(2)),
        (px.StructureError, none, px.Chain(px.RepeatedLayer(dense, 4, share=True)), pipeline(2)),
        (px.RangeError, odd, px.Chain(px.RepeatedLayer(dense, 6)), pipeline(4)),
        (px.StructureError, statistics, px.RepeatedLayer(norm, 4), pipeline(2)),
        (px.StructureError, flat, px.RepeatedLayer(dense, 4), pipeline(2, schedule="interleaved")),
    ):
        with refused(error, text):
            shard(model, strategy)


def check_batches_that_do_not_split_are_refused_with_what_would():
    dense = lambda: px.Dense(WIDTH, WIDTH)  # noqa: E731
    norm = lambda: px.nn.SpectralNorm(dense())  # noqa: E731
    mean = lambda m, x: jnp.mean(m(x))  # noqa: E731
    masked = lambda m, x: m(x, mask=jnp.ones((8, 8), bool)).sum()  # noqa: E731
    uneven = (
        "RepeatedLayer(4 × Dense(8 → 8)) expects 4 micro-batches, each of as many rows from 4 devices, got 24 rows in 4"
        "\n  fix: choose a multiple of 16 as batch_size, or other microbatches"
    )
    odd = "expects micro-batches in 2 rounds as a multiple of the 2 stages, got 24 rows in 3\n  fix: "
    either = "expects arrays for all blocks whose first axis is the batch or is not, by its size, got bool[8, 8] beside"
    state = "expects blocks that move no State but random keys, as they see one micro-batch, got a write to "
    encoder = lambda: px.nn.TransformerEncoderLayer(WIDTH, 2, dropout=0.0)  # noqa: E731
    x, square = np.zeros((24, WIDTH), "f"), np.zeros((8, 8, WIDTH), "f")
    for error, text, model, strategy, loss, batch in (
        (px.ShapeError, uneven, px.RepeatedLayer(dense, 4), pipeline(2, microbatches=4) * data_parallel(2), mean, x),
        (px.ShapeError, odd, rounds(dense, 2, 2), pipeline(2, microbatches=3, schedule="interleaved"), mean, x),
        (px.ShapeError, either, px.RepeatedLayer(encoder, 2), pipeline(2), masked, square),
        (px.StateError, state, px.RepeatedLayer(norm, 2), pipeline(2), mean, x),
    ):
        placement = shard(model, strategy)
        with refused(error, text):
            placement.jit(gradient(loss))(model, *placement.spread((batch,)))
