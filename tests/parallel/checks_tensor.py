"""Tensor parallelism on eight devices: numbers of one device, and files read to their shards."""

from __future__ import annotations

import dataclasses
import tempfile
from typing import Any

import numpy as np

import phlox as px
from parallel.checks_tensor_program import Pair, decoder, gradient, sums_of_features
from parallel.kit import assert_same, assert_trains_alike
from parallel.networks import gpt, mlp, next_token, points, sentences

data_parallel, fsdp, tensor_parallel = px.parallel.data_parallel, px.parallel.fsdp, px.parallel.tensor_parallel
ALL = data_parallel(2) * fsdp(2, whole=64) * tensor_parallel(2)
CLASSES = {"loss": px.losses.cross_entropy, "precision": "float64"}
GATED = px.models.LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=2, initializer_range=0.2, attention_dropout=0.2,
)  # fmt: skip
MIXTURE = px.models.MixtralConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=2, num_local_experts=4, initializer_range=0.2, attention_dropout=0.2,
)  # fmt: skip
T5 = px.models.T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=4, dropout_rate=0.1)


def texts(width: int = 6) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 32, (48, width)), rng.integers(0, 32, (48, 6))


def gated(**options: Any) -> Any:
    with px.seed(0):
        return px.models.create(dataclasses.replace(GATED, **options))


def pair() -> Pair:
    with px.seed(0):
        return Pair(px.models.create(T5))


def experts() -> Any:
    with px.seed(0):
        return px.models.create(MIXTURE)


def adapted() -> Any:
    return px.adapt.lora(gated(tie_word_embeddings=True), 2, where=("**.q_proj", "**.down"), key=1)


def assert_cut(model: Any, **shapes: tuple[int, ...]) -> None:
    """What one device holds of some arrays, by path with __ for dots."""
    arrays = px.paths(model)
    for name, shape in shapes.items():
        array = arrays[name.replace("__", ".")]
        assert array.addressable_shards[0].data.shape == shape, (name, array.sharding)


def check_perceptron() -> None:
    many, *_ = assert_trains_alike(mlp, points(), tensor_parallel(8), data_parallel(4) * tensor_parallel(2), **CLASSES)
    assert_cut(many, layers__0__weight=(12, 6), layers__2__weight=(6, 48), layers__3__weight=(48, 3))


def check_repeated_blocks_with_a_tied_head_over_data_fsdp_and_tensor() -> None:
    options = {"loss": next_token, "precision": "float64"}
    many, *_ = assert_trains_alike(gpt, sentences(), ALL, **options)
    assert_cut(many, blocks__block__attention__q_proj__weight=(2, 16, 16), token__weight=(20, 16))


def check_grouped_queries_with_keys_cut_and_whole() -> None:
    cut, whole = assert_trains_alike(
        gated, texts(), tensor_parallel(2), data_parallel(2) * tensor_parallel(4), **CLASSES
    )
    assert_cut(cut, blocks__0__attention__k_proj__weight=(16, 4), blocks__0__mlp__down__weight=(16, 16))
    assert_cut(whole, blocks__0__attention__q_proj__weight=(16, 4), blocks__0__attention__k_proj__weight=(16, 8))


def check_encoder_decoder_over_data_and_tensor() -> None:
    (many,) = assert_trains_alike(pair, texts(12), data_parallel(2) * tensor_parallel(4), **CLASSES)
    assert_cut(many, model__decoder__blocks__0__cross__q_proj__weight=(16, 4), model__embed__weight=(8, 16))


def stepped(strategy: Any = None) -> tuple[Any, list[float]]:
    """A decoder after twenty steps by hand, which trace once where px.fit does three times."""
    model, (x, y) = px.f64(gated()), texts()
    placement = None if strategy is None else px.parallel.shard(model, strategy)
    opt = px.Optimizer(px.optim.Adam(1e-2), model)

    @(px.jit if placement is None else placement.jit)
    def step(model: Any, opt: Any, x: Any, y: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
        opt.update(model, grads)
        return loss

    spread = (lambda batch: batch) if placement is None else placement.spread
    rows = [slice(i % 6 * 8, i % 6 * 8 + 8) for i in range(20)]
    return model, [float(step(model, opt, *spread((x[r], y[r])))) for r in rows]


def check_decoder_over_data_fsdp_and_tensor() -> None:
    """With dropout in attention, and fewer heads of keys than of queries."""
    one, first = stepped()
    many, second = stepped(ALL)
    np.testing.assert_allclose(first, second, rtol=1e-9)
    assert_same(many, one, 1e-9)
    assert_cut(many, blocks__0__attention__k_proj__weight=(8, 4), embed__weight=(16, 8), norm__scale=(16,))


def check_decoder_with_experts_over_data_fsdp_and_tensor() -> None:
    (many,) = assert_trains_alike(experts, texts(), ALL, **CLASSES)
    assert_cut(many, blocks__0__mlp__experts__up__weight=(4, 8, 16), blocks__0__mlp__router__weight=(16, 4))


def check_lora_follows_its_maps() -> None:
    (many,) = assert_trains_alike(adapted, texts(), data_parallel(4) * tensor_parallel(2), **CLASSES)
    assert_cut(many, blocks__0__attention__q_proj__adapters__default__b=(2, 8))
    assert_cut(many, blocks__0__mlp__down__adapters__default__a=(16, 2), blocks__0__mlp__down__layer__weight=(16, 16))


def check_files_are_read_to_their_shards() -> None:
    strategy = fsdp(2, whole=8) * tensor_parallel(2)
    with tempfile.TemporaryDirectory() as folder:
        px.models.save(gated(), folder)
        plain, spread = px.models.load(folder, key=0), px.models.load(folder, key=0, parallel=strategy)
        head = {"task": "text-classification", "classes": 4, "key": 3}
        new, fresh = px.models.load(folder, **head), px.models.load(folder, **head, parallel=strategy)
    placement = px.parallel.placement_of(spread)
    assert placement is not None
    where = placement.shardings(plain)
    assert_same(spread, plain, 0)
    for path, v in px.paths(spread).items():
        assert v.sharding.is_equivalent_to(where[path], v.ndim), path
    assert_cut(spread, embed__weight=(16, 8), blocks__0__mlp__gate__weight=(8, 16), norm__scale=(8,))
    np.testing.assert_array_equal(fresh.head.weight, new.head.weight)
    assert tuple(fresh.head.weight.sharding.spec) == ("fsdp", "tensor"), fresh.head.weight.sharding


def check_a_block_sends_sums_alone() -> None:
    """The partitioner's work as it is, before sums are put together; checks_tensor_program looks at what users run."""
    sums_of_features(gradient(decoder(1), tensor_parallel(2)), 9)


def check_models_are_made_where_they_lie() -> None:
    with px.seed(0):
        made = px.models.create(GATED, parallel=tensor_parallel(4))
    assert_same(made, gated(), 1e-7)  # compiled, so rounded anew
    assert_cut(made, blocks__0__mlp__gate__weight=(16, 8))
