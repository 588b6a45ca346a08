"""Adapters in models of px.models: trained, generating, saved, copied."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.models.generation._speculative import forget
from phlox.weights._naming import name_of

X = np.random.default_rng(0).integers(2, 30, (2, 6)).astype(np.int32)
forward = px.jit(lambda model, x: model(x))


@pytest.fixture(scope="module")
def base():
    config = px.models.GPT2Config(
        vocab_size=30, n_positions=16, n_embd=8, n_layer=1, n_head=2, initializer_range=0.6, embd_pdrop=0.0,
        resid_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = px.eval_shape(lambda: px.models.create(config, key=0))
    draw = np.random.default_rng(0).normal
    shapes = {path: array.shape for path, array in px.paths(model).items()}
    px.load_state_dict(model, {path: draw(size=shape).astype("f") * 0.5 for path, shape in shapes.items()})
    return model


def stirred(model):
    """What trains, with weights that hide nothing."""
    for i, (path, array) in enumerate(px.split(model)[0].items()):
        holder, name = path.rpartition(".")[::2]
        setattr(px.at(model, holder), name, array + np.random.default_rng(i).normal(size=array.shape).astype("f"))
    return model


def test_generating_behind_a_prefix_is_what_a_whole_pass_gives(base):
    model = stirred(px.adapt.prefix(px.copy(base), length=3, key=0))
    written = px.generate(model, X, max_new=3, stop=[]).tokens
    whole = np.concatenate([X, written], axis=1)
    assert np.array_equal(np.asarray(forward(model, whole))[:, 5:-1].argmax(-1), written)
    bare = np.asarray(forward(px.adapt.use(model, None), whole))[:, 5:-1].argmax(-1)
    assert not np.array_equal(bare, written)
    cache = px.adapt.use(model, "default").init_cache(2, 8)
    forget(cache, jnp.array([4, 2]))
    assert cache[0].position.tolist() == [7, 5]
    cache[0].reset()
    assert cache[0].position.tolist() == [3, 3]
    with pytest.raises(px.RangeError, match="at most 13 tokens"):
        model(np.ones((1, 14), np.int32))
    with pytest.raises(px.RangeError, match="a cache that begins with 3 positions of a prefix, got one of 0"):
        model(X, cache=base.init_cache(2, 8))
    with pytest.raises(px.StructureError, match="adapters that are changes of weights, got a prefix"):
        px.adapt.merge(model)
    assert px.adapt.adapters(model).parts[0].state == "in use"


def test_a_prefix_and_low_rank_together(base):
    model = stirred(px.adapt.lora(px.adapt.prefix(px.copy(base), length=2, name="p", key=0), 2, name="l", key=0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 8)).astype("f"))
    attention = model.blocks[0].attention
    alone = np.asarray(forward(attention, x))
    both = np.asarray(forward(px.adapt.use(attention, ["p", "l"]), x))
    assert not np.allclose(alone, both, atol=1e-3)
    px.adapt.merge(px.adapt.use(model, "l"))
    np.testing.assert_allclose(forward(attention, x), alone, rtol=1e-4, atol=1e-5)
    px.adapt.remove(px.adapt.remove(px.adapt.unmerge(model), "l"), "p")
    assert [type(layer) for layer in px.modules(model).values()] == [type(layer) for layer in px.modules(base).values()]


def test_trained_by_fit_copied_saved_and_read_again(tmp_path):
    model = px.adapt.lora(px.Chain(px.Dense(6, 4, px.tanh, key=0)), 2, where="*", dropout=0.1, key=0)
    weight, x, y = np.asarray(model[0].layer.weight), jnp.ones((4, 6)), jnp.zeros((4, 4))
    history = px.fit(
        model, [(x, y)] * 2, loss=px.losses.mse, optimizer=px.optim.Adam(0.05), epochs=3, progress=False,
        checkpoint_dir=tmp_path / "run",
    )  # fmt: skip
    assert history["loss"][-1] < history["loss"][0]
    assert np.array_equal(model[0].layer.weight, weight)
    after = np.asarray(model(x))
    px.save(model, tmp_path / "model.phlox")
    again = px.load(tmp_path / "model.phlox")
    assert name_of(type(again[0])) == "phlox.adapt:AdaptedDense"  # which a new process finds
    assert np.array_equal(again(x), after)
    assert list(px.split(again)[0]) == list(px.split(model)[0])
    fresh = px.adapt.lora(px.Chain(px.Dense(6, 4, px.tanh, key=1)), 2, where="*", dropout=0.1, key=1)
    px.weights.save_safetensors(model, tmp_path / "arrays.safetensors")
    px.weights.load_safetensors(fresh, tmp_path / "arrays.safetensors")
    assert np.array_equal(fresh(x), after)
    fresh = px.adapt.lora(px.Chain(px.Dense(6, 4, px.tanh, key=1)), 2, where="*", dropout=0.1, key=1)
    px.load_checkpoint(fresh, tmp_path / "run")
    assert np.array_equal(fresh(x), after)
    twin = px.adapt.use(px.copy(model), None)
    assert np.array_equal(twin(x), model[0].layer(x))
    assert np.array_equal(model(x), after)


def test_a_whole_model_is_written_where_it_is_merged(base, tmp_path):
    model = stirred(px.adapt.lora(px.copy(base), 2, where=("**.q_proj", "embed.positions"), key=0))
    with pytest.raises(px.StructureError, match="a model whose adapters are merged, or rest, got one in use at embed"):
        px.models.save(model, tmp_path)
    px.models.save(px.adapt.merge(model), tmp_path)
    again = px.models.load(tmp_path)
    for path in ("blocks.0.attention.q_proj", "embed.positions"):
        weight = px.at(model, path).weight
        assert np.array_equal(px.at(again, path).weight, weight)
        assert not np.allclose(weight, px.at(base, path).weight, atol=1e-2)
    assert px.adapt.unmerge(model).blocks[0].attention.q_proj.layer.weight is base.blocks[0].attention.q_proj.weight


def test_a_head_is_written_beside_and_comes_as_a_copy(tmp_path):
    class Model(px.Module):
        def __init__(self):
            self.trunk = px.Dense(6, 6, px.tanh, key=0)
            self.head = px.Dense(6, 3, key=1)

        def __call__(self, x):
            return self.head(self.trunk(x))

        def names(self):
            return px.weights.NameMap({"encoder.fc": "trunk", "classifier": "head"})

    base, x = Model(), jnp.asarray(np.random.default_rng(0).normal(size=(2, 6)).astype("f"))
    model = stirred(px.thaw(px.adapt.lora(px.copy(base), 2, where="trunk", key=0), "head"))
    px.adapt.save(model, tmp_path)
    assert px.weights.read(tmp_path / "adapter_model.safetensors").shapes() == {
        "base_model.model.classifier.bias": (3,), "base_model.model.classifier.weight": (3, 6),
        "base_model.model.encoder.fc.lora_A.weight": (2, 6), "base_model.model.encoder.fc.lora_B.weight": (6, 2),
    }  # fmt: skip
    again = px.adapt.load(px.copy(base), tmp_path, name="mine")
    assert np.array_equal(again(x), model(x))
    assert [part.kind for part in px.adapt.adapters(again).parts] == ["LoRA", "whole"]
    assert np.array_equal(px.adapt.use(again, None)(x), base(x))
    px.adapt.merge(px.adapt.use(again, "mine"), keep=False)
    np.testing.assert_allclose(again(x), model(x), rtol=1e-5, atol=1e-5)
    assert np.array_equal(again.head.weight, model.head.weight)
