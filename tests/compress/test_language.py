"""What language models need: GPTQ beside least squares step by step, factors of SmoothQuant and AWQ beside theirs."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox.compress.calibration._watching import patches

RNG = np.random.default_rng(0)


def correlated(rows, size):
    return (RNG.normal(size=(rows, size)) @ RNG.normal(size=(size, size)) / np.sqrt(size)).astype("f")


def by_least_squares(x, weight, group, damping):
    """GPTQ by its definition: after each row those that are left are fitted anew, by ``np.linalg.lstsq``."""
    size = len(weight)
    gram = x.T @ x
    x = np.concatenate([x, np.sqrt(damping * np.diag(gram).mean()) * np.eye(size)])
    current, values, scale = weight.copy(), np.zeros_like(weight), None
    for i in range(size):
        if i % group == 0:
            scale = (np.abs(current[i : i + group]).max(0) / 7).astype("f").astype(float)
        values[i] = np.clip(np.round(current[i] / scale), -7, 7) * scale
        owed = x[:, : i + 1] @ (weight[: i + 1] - values[: i + 1])
        if i + 1 < size:
            current[i + 1 :] = weight[i + 1 :] + np.linalg.lstsq(x[:, i + 1 :], owed, rcond=None)[0]
    return values


@pytest.mark.parametrize("group", [None, 5])
def test_gptq_is_least_squares_row_by_row(group):
    x, layer = correlated(60, 12), px.Dense(12, 6, px.tanh, key=0)
    ours = px.compress.gptq(px.Chain(layer), x, 4, group=group, damping=0.02)[0]
    wanted = by_least_squares(x.astype(float), np.asarray(layer.weight, float), group or 12, 0.02)
    assert_close(ours.weight, wanted.astype("f"), scale=2)
    plain = px.compress.quantize(layer, 4, group=group)
    errors = [np.square(x @ np.asarray(m.weight - layer.weight)).sum() for m in (ours, plain)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("bias", [True, False])
def test_a_bias_makes_up_for_the_mean_and_rows_for_what_is_about_it(bias):
    draws = np.random.default_rng(5)
    x = (draws.normal(size=(60, 12)) @ draws.normal(size=(12, 12)) / np.sqrt(12) + 3).astype("f")
    layer = px.Dense(12, 6, bias=bias, key=0)
    if bias:
        layer.bias = jnp.arange(6.0)
    ours = px.compress.gptq(px.Chain(layer), x, 4, damping=0.02, correct_bias=True)[0]
    about = x - x.mean(0) if bias else x
    wanted = by_least_squares(about.astype(float), np.asarray(layer.weight, float), 12, 0.02)
    assert_close(ours.weight, wanted.astype("f"), scale=2)
    plain = px.compress.gptq(px.Chain(layer), x, 4, damping=0.02)[0]
    if not bias:
        assert ours.bias is None
        assert np.array_equal(ours.codes, plain.codes)
        return
    assert_close(ours.bias, np.arange(6) + x.mean(0) @ (np.asarray(layer.weight) - wanted), scale=10)
    assert_close(ours(x).mean(0), np.asarray(layer(x).mean(0)), scale=10)
    errors = [np.square(np.asarray(m(x) - layer(x))).sum() for m in (ours, plain)]
    assert errors[0] < errors[1]


def test_blocks_of_rows_and_groups_over_their_borders_change_nothing(monkeypatch):
    from phlox.compress.calibration import _gptq

    x, layer = correlated(60, 12), px.Dense(12, 6, key=0)
    whole = px.compress.gptq(px.Chain(layer), x, 4, group=5)[0]
    monkeypatch.setattr(_gptq, "_BLOCK", 4)
    again = px.compress.gptq(px.Chain(layer), x, 4, group=5)[0]
    assert np.array_equal(whole.codes, again.codes)
    assert_close(whole.scale, np.asarray(again.scale))


def test_zeros_elsewhere_one_scale_and_features_that_never_come():
    x, layer = correlated(60, 12), px.Dense(12, 6, key=0)
    x[:, 3] = 0
    for options in ({"symmetric": False}, {"per": "tensor"}, {"per": "tensor", "symmetric": False}):
        ours = px.compress.gptq(px.Chain(layer), x, 4, **options)[0]
        plain = px.compress.quantize(layer, 4, **options)
        assert ours.scale.shape == plain.scale.shape
        assert (ours.zero is None) == (plain.zero is None)
        errors = [np.square(x @ np.asarray(m.weight - layer.weight)).sum() for m in (ours, plain)]
        assert errors[0] < errors[1]
        assert np.abs(np.asarray(ours.weight - layer.weight)[3]).max() <= 0.51 * float(ours.scale.max())


def test_smoothing_moves_outliers_into_weights_and_products_stay():
    layer, x = px.Dense(16, 8, px.tanh, key=0), RNG.normal(size=(64, 16)).astype("f")
    x[:, 2] *= 80
    model = px.Chain(layer)
    factors = px.compress.smooth(model, x, strength=0.6)
    most, rows = np.abs(x).max(0), np.abs(np.asarray(layer.weight)).max(1)
    assert_close(factors.factors["layers.0"], rows**0.4 / most**0.6)
    near, far = (px.compress.quantize(model, inputs="dynamic", factors=f) for f in (factors, None))
    wanted = np.asarray(model(x))
    errors = [np.abs(np.asarray(m(x)) - wanted).mean() for m in (near, far)]
    assert errors[0] < 0.5 * errors[1]
    plain = px.compress.dequantize(near)
    np.testing.assert_allclose(plain[0].weight, layer.weight, atol=0.03)
    ranges = px.compress.calibrate(model, x, factors=factors)
    static = px.compress.quantize(model, inputs=ranges, factors=factors)
    small = x * np.asarray(factors.factors["layers.0"])
    np.testing.assert_allclose(ranges.ranges["layers.0"], (small.min(), small.max()), rtol=1e-5)
    assert np.abs(np.asarray(static(x)) - wanted).mean() < 0.5 * errors[1]


def test_awq_finds_the_exponent_that_trying_on_the_inputs_finds():
    layer, x = px.Dense(16, 8, key=0), RNG.normal(size=(64, 16)).astype("f")
    x *= np.geomspace(0.1, 20, 16).astype("f")
    model = px.Chain(layer)
    weight, mean = np.asarray(layer.weight), np.abs(x).mean(0)

    def tried(exponent):
        by = mean**exponent / np.sqrt((mean**exponent).max() * (mean**exponent).min())
        raised = weight * by[:, None]
        scale = np.abs(raised).max(0) / np.float32(7)
        back = np.clip(np.round(raised / scale), -7, 7) * scale / by[:, None]
        return np.square(x @ (back - weight)).sum(), 1 / by

    best = min((tried(i / 20) for i in range(20)), key=lambda one: one[0])
    factors = px.compress.awq(model, x, 4)
    assert_close(factors.factors["layers.0"], best[1].astype("f"), scale=5)
    ours = px.compress.quantize(model, 4, factors=factors)
    error = np.square(np.asarray(ours(x) - model(x))).sum()
    assert error == pytest.approx(best[0], rel=0.01)
    assert error < tried(0)[0]


@pytest.mark.soak
def test_a_decoder_is_nearer_with_either_than_with_the_nearest():
    config = px.models.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.3,
    )  # fmt: skip
    model = px.models.create(config, key=0)
    tokens = RNG.integers(0, 50, (16, 12))
    run = px.jit(lambda model, x: model(x))
    wanted = run(model, tokens)
    options = {"group": 8, "where": "blocks"}
    found = {
        "nearest": px.compress.quantize(model, 4, **options),
        "gptq": px.compress.gptq(model, tokens, 4, **options),
        "awq": px.compress.quantize(model, 4, factors=px.compress.awq(model, tokens, 4, **options), **options),
    }
    errors = {name: float(jnp.square(run(small, tokens) - wanted).mean()) for name, small in found.items()}
    assert errors["gptq"] < errors["nearest"]
    assert errors["awq"] < errors["nearest"]


def test_what_is_refused():
    model, x = px.Chain(px.Dense(4, 2)), RNG.normal(size=(3, 4)).astype("f")
    unused = px.Chain(px.Dense(4, 4))
    unused.spare = px.Dense(4, 4)
    cases = [
        (lambda: px.compress.smooth(model, x, strength=2), "px.compress.smooth expects a strength in [0, 1], got 2"),
        (lambda: px.compress.smooth(model, None), "px.compress.smooth expects data, got None"),
        (lambda: px.compress.awq(model, x, 5), "px.compress.awq expects bits of 8 or 4"),
        (lambda: px.compress.gptq(model, x, "e4m3"), "px.compress.gptq expects bits of 8 or 4, got 'e4m3'"),
        (lambda: px.compress.gptq(model, x, damping=0), "px.compress.gptq expects a damping between 0 and 1, got 0"),
        (lambda: px.compress.gptq(unused, x), "px.compress.gptq expects finite inputs of spare, got none"),
        (lambda: px.compress.gptq(model, x * np.nan), "got NaN or infinite numbers"),
        (lambda: px.compress.gptq(px.Chain(px.Embedding(3, 1)), x), "px.compress.gptq expects a Dense or Conv or"),
        (lambda: px.compress.awq(px.Chain(px.Conv(3, 1, 1)), x), "px.compress.awq expects a Dense among the layers"),
        (lambda: px.compress.gptq(px.RepeatedLayer(lambda: px.Dense(4, 4), 2), x), "expects layers by themselves"),
    ]
    for call, text in cases:
        with pytest.raises(px.PhloxError) as error:
            call()
        assert text in str(error.value)
        assert "fix: " in str(error.value)


@pytest.mark.parametrize("build", [
    lambda: px.Conv((2, 2), 4, 6, stride=2, padding=1, groups=2, key=0),
    lambda: px.DepthwiseConv((3, 3), 4, 2, padding="SAME", key=0),
])  # fmt: skip
def test_windows_of_convolutions_are_what_their_outputs_sum_over(build):
    layer, x = build(), np.maximum(RNG.normal(size=(3, 8, 8, 4)) + 1, 0).astype("f")
    rows, wanted = np.asarray(patches(layer, jnp.asarray(x))), np.asarray(layer(x))
    weight = np.asarray(layer.weight).reshape(rows.shape[2], len(rows), -1)
    assert_close(np.einsum("gnr,rgo->ngo", rows, weight).reshape(wanted.shape), wanted, scale=4)
    ours = px.compress.gptq(px.Chain(layer), x, 4)[0]
    plain = px.compress.quantize(layer, 4)
    errors = [np.square(np.asarray(m(x)) - wanted).sum() for m in (ours, plain)]
    assert errors[0] < errors[1]


def test_the_bias_of_a_grouped_convolution_makes_up_for_its_own_channels():
    layer = px.Conv((3, 3), 4, 6, groups=2, key=0)
    x = (RNG.normal(size=(3, 8, 8, 4)) + np.array([5, -4, 3, 2])).astype("f")
    ours = px.compress.gptq(px.Chain(layer), x, 4, correct_bias=True)[0]
    assert float(jnp.abs(ours.bias).max()) > 0.05
    np.testing.assert_allclose(ours(x).mean((0, 1, 2)), layer(x).mean((0, 1, 2)), atol=1e-4)
    plain = px.compress.gptq(px.Chain(layer), x, 4)[0]
    errors = [np.square(np.asarray(m(x) - layer(x))).sum() for m in (ours, plain)]
    assert errors[0] < errors[1]
