"""Tensor parallelism on eight devices: numbers of one, sums alone between devices, files read to their shards."""

from __future__ import annotations

import dataclasses
import functools
import re
import tempfile
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from phlox.parallel import Placement, data_parallel, fsdp, tensor_parallel

STEPS, BATCH = 20, 8
GATED = px.models.LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, initializer_range=0.2, attention_dropout=0.2,
)  # fmt: skip
T5 = px.models.T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=4, dropout_rate=0.1)


class Pair(px.Module):
    """A model of two texts that takes them side by side."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        return self.model(x[:, :6], x[:, 6:])


def texts(width, classes=32):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 32, (40, width)), rng.integers(0, classes, (40, 6))
    return x, y


def trained(build, data, strategy=None, **options):
    """The losses and the weights of a model after twenty steps in float64."""
    with px.seed(0):
        model = px.f64(build())
    options = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False} | options
    history = px.fit(model, data, epochs=STEPS * BATCH // 40, batch_size=BATCH, parallel=strategy, **options)
    return np.asarray(history["loss"]), px.paths(model)


@functools.cache
def one(build, width):
    return trained(build, texts(width))


def agree(build, strategy, width=6, cut=()):
    """Losses and weights as on one device; some arrays cut as they should be."""
    expected, found = one(build, width), trained(build, texts(width), strategy)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    for path, w in expected[1].items():
        if not jnp.issubdtype(w.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(found[1][path], w, rtol=1e-9, atol=1e-9, err_msg=path)
    for path, part in cut:
        array = found[1][path]
        assert {shard.data.shape for shard in array.addressable_shards} == {part}, (path, array.sharding)


def gated():
    return px.models.create(GATED)


def pair():
    return Pair(px.models.create(T5))


def repeated():
    block = lambda: px.nn.TransformerEncoderLayer(16, 4, hidden=32, dropout=0.1)  # noqa: E731
    return px.Chain(px.Embedding(32, 16), px.nn.RepeatedLayer(block, 2), px.Dense(16, 32))


def experts():
    mixture = px.nn.MixtureOfExperts(16, 4, lambda: px.nn.GatedMLP(16, 32), top_k=2, balance=0.01)
    return px.Chain(px.Embedding(32, 16), mixture, px.Dense(16, 32))


def check_gated_decoder_with_dropout_over_data_fsdp_and_tensor():
    cut = [
        ("blocks.0.attention.q_proj.weight", (8, 8)), ("blocks.1.mlp.down.weight", (16, 8)),
        ("embed.weight", (16, 8)), ("norm.scale", (16,)),
    ]  # fmt: skip
    agree(gated, data_parallel(2) * fsdp(2) * tensor_parallel(2), cut=cut)


def check_grouped_queries_whose_keys_stay_whole():
    cut = [("blocks.0.attention.q_proj.weight", (16, 4)), ("blocks.0.attention.k_proj.weight", (16, 8))]
    agree(gated, tensor_parallel(4), cut=cut)


def check_encoder_decoder_over_data_and_tensor():
    cut = [("model.decoder.blocks.0.cross.q_proj.weight", (16, 4)), ("model.embed.weight", (8, 16))]
    agree(pair, data_parallel(2) * tensor_parallel(4), width=12, cut=cut)


def check_repeated_blocks_and_experts():
    agree(repeated, data_parallel(2) * tensor_parallel(4), cut=[("layers.1.block.mlp.layers.0.weight", (2, 16, 8))])
    cut = [("layers.1.experts.up.weight", (4, 16, 16)), ("layers.1.router.weight", (16, 4))]
    agree(experts, data_parallel(4) * tensor_parallel(2), cut=cut)


def check_lora_and_tied_words():
    def adapted():
        model = px.models.create(dataclasses.replace(GATED, tie_word_embeddings=True))
        return px.adapt.lora(model, rank=2)

    strategy = data_parallel(2) * tensor_parallel(2)
    with px.seed(0):
        model = px.f64(adapted())
    cuts = {path: tuple(cut) for path, cut in Placement.of(strategy).cuts(model).items()}
    low = {path.partition("attention.")[2]: cut for path, cut in cuts.items() if "blocks.0" in path}
    assert low["q_proj.adapters.default.a"] == (), low
    assert low["q_proj.adapters.default.b"] == (None, "tensor"), low
    agree(adapted, strategy)


def collectives(text):
    """How often each operation between devices stands in a program, but for those of single numbers."""
    found = re.findall(r"= (\([^=]*?\)|\S+) (all-\w+|reduce-scatter|collective-\w+)(?:-start)?\(", text)
    return Counter(name for shape, name in found if not re.fullmatch(r"\w+\[\]\S*", shape))


def compiled(model, strategy, x, y):
    """The program of a gradient, as XLA's partitioner leaves it."""
    placement = Placement.of(strategy)
    placement.place(model)
    params, state = px.split(model)

    def loss(params, x, y):
        with placement.step((x, y)):
            return px.losses.cross_entropy(px.apply(model, params, state, x, train=True)[0], y)

    return jax.jit(jax.value_and_grad(loss)).lower(params, *placement.spread((x, y))).compile().as_text()


def check_blocks_sum_twice_and_send_nothing_else():
    texts_ = texts(6)
    counts = []
    for layers in (1, 2):
        config = dataclasses.replace(GATED, num_hidden_layers=layers, attention_dropout=0.0)
        with px.seed(0):
            model = px.models.create(config)
        counts.append(collectives(compiled(model, tensor_parallel(2), *(v[:BATCH] for v in texts_))))
    print(counts)
    assert set(counts[0]) == {"all-reduce"}, counts


def check_files_are_read_to_their_shards():
    with tempfile.TemporaryDirectory() as folder:
        with px.seed(0):
            px.models.save(px.models.create(GATED), folder)
        strategy = fsdp(2) * tensor_parallel(2)
        plain, spread = px.models.load(folder), px.models.load(folder, parallel=strategy)
        cuts = Placement.of(strategy).shardings(plain)
        for path, w in px.paths(plain).items():
            v = px.paths(spread)[path]
            np.testing.assert_array_equal(v, w, err_msg=path)
            assert v.sharding == cuts[path], path
        fresh = px.models.load(folder, task="text-classification", classes=4, parallel=strategy, key=3)
        again = px.models.load(folder, task="text-classification", classes=4, key=3)
        np.testing.assert_array_equal(fresh.head.weight, again.head.weight)
        assert fresh.head.weight.sharding.spec == ("fsdp", "tensor") or len(fresh.head.weight.devices()) == 4
