"""Layers ranked by what is lost with them, more bits for the first; and adapters on weights of integers."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("f")


def model():
    """Three maps, of which the second has one large number for each output, and so loses most."""
    layers = px.Chain(px.Dense(8, 16, px.tanh, key=0), px.Dense(16, 16, px.tanh, key=1), px.Dense(16, 3, key=2))
    layers[1].weight = layers[1].weight.at[0].set(6.0)
    return layers


def test_errors_are_those_of_one_layer_rounded_alone():
    one, x = model(), normal(70, 8)
    before = {path: np.asarray(array) for path, array in px.paths(one).items()}
    found = px.compress.sensitivity(one, x, 4)
    wanted = np.asarray(one(x))
    for i in range(3):
        alone = np.asarray(px.compress.quantize(one, 4, where=f"layers.{i}")(x))
        error = np.square(alone - wanted).sum() / np.square(wanted).sum()
        assert found.errors[f"layers.{i}"] == pytest.approx(error, rel=1e-3)
    assert all(np.array_equal(before[path], array) for path, array in px.paths(one).items())
    assert list(found.errors.values()) == sorted(found.errors.values(), reverse=True)
    assert found.most(1) == ("layers.1",)
    assert found.sizes["layers.1"] == 256
    assert "error at 4 bits" in str(found)
    mixed = px.compress.quantize(px.compress.quantize(one, 8, where=found.most(1)), 4)
    assert [layer.bits for layer in mixed] == [4, 8, 4]
    errors = [np.square(np.asarray(m(x)) - wanted).sum() for m in (mixed, px.compress.quantize(one, 4))]
    assert errors[0] < 0.5 * errors[1]


def test_a_share_of_all_numbers_goes_to_those_that_lose_most_for_each():
    errors, sizes = {"a": 8.0, "b": 4.0, "c": 3.0, "d": 0.2}, {"a": 90, "b": 4, "c": 30, "d": 1}
    found = px.compress.Sensitivity(errors, sizes, 8)
    assert found.most(share=0.05) == ("b", "d")  # of 125 numbers 6; c and a are more
    assert found.most(share=0.3) == ("b", "d", "c")
    assert found.most(share=0.999) == ("b", "d", "c")


def test_errors_of_a_copy_are_those_of_its_layers_one_at_a_time():
    one, x = model(), normal(70, 8)
    small = px.compress.gptq(one, x, 4, correct_bias=True, skip="layers.2")
    found = px.compress.sensitivity(one, x, of=small)
    wanted = np.asarray(one(x))
    assert set(found.errors) == {"layers.0", "layers.1"}
    assert found.bits == 4
    for i in range(2):
        alone = px.copy(one)
        alone[i] = px.compress.dequantize(small)[i]
        error = np.square(np.asarray(alone(x)) - wanted).sum() / np.square(wanted).sum()
        assert found.errors[f"layers.{i}"] == pytest.approx(error, rel=1e-3)


def test_what_sensitivity_refuses():
    one, x = model(), normal(4, 8)
    cases = [
        (lambda: px.compress.sensitivity(one, None), "px.compress.sensitivity expects data, got None"),
        (lambda: px.compress.sensitivity(one, x, 5), "px.compress.sensitivity expects bits of 8 or 4"),
        (lambda: px.compress.sensitivity(one, x, where="head"), "expects where= to mean a Dense"),
        (lambda: px.compress.sensitivity(one, x * np.nan), "got NaN or infinite numbers"),
        (lambda: px.compress.sensitivity(one, x, forward=lambda m, x: 0 * m(x)), "got zeros alone"),
        (lambda: px.compress.sensitivity(one, x, of=one), "a copy of the model with integers, got none that has integ"),
        (
            lambda: px.compress.sensitivity(one, x, of=px.compress.quantize(px.Chain(px.Dense(3, 3)))),
            "a copy of the model with integers, got Dense(3 → 3) in int8",
        ),
        (lambda: px.compress.sensitivity(one, x).most(4), "expects a count from 1 to 3, got 4"),
        (lambda: px.compress.Sensitivity({"a": 1.0}, {"a": 1}, 8).most(), "expects a count, or share=, got neither"),
        (lambda: px.compress.Sensitivity({"a": 1.0}, {"a": 1}, 8).most(1, share=0.1), "share=, got both"),
        (lambda: px.compress.Sensitivity({"a": 1.0}, {"a": 1}, 8).most(share=2), "a share between 0 and 1, got 2"),
    ]
    for call, text in cases:
        with pytest.raises(px.PhloxError) as error:
            call()
        assert text in str(error.value)
        assert "fix: " in str(error.value)


# --- adapters on integers ---------------------------------------------------------------------------


def test_an_adapter_trains_on_four_bits_which_stay_as_they_are():
    base = px.compress.quantize(px.Chain(px.Dense(8, 16, px.tanh, key=0), px.Dense(16, 3, key=1)), 4, group=4)
    codes = [np.asarray(layer.codes) for layer in base]
    adapted = px.adapt.lora(px.copy(base), rank=2, where="*", key=2)
    x, y = normal(32, 8), RNG.integers(0, 3, 32)
    assert_close(adapted(x), np.asarray(base(x)))
    assert {path.rpartition(".")[2] for path in px.split(adapted)[0]} == {"a", "b"}
    history = px.fit(
        adapted, [(x, y)], loss=px.losses.cross_entropy, optimizer=px.optim.Adam(3e-2), epochs=20, progress=False
    )
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert all(np.array_equal(a, layer.layer.codes) for a, layer in zip(codes, adapted, strict=True))
    plain = px.compress.dequantize(base)
    for i, layer in enumerate(adapted):
        a, b = (np.asarray(getattr(layer.adapters["default"], name)) for name in "ab")
        plain[i].weight = plain[i].weight + a @ b
    assert_close(adapted(x), np.asarray(plain(x)), scale=4)


@pytest.mark.soak
def test_adapters_of_all_kinds_merge_over_integers_and_whole_after_dequantize():
    base = px.compress.quantize(px.Chain(px.Embedding(9, 8, key=0), px.Dense(8, 4, key=1)), 8)
    tokens = jnp.array([[1, 5]])
    for make in (px.adapt.dora, px.adapt.ia3):
        adapted = make(px.copy(base), where="layers.1")
        for path in list(px.split(adapted)[0]):
            holder, name = path.rpartition(".")[::2]
            part = px.at(adapted, holder)
            setattr(part, name, getattr(part, name) + 0.3)
        before = np.asarray(adapted(tokens))
        merged = px.adapt.merge(px.copy(adapted))
        assert_close(merged(tokens), before, scale=4)
        assert_close(px.adapt.unmerge(merged)(tokens), before)
        with pytest.raises(px.StructureError, match=r"px\.compress\.dequantize"):
            px.adapt.merge(px.copy(adapted), keep=False)
        whole = px.adapt.merge(px.compress.dequantize(adapted), keep=False)
        assert type(whole[1]) is px.Dense
        assert_close(whole(tokens), before, scale=4)
    looked_up = px.adapt.lora(px.copy(base), where="layers.0", key=3)
    assert_close(looked_up(tokens), np.asarray(base(tokens)))


def test_a_model_with_adapters_gets_integers_beneath_them():
    adapted = px.adapt.lora(px.Chain(px.Dense(8, 4, key=0)), where="*", key=1)
    small = px.compress.quantize(adapted, 4, where="layers.0")
    assert type(small[0].layer).__name__ == "QuantizedDense"
    x = normal(2, 8)
    assert_close(small(x), np.asarray(px.compress.quantize(px.Dense(8, 4, key=0), 4)(x)))
