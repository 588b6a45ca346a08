"""Pipelines on eight devices, each run beside one device; checks that test_pipeline.py runs in one process."""

import re

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from phlox.parallel import Placement, data_parallel, fsdp, pipeline

jax.config.update("jax_enable_x64", True)  # weights are float32 where px.f64 does not say otherwise
WIDTH, STEPS, WORDS = 8, 6, 11


class Writer(px.Module):
    """A small decoder-only language model."""

    def __init__(self, blocks, **options):
        layer = lambda: px.nn.TransformerEncoderLayer(  # noqa: E731
            WIDTH, 2, 16, px.gelu, dropout=0.0, norm_first=True, causal=True
        )
        self.embed = px.Embedding(WORDS, WIDTH)
        self.blocks = px.RepeatedLayer(layer, blocks, **options)
        self.head = px.Dense(WIDTH, WORDS)

    def __call__(self, tokens):
        return self.head(self.blocks(self.embed(tokens)))


class Reader(px.Module):
    """A small encoder, whose blocks all read how long each text is."""

    def __init__(self, blocks):
        self.embed = px.Embedding(WORDS, WIDTH)
        self.blocks = px.RepeatedLayer(lambda: px.nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0), blocks)
        self.head = px.Dense(WIDTH, 3)

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
        self.inner = px.Chain(px.Dense(WIDTH, 2 * WIDTH, px.gelu), px.Dense(2 * WIDTH, WIDTH))

    def __call__(self, h):
        h = h + self.inner(h)
        return h / jnp.sqrt(jnp.sum(h**2, -1, keepdims=True))


def made(build, *args, **options):
    with px.seed(0):
        return px.f64(build(*args, **options))


def same(one, many, bar):
    for path, v in px.paths(one).items():
        if jnp.issubdtype(v.dtype, jnp.floating):
            np.testing.assert_allclose(px.paths(many)[path], v, rtol=bar, atol=bar, err_msg=path)


def trained_alike(build, data, strategy, **options):
    """The model after px.fit on several devices, once it is seen to be the one of one device."""
    one, many = build(), build()
    options = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False, **options}
    first, second = px.fit(one, data, **options), px.fit(many, data, **options, parallel=strategy)
    np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-9)
    same(one, many, 1e-9)
    return many


class spread:  # noqa: N801 - used like a function
    """A model in its place, and the loss and gradient of ``fn(model, *batch)`` there."""

    def __init__(self, model, strategy):
        self.model, self.placement = model, Placement.of(strategy)
        self.placement.place(model)

    def jitted(self, fn):
        @px.jit
        def step(model, *batch):
            with self.placement.step(batch):
                value, grads = px.value_and_grad(fn)(model, *batch)
                self.placement.hold(model, grads)
                return value, grads

        return step

    def step(self, fn, *batch):
        return self.jitted(fn)(self.model, *self.placement.spread(batch))

    def compiled(self, fn, *batch):
        return self.jitted(fn).lower(self.model, *self.placement.spread(batch)).compile()


def tokens(rows, seed=0):
    return np.random.default_rng(seed).integers(0, WORDS, (rows, STEPS))


def squares(model, x):
    return jnp.mean(model(x) ** 2)


def check_a_language_model_trains_as_on_one_device():
    x = tokens(40)
    many = trained_alike(
        lambda: made(Writer, 4), (x, np.roll(x, -1, 1)), pipeline(4, microbatches=2) * data_parallel(2),
        epochs=7, batch_size=16, clip=0.5, callbacks=[px.EMA(0.9, write=True)],
    )  # fmt: skip
    weight = many.blocks.block.mlp.layers[0].weight
    assert weight.addressable_shards[0].data.shape == (1, WIDTH, 16), "each stage holds its block alone"
    assert many.head.weight.addressable_shards[0].data.shape == (WIDTH, WORDS)


def check_an_encoder_trains_with_its_weights_in_parts_too():
    x, lengths = tokens(32, 1), np.random.default_rng(2).integers(1, STEPS, 32)
    many = trained_alike(
        lambda: made(Reader, 4), (x, lengths, x[:, 0] % 3), pipeline(2, remat=True) * fsdp(4, whole=16),
        epochs=20, batch_size=16, accumulate=2,
        loss=lambda model, x, lengths, y: px.losses.cross_entropy(model(x, lengths), y),
    )  # fmt: skip
    shard = many.blocks.block.mlp.layers[0].weight.addressable_shards[0].data
    assert shard.shape == (2, WIDTH, 4), "half of the blocks, a quarter of each"


def check_interleaved_blocks_train_as_on_one_device():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(32, WIDTH)), rng.integers(0, 3, 32)
    round_ = lambda: px.RepeatedLayer(Unit, 4)  # noqa: E731
    many = trained_alike(
        lambda: made(px.Chain, px.RepeatedLayer(round_, 2, key=5), px.Dense(WIDTH, 3, key=6)), (x, y),
        pipeline(4, microbatches=4, schedule="interleaved") * data_parallel(2), epochs=20, batch_size=32,
    )  # fmt: skip
    shard = many.layers[0].block.block.inner.layers[0].weight.addressable_shards[0].data
    assert shard.shape == (2, 1, WIDTH, 2 * WIDTH), "a block of each round"


def by_micro_batches(model, microbatches, stages, *arrays):
    """What a pipeline promises where blocks draw: one micro-batch after another, of the rows that it takes together."""
    rows = np.arange(len(arrays[0])).reshape(stages, -1, microbatches)
    result = [None] * len(arrays[0])
    for m in range(microbatches):
        mine = rows[:, :, m].T.ravel()
        for n, y in zip(mine, model(*(v[mine] for v in arrays)), strict=True):
            result[n] = y
    return jnp.stack(result)


def check_draws_depend_on_the_block_and_the_micro_batch_alone():
    """Injected input, arrays of rows and of all, dropout: as micro-batches one after another on one device."""
    rng = np.random.default_rng(3)
    x, row, wanted = rng.normal(size=(16, WIDTH)), rng.normal(size=(16, 1)), rng.normal(size=(16, WIDTH))
    strategy, one, many = pipeline(4, microbatches=4), made(Tall), made(Tall)
    loss = lambda y: jnp.sum(jnp.sin(y) * wanted)  # noqa: E731
    value, grads = px.jit(px.value_and_grad(lambda m: loss(by_micro_batches(m, 4, 4, x, row))))(one)
    theirs, mine = spread(many, strategy).step(lambda m, x, row: loss(m(x, row)), x, row)
    np.testing.assert_allclose(theirs, value, rtol=1e-12)
    same(grads, mine, 1e-10)
    for path, v in px.paths(one).items():
        if path.endswith("key"):
            now = px.paths(many)[path]
            np.testing.assert_array_equal(*map(jax.random.key_data, (v, now)), err_msg="a move for each micro-batch")


def check_the_program_moves_activations_and_no_blocks():
    model = made(Writer, 4)
    x = tokens(16)
    text = spread(model, pipeline(4, microbatches=2) * data_parallel(2)).compiled(
        lambda m, x: jnp.mean(m(x) ** 2), x
    ).as_text()
    found = re.findall(r"= (\S+) (all-gather|all-to-all|all-reduce|reduce-scatter|collective-permute)\(", text)
    moved = {kind: {shape for shape, k in found if k == kind} for _, kind in found}
    print(moved)


def check_remat_keeps_less():
    def build():
        return made(px.RepeatedLayer, lambda: px.Chain(px.Dense(64, 256, px.gelu), px.Dense(256, 64)), 8)

    x = np.random.default_rng(0).normal(size=(256, 64))
    for strategy in (pipeline(1, microbatches=8), pipeline(4, microbatches=8), pipeline(4, microbatches=8, remat=True)):
        print(strategy, spread(build(), strategy).compiled(squares, x).memory_analysis())


def check_a_ready_model_goes_through_stages_once_its_blocks_are_joined():
    config = px.models.LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    one, many = made(px.models.Llama, config), made(px.models.Llama, config)
    many.blocks = [px.RepeatedLayer.of(many.blocks)]
    x, mask = tokens(8), np.arange(STEPS) < np.random.default_rng(1).integers(2, STEPS, 8)[:, None]
    loss = lambda m, x, mask: px.losses.cross_entropy(m(x, mask=mask), x, weight=mask)  # noqa: E731
    value, grads = px.value_and_grad(loss)(one, x, mask)
    theirs, mine = spread(many, pipeline(2, microbatches=2)).step(loss, x, mask)
    np.testing.assert_allclose(theirs, value, rtol=1e-12)
    for n in range(2):
        ours = {path.removeprefix(f"blocks.{n}."): v for path, v in px.paths(grads).items() if f"blocks.{n}." in path}
        for path, v in ours.items():
            np.testing.assert_allclose(px.paths(mine.blocks[0].block)[path][n], v, atol=1e-12, err_msg=path)
    np.testing.assert_allclose(mine.embed.weight, grads.embed.weight, atol=1e-12)


def refused(error, text, call):
    try:
        call()
    except error as caught:
        assert text in str(caught), caught
        assert "\n  fix: " in str(caught)
    else:
        raise AssertionError(f"nothing was refused: {text}")


def check_what_cannot_be_spread_over_stages_is_refused():
    place = lambda model, strategy: spread(model, strategy)  # noqa: E731
    dense = lambda: px.Dense(WIDTH, WIDTH)  # noqa: E731
    none = "pipeline(2) expects a model with a RepeatedLayer, got Chain"
    refused(px.StructureError, none, lambda: place(px.Chain(dense()), pipeline(2)))
    refused(px.StructureError, none, lambda: place(px.Chain(px.RepeatedLayer(dense, 4, share=True)), pipeline(2)))
    odd = "expects blocks that 4 stages share evenly, got 6 at layers.0"
    refused(px.RangeError, odd, lambda: place(px.Chain(px.RepeatedLayer(dense, 6)), pipeline(4)))
    norm = lambda: px.Chain(px.Dense(WIDTH, WIDTH), px.BatchNorm(WIDTH))  # noqa: E731
    statistics = "expects blocks that need no statistics of the whole batch, got a BatchNorm at block.layers.1"
    refused(px.StructureError, statistics, lambda: place(px.RepeatedLayer(norm, 4), pipeline(2)))
    rounds = "expects interleaved blocks as a RepeatedLayer of RepeatedLayers at the root, got RepeatedLayer(4 × "
    refused(px.StructureError, rounds, lambda: place(px.RepeatedLayer(dense, 4), pipeline(2, schedule="interleaved")))


def check_batches_that_do_not_split_are_refused_with_what_would():
    model = px.RepeatedLayer(lambda: px.Dense(WIDTH, WIDTH), 4)
    x = np.zeros((24, WIDTH), "f")
    step = lambda strategy, model=model, x=x, fn=squares: spread(model, strategy).step(fn, x)  # noqa: E731
    uneven = (
        "model RepeatedLayer(4 × Dense(8 → 8)) expects 4 micro-batches, each of as many rows from 4 devices, "
        "got 24 rows in 4\n  fix: choose a multiple of 16 as batch_size, or other microbatches"
    )
    refused(px.ShapeError, uneven, lambda: step(pipeline(2, microbatches=4) * data_parallel(2)))
    twice = px.RepeatedLayer(lambda: px.RepeatedLayer(lambda: px.Dense(WIDTH, WIDTH), 2), 2)
    odd = "expects micro-batches in 2 rounds as a multiple of the 2 stages, got 24 rows in 3"
    refused(px.ShapeError, odd, lambda: step(pipeline(2, microbatches=3, schedule="interleaved"), twice))
    square = np.zeros((8, 8, WIDTH), "f")
    steps = px.RepeatedLayer(lambda: px.nn.TransformerEncoderLayer(WIDTH, 2, dropout=0.0), 2)
    masked = lambda m, x: m(x, mask=jnp.ones((8, 8), bool)).sum()  # noqa: E731
    either = "expects arrays for all blocks whose first axis is the batch or is not, by its size, got bool[8, 8] beside"
    refused(px.ShapeError, either, lambda: step(pipeline(2), steps, square, masked))
    moved = px.RepeatedLayer(lambda: px.nn.SpectralNorm(px.Dense(WIDTH, WIDTH)), 2)
    state = "expects blocks that move no State but random keys, as they see one micro-batch, got a write to "
    refused(px.StateError, state, lambda: step(pipeline(2), moved))
