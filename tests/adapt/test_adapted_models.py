"""Adapters in models of px.models: trained, generating, saved, copied."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px

SIZES = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
X = np.random.default_rng(0).integers(2, 30, (2, 6)).astype(np.int32)
forward = px.jit(lambda model, x: model(x))


def gpt2():
    config = px.models.GPT2Config(
        vocab_size=30, n_positions=24, n_embd=16, n_layer=2, n_head=4, initializer_range=0.4, embd_pdrop=0.0,
        resid_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return px.models.create(config, key=0)


def llama():
    return px.models.create(px.models.LlamaConfig(**SIZES, num_key_value_heads=2, initializer_range=0.4), key=0)


def stirred(model):
    for i, (path, array) in enumerate(px.split(model)[0].items()):
        holder, name = path.rpartition(".")[::2]
        setattr(px.at(model, holder), name, array + np.random.default_rng(i).normal(size=array.shape).astype("f"))
    return model


def greedy(model, x, count):
    """The likeliest tokens, by whole passes over what is there."""
    for _ in range(count):
        x = np.concatenate([x, np.asarray(model(x))[:, -1].argmax(-1)[:, None].astype(np.int32)], axis=1)
    return x[:, -count:]


@pytest.mark.parametrize("make", [gpt2, llama])
def test_generating_behind_a_prefix_is_what_whole_passes_give(make):
    model = stirred(px.adapt.prefix(make(), length=3, key=0))
    want = greedy(model, X, 3)
    assert np.array_equal(px.generate(model, X, max_new=3, stop=[]).tokens, want)
    assert not np.array_equal(greedy(px.adapt.use(model, None), X, 3), want)
    px.adapt.use(model, "default")
    if make is gpt2:
        again = px.generate(model, X, max_new=3, stop=[], draft=px.copy(model), guesses=2)
        assert np.array_equal(again.tokens, want)
        with pytest.raises(px.RangeError, match="at most 21 tokens"):
            model(np.ones((1, 22), np.int32))


def test_a_cache_of_another_prefix_is_refused():
    model = llama()
    cache = model.init_cache(2, 8)
    px.adapt.prefix(model, length=3)
    with pytest.raises(px.RangeError, match="a cache that begins with 3 positions of a prefix, got one of 0"):
        model(X, cache=cache)
    with pytest.raises(px.StructureError, match="adapters that are changes of weights, got a prefix"):
        px.adapt.merge(model)
    assert px.adapt.adapters(model).parts[0].state == "in use"


def test_a_prefix_and_low_rank_together():
    model = stirred(px.adapt.lora(px.adapt.prefix(llama(), length=2, name="p", key=0), 2, name="l", key=0))
    alone = np.asarray(forward(model, X))
    both = np.asarray(forward(px.adapt.use(model, ["p", "l"]), X))
    assert not np.allclose(alone, both, atol=1e-3)
    px.adapt.merge(px.adapt.use(model, "l"))
    np.testing.assert_allclose(forward(model, X), alone, rtol=1e-4, atol=1e-4)
    px.adapt.remove(px.adapt.remove(px.adapt.unmerge(model), "l"), "p")
    assert type(model.blocks[0].attention.q_proj) is px.Dense


def test_trained_by_fit_saved_copied_and_read_again(tmp_path):
    model = px.adapt.lora(llama(), 2, where=("**.q_proj", "**.v_proj"), dropout=0.1, key=0)
    base = np.asarray(model.blocks[0].attention.q_proj.layer.weight)
    data = [(X, X)] * 3

    def loss(model, x, y):
        return px.losses.cross_entropy(model(x)[:, :-1], y[:, 1:])

    px.fit(model, data, loss=loss, optimizer=px.optim.Adam(1e-2), epochs=2, progress=False)
    after = np.asarray(forward(model, X))
    assert np.array_equal(model.blocks[0].attention.q_proj.layer.weight, base)
    assert np.abs(np.asarray(model.blocks[1].attention.v_proj.adapters["default"].b)).max() > 1e-3
    px.save(model, tmp_path / "model.phlox")
    again = px.load(tmp_path / "model.phlox")
    assert np.array_equal(forward(again, X), after)
    assert list(px.split(again)[0]) == list(px.split(model)[0])
    twin = px.copy(model)
    assert np.array_equal(forward(px.adapt.use(twin, None), X), forward(px.adapt.use(model, None), X))
    px.adapt.use(model, "default")
    with pytest.raises(px.StructureError, match="a model whose adapters are merged, or rest, got one in use at"):
        px.models.save(model, tmp_path / "hub")
    px.models.save(px.adapt.merge(model), tmp_path / "hub")
    np.testing.assert_allclose(forward(px.models.load(tmp_path / "hub"), X), after, rtol=1e-4, atol=1e-4)
    assert np.array_equal(px.adapt.unmerge(model).blocks[0].attention.q_proj.layer.weight, base)


def test_a_head_is_written_beside_and_comes_as_a_copy(tmp_path):
    config = px.models.BERTConfig(**SIZES, task="text-classification", classes=3, initializer_range=0.4)
    base = px.models.create(config, key=0)
    model = px.thaw(px.adapt.lora(px.copy(base), 2, where="**.q_proj", key=0), "head")
    stirred(model)
    px.adapt.save(model, tmp_path)
    again = px.adapt.load(px.copy(base), tmp_path, name="mine")
    want = np.asarray(forward(model, X))
    np.testing.assert_allclose(forward(again, X), want, rtol=1e-5, atol=1e-5)
    assert {part.kind for part in px.adapt.adapters(again).parts} == {"LoRA", "whole"}
    assert np.array_equal(forward(px.adapt.use(again, None), X), forward(base, X))
    px.adapt.merge(px.adapt.use(again, "mine"), keep=False)
    np.testing.assert_allclose(forward(again, X), want, rtol=1e-4, atol=1e-4)
    assert jnp.array_equal(again.head.out.weight, model.head.out.weight)
