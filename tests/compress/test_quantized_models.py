"""Models with integer weights: they compute with them, train the rest, travel, and refuse what makes no sense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape).astype("f"))


LAYERS = {
    "Dense": (lambda: px.Dense(6, 4, px.relu, key=0), normal(5, 6)),
    "Conv": (
        lambda: px.Conv((3, 2), 4, 6, px.relu, stride=2, padding="SAME", groups=2, key=0),
        normal(2, 5, 6, 4),
    ),
    "DepthwiseConv": (lambda: px.DepthwiseConv((3, 3), 4, 2, padding=1, key=0), normal(2, 5, 6, 4)),
    "ConvTranspose": (lambda: px.ConvTranspose((2, 2), 4, 6, stride=2, groups=2, key=0), normal(2, 3, 3, 4)),
    "Embedding": (lambda: px.Embedding(9, 6, padding_idx=1, key=0), jnp.array([[3, 1, 8]])),
}


OPTIONS = [
    (4, {"group": 4, "symmetric": False}),
    *(
        pytest.param(bits, options, marks=pytest.mark.soak)
        for bits in (8, 4)
        for options in (
            {},
            {"group": 4},
            {"symmetric": False},
            {"per": "tensor"},
            {"per": "tensor", "symmetric": False},
        )
    ),
]


@pytest.mark.parametrize(("bits", "options"), OPTIONS)
def test_a_layer_computes_with_the_weight_that_its_integers_stand_for(bits, options):
    for build, x in LAYERS.values():
        layer = build()
        small = px.compress.quantize(layer, bits, **options)
        assert isinstance(small, type(layer))
        assert small.weight.shape == layer.weight.shape
        assert (
            0 < float(jnp.abs(small.weight - layer.weight).max()) < 2.5 * float(jnp.abs(layer.weight).max()) / 2**bits
        )
        plain = px.compress.dequantize(small)
        assert type(plain) is type(layer)
        assert_close(small(x), plain(x))
        assert_close(px.jit(lambda m, x: m(x))(small, x), plain(x))


def test_the_model_that_was_given_stays_and_the_copy_is_a_quarter():
    model = px.Chain(px.Dense(64, 128, px.relu, key=0), px.BatchNorm(128), px.Dense(128, 10, key=1))
    before = {path: np.asarray(array) for path, array in px.paths(model).items()}
    small = px.compress.quantize(model)
    assert all(np.array_equal(before[path], array) for path, array in px.paths(model).items())
    weights = [array for path, array in px.paths(small).items() if "layers.1" not in path and "bias" not in path]
    assert sum(array.nbytes for array in weights) < 0.27 * 4 * (64 * 128 + 128 * 10)
    assert list(px.split(small)[0]) == ["layers.0.bias", "layers.1.scale", "layers.1.bias", "layers.2.bias"]
    x = normal(3, 64)
    np.testing.assert_allclose(small(x), model(x), atol=0.05)


def test_what_is_no_weight_trains_and_what_came_in_has_its_gradient():
    model = px.compress.quantize(px.Chain(px.Dense(6, 8, px.tanh, key=0), px.Dense(8, 2, key=1)))
    plain, x = px.compress.dequantize(model), normal(5, 6)
    ours = px.grad(lambda m, x: (m(x) ** 2).sum(), (0, 1))(model, x)
    theirs = px.grad(lambda m, x: (m(x) ** 2).sum(), (0, 1))(plain, x)
    assert_close(ours[1], theirs[1], kind="grad")
    assert_close(ours[0][0].bias, theirs[0][0].bias, kind="grad")
    assert ours[0][0].codes is None
    codes = np.asarray(model[0].codes)
    history = px.fit(
        model, [(x, normal(5, 2))], loss=px.losses.mse, optimizer=px.optim.Adam(0.1), epochs=5, progress=False
    )
    assert history["loss"][-1] < history["loss"][0]
    assert np.array_equal(codes, model[0].codes)


def test_other_bits_for_some_layers_and_none_for_others():
    model = px.Chain(px.Dense(8, 8, key=0), px.Dense(8, 8, key=1), px.Dense(8, 8, key=2))
    small = px.compress.quantize(px.compress.quantize(model, 4, where="layers.1", group=4), 8, skip="layers.2")
    assert [getattr(layer, "bits", None) for layer in small] == [8, 4, None]
    assert "int4 by 4" in small[1]._brief()


def test_printed_as_the_call_that_builds_it():
    model = px.compress.quantize(px.Chain(px.Dense(6, 4, px.relu), px.Embedding(9, 4)), 4, group=2)
    assert "QuantizedDense(6, 4, relu, bits=4, group=2)" in repr(model)
    assert "QuantizedEmbedding(9, 4, bits=4, group=2)" in repr(model)
    assert "Dense(6 → 4, relu) in int4 by 2" in str(px.summary(px.Chain(model[0]), jnp.ones((1, 6))))
    again = px.compress.QuantizedDense(6, 4, px.relu, bits=4, group=2, key=0)
    assert repr(again).startswith("QuantizedDense(6, 4, relu, bits=4, group=2)")
    theirs = px.compress.quantize(px.Dense(6, 4, px.relu, key=0), 4, group=2)
    assert np.array_equal(again.codes, theirs.codes)


def test_files_and_copies_keep_integers(tmp_path):
    model = px.compress.quantize(px.Chain(*(build() for build, _ in LAYERS.values())), 4, symmetric=False)
    px.save(model, tmp_path / "model.safetensors")
    for again in (px.load(tmp_path / "model.safetensors"), px.copy(model)):
        for path, array in px.paths(model).items():
            assert np.array_equal(array, px.paths(again)[path])
        for (_, x), ours, theirs in zip(LAYERS.values(), model, again, strict=True):
            assert np.array_equal(ours(x), theirs(x))


def test_a_program_of_it_is_exported_and_holds_integers(tmp_path):
    model = px.compress.quantize(px.Chain(px.Dense(6, 8, px.relu, key=0), px.Dense(8, 3, key=1)))
    px.export(model, tmp_path / "small", inputs={"x": px.Spec("batch", 6)}, to=["stablehlo"])
    again, x = px.load_exported(tmp_path / "small"), normal(4, 6)
    assert_close(again(x), np.asarray(model(x)))
    assert {str(array.dtype) for path, array in px.paths(again).items() if "codes" in path} == {"int8"}


@pytest.mark.parametrize(("kind", "digits"), [("e4m3", 4), pytest.param("e5m2", 3, marks=pytest.mark.soak)])
def test_floats_of_8_bits_keep_so_many_digits_of_every_number(kind, digits, tmp_path):
    model = px.Chain(*(build() for build, _ in LAYERS.values()))
    small = px.compress.quantize(model, kind)
    assert f"in float8 {kind}" in small[0]._brief()
    for (_, x), layer, plain in zip(LAYERS.values(), small, model, strict=True):
        weight = np.asarray(plain.weight)
        large = np.abs(weight) > 0.01 * np.abs(weight).max()  # which are no subnormal numbers
        share = np.abs(np.asarray(layer.weight) - weight)[large] / np.abs(weight)[large]
        assert 2.0 ** -(digits + 1) < share.max() <= 1.001 * 2.0**-digits
        assert_close(layer(x), px.compress.dequantize(layer)(x))
        assert layer.codes.dtype.itemsize == 1
    grouped = px.compress.quantize(px.Dense(6, 4, key=0), kind, group=4)
    assert grouped.scale.shape == (2, 4)
    px.save(small, tmp_path / "small.safetensors")
    again = px.load(tmp_path / "small.safetensors")
    for ours, theirs in zip(small, again, strict=True):
        assert np.array_equal(ours.codes.view(jnp.uint8), theirs.codes.view(jnp.uint8))


def test_stacked_layers_have_scales_of_their_own():
    model = px.RepeatedLayer(lambda: px.Dense(6, 6, px.tanh), 3)
    small, x = px.compress.quantize(model, group=4), normal(2, 6)
    assert small.block.codes.shape == (3, 6, 6)
    assert small.block.scale.shape == (3, 2, 6)
    one = px.compress.quantize(model[1], group=4)
    assert np.array_equal(small.block.codes[1], one.codes)
    run = px.jit(lambda model, x: model(x))
    assert_close(run(small, x), run(px.compress.dequantize(small), x))


@pytest.mark.soak
def test_experts_have_scales_of_their_own():
    x, run = normal(2, 6), px.jit(lambda model, x: model(x))
    experts = px.nn.MixtureOfExperts(6, 3, lambda: px.Dense(6, 6), key=1)
    small = px.compress.quantize(experts, 4, where="experts")
    assert small.experts.codes.shape == (3, 3, 6)
    assert_close(run(small, x), run(px.compress.dequantize(small), x))


def test_attention_and_scores_by_an_embedding():
    model = px.Chain(px.nn.MultiHeadAttention(8, 2, causal=True, key=0))
    small, x = px.compress.quantize(model, where="**.q_proj"), normal(2, 5, 8)
    assert [type(getattr(small[0], f"{n}_proj")).__name__ for n in "qk"] == ["QuantizedDense", "Dense"]
    assert_close(small(x), px.compress.dequantize(small)(x))
    table = px.compress.quantize(px.Embedding(9, 8, key=0))
    assert_close(table.attend(x), np.asarray(x) @ np.asarray(table.weight).T)


def test_an_index_that_there_is_not_is_told_or_nan():
    table = px.compress.quantize(px.Embedding(4, 6, key=0), 4)
    with pytest.raises(px.RangeError, match="0 <= index < 4"):
        table(jnp.array([4]))
    y = px.jit(lambda table, i: table(i))(table, jnp.array([1, 4]))
    assert np.isnan(y[1]).all()
    assert np.array_equal(y[0], table(jnp.array(1)))


def test_a_wrong_shape_is_told_by_the_layer_as_it_was_written():
    small = px.compress.quantize(px.Chain(px.Dense(6, 4)))
    for inputs in (None, "dynamic"):
        small = px.compress.quantize(px.Chain(px.Dense(6, 4)), inputs=inputs)
        with pytest.raises(px.ShapeError, match=r"layers\[0\] Dense\(6 → 4\) in int8.* expects \(\.\.\., 6\)"):
            small(jnp.ones((2, 5)))


def test_a_frozen_part_stays_frozen_and_arrays_freeze_by_name():
    model = px.Chain(px.freeze(px.Dense(3, 2), "bias"), px.freeze(px.Dense(2, 2)), px.freeze(px.Dense(2, 2), "weight"))
    assert list(px.split(px.compress.quantize(model))[0]) == ["layers.2.bias"]


# --- what is refused --------------------------------------------------------------------------------


def chain():
    return px.Chain(px.Dense(3, 2), px.tanh, px.Dense(2, 2))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bits": 3}, 'expects bits of 8 or 4, "e4m3" or "e5m2", got 3'),
        ({"bits": "float8"}, 'expects bits of 8 or 4, "e4m3" or "e5m2", got \'float8\''),
        ({"bits": "e4m3", "symmetric": False}, "expects symmetric=True with bits='e4m3', got False"),
        ({"bits": "e5m2", "inputs": "dynamic"}, "expects bits of 8 or 4 for integer products, got 'e5m2'"),
        ({"group": 0}, "expects a group of 1 or more"),
        ({"per": "row"}, 'expects per="channel" or per="tensor", got \'row\''),
        ({"per": "tensor", "group": 2}, 'expects per="channel" with a group'),
        ({"where": "layers.7"}, "expects where= to mean a Dense, Embedding or Conv"),
        ({"where": "layers.1"}, "expects where= to mean a Dense, Embedding or Conv"),
        ({"skip": "head"}, "expects skip= to mean a Dense, Embedding or Conv"),
        ({"skip": "*"}, "expects a layer that skip= leaves, got none"),
        ({"inputs": "static"}, "expects inputs of None"),
        ({"inputs": "dynamic", "group": 2}, "expects one symmetric scale"),
        ({"inputs": "dynamic", "symmetric": False}, "expects one symmetric scale"),
    ],
)
def test_options_outside_their_range(options, text):
    with pytest.raises(px.PhloxError) as error:
        px.compress.quantize(chain(), **options)
    assert f"px.compress.quantize {text}" in str(error.value)
    assert "fix: " in str(error.value)


def test_weights_that_can_have_no_integers():
    class LM(px.Module):
        def __init__(self):
            self.embed, self.head = px.Embedding(9, 4), px.Dense(4, 9, bias=False)
            px.tie(self, "head.weight", "embed.weight", transpose=True)

    normed = px.Chain(px.nn.WeightNorm(px.Dense(3, 2)))
    broken = px.Chain(px.Dense.of(jnp.array([[jnp.nan]])))
    for model, text in (
        (LM(), "expects embed to have a finite weight of its own, got one that px.tie tied"),
        (normed, "got one that is computed"),
        (broken, "got NaN or infinite numbers"),
        (px.Chain(px.tanh), "expects a model with layers"),
        (px.compress.quantize(chain()), "expects a model with layers"),
        ("model", "expects a model, got 'model'"),
    ):
        with pytest.raises(px.StructureError) as error:
            px.compress.quantize(model)
        assert text in str(error.value)
        assert "fix: " in str(error.value)


def test_a_weight_of_integers_is_not_written_and_not_folded():
    small = px.compress.quantize(px.Chain(px.Dense(3, 2), px.BatchNorm(2)))
    with pytest.raises(px.StructureError, match=r"px\.compress\.dequantize"):
        small[0].weight = jnp.ones((3, 2))
    assert type(px.fold_batch_norm(small)[1]).__name__ == "BatchNorm"
    with pytest.raises(px.StructureError, match="fold before the weights become integers"):
        px.fold_batch_norm(small, ("layers.0", "layers.1"))


def test_eager_and_compiled_and_mapped_over_a_batch_agree():
    small = px.compress.quantize(px.Dense(6, 4, px.tanh, key=0), 4)
    x = normal(5, 6)
    mapped = jax.vmap(lambda x: small(x))(x)
    assert_close(mapped, np.asarray(small(x)))
