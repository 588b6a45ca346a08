"""Pipelines on eight devices, each beside one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.kit import assert_same, assert_trains_alike, refused
from phlox.parallel import data_parallel, pipeline, shard

WIDTH, STEPS, WORDS = 8, 6, 11


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
        self.inner, self.drop = px.Dense(WIDTH, WIDTH, px.gelu), px.Dropout(0.0)  # whose key lies there all the same

    def __call__(self, h):
        h = h + self.drop(self.inner(h))
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


def part_of(array):
    """The shape of what one device holds."""
    return array.addressable_shards[0].data.shape


def check_interleaved_blocks_train_as_on_one_device():
    """With a last batch that is filled up, clipped, averaged; and compiled once."""
    rng, compiled = np.random.default_rng(4), []
    x, y = rng.normal(size=(40, WIDTH)), rng.integers(0, 3, 40)
    build = lambda: made(lambda: px.Chain(rounds(Unit, 2, 2), px.Dropout(0.2), px.Dense(WIDTH, 3)))  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **more: compiled.append(event) if "_many" in str(more.get("fun_name")) else None
    )
    [many] = assert_trains_alike(
        build, (x, y), pipeline(2, microbatches=4, schedule="interleaved") * data_parallel(4),
        loss=px.losses.cross_entropy, batch_size=32, clip=0.5, callbacks=[px.EMA(0.9)], multi_step="auto",
    )  # fmt: skip
    assert part_of(many.layers[0].block.block.inner.weight) == (2, 1, WIDTH, WIDTH), "a block of each round"
    programs = [event for event in compiled if "backend_compile" in event]
    assert len(programs) == 2, "one on one device, one on eight: keys and blocks lie after a step as before it"


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
    x, row, wanted = rng.normal(size=(32, WIDTH)), rng.normal(size=(32, 1)), rng.normal(size=(32, WIDTH))
    one, many = made(Tall), made(Tall)
    loss = lambda y: jnp.sum(jnp.sin(y) * wanted)  # noqa: E731
    value, grads = px.jit(gradient(lambda m: loss(by_micro_batches(m, 4, 4, x, row))))(one)
    placement = shard(many, pipeline(4, microbatches=4) * data_parallel(2))
    step = placement.jit(gradient(lambda m, x, row: loss(m(x, row))))
    theirs, mine = step(many, *placement.spread((x, row)))
    np.testing.assert_allclose(theirs, value, rtol=1e-12)
    assert_same(mine, grads, 1e-10)
    assert_same(many, one, 0, "keys move once for each micro-batch:")


def check_models_that_stages_cannot_share_are_refused():
    dense = lambda: px.Dense(WIDTH, WIDTH)  # noqa: E731
    norm = lambda: px.Chain(px.Dense(WIDTH, WIDTH), px.BatchNorm(WIDTH))  # noqa: E731
    none = "pipeline(2) expects a model with a RepeatedLayer, got Chain\n  fix: build its equal blocks as"
    odd = "expects blocks that 4 stages share evenly, got 6 at layers.0\n  fix: "
    statistics = "expects blocks that need no statistics of the whole batch, got a BatchNorm at block.layers.1\n  fix: "
    mixture = lambda: px.nn.MixtureOfExperts(WIDTH, 2, dense, balance=0.01)  # noqa: E731
    balanced = (
        "expects blocks that need no statistics of the whole batch, got a MixtureOfExperts with balance=0.01 at block"
        "\n  fix: set its balance to 0.0, or"
    )
    flat = "expects interleaved blocks as a RepeatedLayer of RepeatedLayers at the root, got RepeatedLayer(4 × "
    for error, text, model, strategy in (
        (px.StructureError, none, px.Chain(dense()), pipeline(2)),
        (px.StructureError, none, px.Chain(px.RepeatedLayer(dense, 4, share=True)), pipeline(2)),
        (px.RangeError, odd, px.Chain(px.RepeatedLayer(dense, 6)), pipeline(4)),
        (px.StructureError, statistics, px.RepeatedLayer(norm, 4), pipeline(2)),
        (px.StructureError, balanced, px.RepeatedLayer(mixture, 4), pipeline(2)),
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


def check_activations_move_and_blocks_stay():
    """Between stages: permutes of activations. Between data-parallel devices: sums of gradients. Nothing else."""
    block = lambda: px.Chain(px.LayerNorm(16), px.Dense(16, 32, px.tanh), px.Dense(32, 16))  # noqa: E731
    model, strategy = px.RepeatedLayer(block, 4), pipeline(4, microbatches=2) * data_parallel(2)
    placement = shard(model, strategy)
    step = placement.jit(gradient(lambda m, x: jnp.mean(m(x) ** 2)))
    text = step.lower(model, placement.spread(np.ones((16, 6, 16), "f"))).compile().as_text()
    kinds = "all-gather|all-to-all|all-reduce|reduce-scatter|collective-permute"
    moved = {}
    for shape, kind in re.findall(rf"= (.+?) ({kinds})(?:-start)?\(", text):
        moved.setdefault(kind, set()).update(re.findall(r"\w+\[[\d,]*\]", shape))
    weights = {"f32[16]", "f32[32]", "f32[16,32]", "f32[32,16]"}
    assert set(moved) == {"collective-permute", "all-reduce"}, moved
    assert not moved["collective-permute"] & weights, moved
    assert moved["all-reduce"] <= weights | {"f32[]"}, moved


def check_what_a_stage_keeps():
    """No tick keeps a copy of weights that were picked for it."""
    again = lambda n: kept(rounds(wide, 4, 2), pipeline(4, microbatches=n, schedule="interleaved"), 8 * n)  # noqa: E731
    assert (again(16) - again(4)) / 24 < 0.5 * 4 * WEIGHTS, "24 ticks more, of one block in float32"


def check_what_a_stage_keeps_of_activations():
    """A quarter; with remat the inputs alone; and no tick a copy of weights that were cast."""
    flat = lambda: px.RepeatedLayer(wide, 8)  # noqa: E731
    one, four = (kept(flat(), pipeline(stages, microbatches=8), 256) for stages in (1, 4))
    assert four < 0.4 * one  # of it (8 + 3) / 8 / 4 are activations
    assert kept(flat(), pipeline(4, microbatches=8, remat=True), 256) < 0.3 * four
    with px.dtypes(compute="bfloat16"):
        more = kept(flat(), pipeline(4, microbatches=16), 128) - kept(flat(), pipeline(4, microbatches=4), 32)
    assert more / 12 < 0.8 * 2 * 2 * WEIGHTS, "12 ticks more, of two blocks in bfloat16"


WEIGHTS = 2 * 64 * 256  # of a block


def wide():
    return px.Chain(px.Dense(64, 256, px.gelu), px.Dense(256, 64))


def kept(model, strategy, rows):
    """Bytes that the gradient needs beside weights, gradients and the batch, on each device."""
    placement = shard(model, strategy)
    step = placement.jit(gradient(lambda m, x: jnp.mean(m(x) ** 2)))
    batch = placement.spread(np.ones((rows, 64), "f"))
    return step.lower(model, batch).compile().memory_analysis().temp_size_in_bytes
