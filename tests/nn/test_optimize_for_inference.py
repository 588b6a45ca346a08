"""px.optimize_for_inference: the numbers of the model before, what it did, and what it left alone."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.nn.inference import FusedConv, PackedDense, PackedEmbedding, _optimize


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """Whatever this processor has, weights of float32 are laid out, small ones too."""
    by_kernel = _optimize.maps_packed
    monkeypatch.setattr(_optimize, "_SMALL", 0)
    monkeypatch.setattr(_optimize, "maps_packed", lambda dtype: dtype == jnp.float32 or by_kernel(dtype))


def trained(model):
    """The model with statistics, scales and biases as a training leaves them."""
    rng = np.random.default_rng(0)
    ranges = {"scale": (0.5, 1.5), "bias": (-0.2, 0.2), "mean": (-0.5, 0.5), "var": (0.5, 2)}
    for path, array in px.paths(model).items():
        name = path.rpartition(".")[2]
        if name in ranges:
            px.set_at(model, path, jnp.asarray(rng.uniform(*ranges[name], array.shape), jnp.float32))
    return px.testmode(model)


def images(size):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, size, size, 3)), jnp.float32)


TOKENS = jnp.arange(12).reshape(2, 6)
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
M = px.models
GPT = {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8}
RESNET = {"embedding_size": 8, "hidden_sizes": (8, 16), "depths": (2, 1), "layer_type": "basic", "classes": 5}
MODELS = {
    "resnet": (lambda: M.ResNetConfig(**RESNET), images(32), "8 norms folded, 8 convolutions in one pass, 1 weight"),
    "vit": (
        lambda: M.ViTConfig(image_size=16, patch_size=8, **SMALL),
        images(16),
        "1 convolution in one pass, 13 weights",
    ),
    "bert": (lambda: M.BERTConfig(vocab_size=50, **SMALL), TOKENS, "weights laid out"),
    "gpt2": (lambda: M.GPT2Config(**GPT), TOKENS, "7 weights laid out"),
    "llama": (lambda: M.LlamaConfig(vocab_size=50, **SMALL), TOKENS, "15 weights laid out"),
    "unet": (lambda: M.UNetConfig(width=8, depth=2), images(16), "10 norms folded"),
    "mobilenet": (
        lambda: M.create("mobilenet_v3_small", classes=5).config,
        images(32),
        "34 norms folded, 52 convolutions",
    ),
}


@pytest.mark.parametrize("name", [n if n != "mobilenet" else pytest.param(n, marks=pytest.mark.soak) for n in MODELS])
def test_a_model_gives_what_it_gave(name):
    config, x, said = MODELS[name]
    model = trained(px.models.create(config(), key=0))
    before, told = px.jit(model)(x), []
    fast = px.optimize_for_inference(model, tell=told.append)
    found = px.jit(fast)(x)
    scale = float(jnp.abs(before).max())
    np.testing.assert_allclose(found / scale, before / scale, rtol=0, atol=1e-5)
    assert said in told[0]
    np.testing.assert_array_equal(px.jit(model)(x), before)  # it stays as it is


def test_nothing_of_a_norm_or_a_dropout_is_left_in_a_chain():
    with px.seed(0):
        model = px.Chain(
            px.Conv((3, 3), 3, 8, bias=False), px.BatchNorm(8, px.relu), px.Dropout(0.5),
            px.nn.functional.global_mean_pool, px.flatten,
            px.nn.WeightNorm(px.Dense(8, 4, px.gelu)), px.Dropout(0.5), px.Dense(4, 2, px.tanh),
        )  # fmt: skip
    model, told = trained(model), []
    fast = px.optimize_for_inference(model, tell=told.append)
    assert told == [
        "1 norm of weights computed, 1 norm folded, 2 dropouts gone, 1 convolution in one pass, 2 weights laid out"
    ]
    assert isinstance(model[5], px.nn.WeightNorm)  # the model stays
    assert isinstance(fast[0], FusedConv)
    assert [type(layer).__name__ for layer in fast[1:]] == [
        "function", "function", "function", "function", "PackedDense", "function", "PackedDense",
    ]  # fmt: skip
    np.testing.assert_allclose(fast(images(8)), model(images(8)), rtol=0, atol=1e-6)


def test_a_block_adds_what_goes_by_in_the_pass_of_its_last_convolution(monkeypatch):
    config, x, _ = MODELS["resnet"]
    fast = px.optimize_for_inference(trained(px.models.create(config(), key=0)), tell=None)
    seen, call = [], FusedConv.__call__
    noted = lambda self, x, residual=None, act=None: seen.append(residual is not None) or call(self, x, residual, act)  # noqa: E731
    monkeypatch.setattr(FusedConv, "__call__", noted)
    px.jit(lambda model, x: model(x))(fast, x)
    assert seen.count(True) == 3  # blocks


def test_what_is_tied_quantised_stacked_or_half_stays():
    tied = px.Chain(px.Embedding(5, 4), px.Dense(4, 5, bias=False))
    px.tie(tied, "layers.1.weight", "layers.0.weight", transpose=True)
    half, stacked = px.bf16(px.Dense(4, 4)), px.nn.RepeatedLayer(lambda: px.Dense(4, 4), 3)
    for model in (tied, px.compress.quantize(px.Dense(4, 4)), half, stacked):
        told = []
        fast = px.optimize_for_inference(model, tell=told.append)
        assert told == ["nothing to be done"]
        assert not any(isinstance(layer, PackedDense) for layer in px.modules(fast).values())


def test_an_embedding_that_scores_gives_the_same_vectors():
    model = px.models.create(M.LlamaConfig(vocab_size=70, tie_word_embeddings=True, **SMALL), key=0)
    fast = px.optimize_for_inference(model, tell=None)
    assert isinstance(fast.embed, PackedEmbedding)
    assert fast.tied_embedding is fast.embed
    places = jnp.array([[0, 69], [64, 3]])
    np.testing.assert_array_equal(fast.embed(places), model.embed(places))
    np.testing.assert_array_equal(fast.embed.weight, model.embed.weight)
    with pytest.raises(px.RangeError, match="70"):
        fast.embed(jnp.array([70]))
    with pytest.raises(px.DtypeError, match="integer indices"):
        fast.embed(jnp.ones(2))
    outside = jnp.array([-1, 70, 127, 128, 5])
    np.testing.assert_array_equal(px.jit(fast.embed)(outside), px.jit(model.embed)(outside))  # NaN but for the last
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 16)), jnp.float32)
    np.testing.assert_allclose(px.jit(fast.embed.attend)(x), model.embed.attend(x), rtol=0, atol=1e-5)
    apart = px.optimize_for_inference(px.models.create(M.LlamaConfig(vocab_size=70, **SMALL), key=0), tell=None)
    assert type(apart.embed) is px.Embedding


def test_it_is_saved_and_exported(tmp_path):
    model = px.optimize_for_inference(trained(px.Chain(px.Dense(3, 70, px.relu), px.Dense(70, 2))), tell=None)
    x = jnp.ones((4, 3))
    px.save(model, tmp_path / "fast.safetensors")
    np.testing.assert_array_equal(px.load(tmp_path / "fast.safetensors")(x), model(x))
    px.export(model, tmp_path / "out", inputs={"x": px.Spec("batch", 3)}, to=["onnx", "stablehlo"])
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "out" / "model.onnx")
    np.testing.assert_allclose(session.run(None, {"x": np.ones((4, 3), np.float32)})[0], model(x), rtol=1e-5)


def test_weights_stand_still():
    fast = px.optimize_for_inference(px.Dense(3, 2, px.relu), tell=None)
    with pytest.raises(px.StructureError, match="a weight that stays as it is"):
        fast.weight = jnp.ones((3, 2))
    with pytest.raises(px.StructureError, match="expects a model, got"):
        px.optimize_for_inference(px.relu)
    with pytest.raises(px.ShapeError, match=r"\(\.\.\., 3\)"):
        fast(jnp.ones((2, 4)))


def test_it_says_to_the_terminal_what_it_did(capsys):
    px.optimize_for_inference(px.Dense(3, 2))
    assert capsys.readouterr().err == "1 weight laid out\n"


def test_a_weight_stays_where_no_kernel_multiplies_it(monkeypatch):
    """It would be laid back in every call."""
    monkeypatch.setattr(_optimize, "maps_packed", lambda dtype: False)
    told = []
    fast = px.optimize_for_inference(px.Chain(px.Conv((1, 1), 3, 4), px.Dense(4, 2)), tell=told.append)
    assert told == ["1 convolution in one pass"]
    assert type(fast[1]) is px.Dense


def test_a_small_weight_is_laid_out_where_its_activation_costs_something(monkeypatch):
    monkeypatch.setattr(_optimize, "_SMALL", 16)
    model = px.Chain(px.Dense(4, 4, px.relu), px.Dense(4, 4), px.Dense(4, 4, px.gelu), px.Dense(4, 5, px.relu))
    fast = px.optimize_for_inference(model, tell=None)
    assert [isinstance(layer, PackedDense) for layer in fast] == [False, False, True, True]


def test_in_bfloat16_it_takes_and_gives_float32():
    model, told = trained(px.models.create(MODELS["resnet"][0](), key=0)), []
    fast = px.optimize_for_inference(model, dtype="bfloat16", tell=told.append)
    x = images(32)
    want, found = px.jit(model)(x), px.jit(fast)(x)
    assert found.dtype == jnp.float32
    if not told[0].endswith("in bfloat16"):
        assert told[0].endswith("in float32, for this processor multiplies no bfloat16")
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)
        return
    assert {str(a.dtype) for a in px.paths(fast).values()} == {"bfloat16"}
    error = float(jnp.abs(found - want).max() / jnp.abs(want).max())
    assert 1e-5 < error < 0.05
    assert jnp.isnan(px.jit(fast)(x.at[0].set(jnp.nan))[0]).all()


def test_another_dtype_is_refused():
    with pytest.raises(px.RangeError, match=r'expects dtype "bfloat16" or None, got .float16'):
        px.optimize_for_inference(px.Dense(2, 3), dtype="float16")
