"""Attributions from slopes, beside closed forms: quadratic functions, cubes, one convolution."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interpret_games import BASE, DATA, A, B, X, along, quadratic, quadratic_slope, score
from kit import assert_close
from phlox.interpret.asking._rounds import _parts

I = px.interpret  # noqa: E741


def test_slopes_are_those_of_a_quadratic_function():
    found = I.saliency(quadratic, X)
    assert_close(found.values, np.abs(quadratic_slope(X)))
    assert_close(found.scores, score(quadratic, X))
    assert_close(I.saliency(quadratic, X, absolute=False).values, quadratic_slope(X))
    assert_close(I.input_x_gradient(quadratic, X).values, X * quadratic_slope(X))


@pytest.mark.parametrize("rule", ["gauss_legendre", "middle", "trapezoid"])
def test_integrated_gradients_are_exact_where_slopes_are_linear(rule):
    found = I.integrated_gradients(quadratic, X, baselines=BASE, steps=5, rule=rule)
    assert_close(found.values, along(X, BASE), scale=4)
    assert_close(found.baseline_scores, score(quadratic, BASE))
    np.testing.assert_allclose(found.delta, 0, atol=1e-5)
    assert_close(found.sums, score(quadratic, X) - score(quadratic, BASE), scale=10)


def test_left_and_right_miss_by_half_a_step():
    slopes = X * B + X * (X @ (A + A.T)) / 2
    for rule, sign in (("left", -1), ("right", 1)):
        found = I.integrated_gradients(quadratic, X, steps=4, rule=rule)
        assert_close(found.values, slopes + sign * X * (X @ (A + A.T)) / 8, scale=4)


def test_several_baselines_are_a_mean_and_one_row_is_for_all():
    several = np.stack([BASE, np.zeros_like(BASE), 2 * BASE])
    found = I.integrated_gradients(quadratic, X, baselines=several, steps=3)
    assert_close(found.values, np.mean([along(X, base) for base in several], 0), scale=4)
    one = I.integrated_gradients(quadratic, X, baselines=BASE[0], steps=3)
    assert_close(one.values, along(X, BASE[:1]), scale=4)
    assert_close(I.integrated_gradients(quadratic, X, baselines=0.5, steps=3).values, along(X, 0.5), scale=4)


def test_rounds_are_those_that_fill_up_least():
    """Nobody computes 66 points for 64."""
    assert [len(part) for part in _parts(64, 31)] == [16] * 4
    assert [len(part) for part in _parts(64, 32)] == [32] * 2
    assert [len(part) for part in _parts(7, 7)] == [7]
    assert [len(part) for part in _parts(7, 5)] == [4, 4]


def test_rounds_of_any_size_give_the_same():
    whole = I.integrated_gradients(quadratic, X, baselines=BASE, steps=7)
    for size in (1, 2, 6):  # 6 is two steps of three rows, and seven steps fill no four rounds
        parts = I.integrated_gradients(quadratic, X, baselines=BASE, steps=7, batch_size=size)
        assert_close(parts.values, whole.values, scale=4)


def test_trees_tokens_and_leaves_that_stand_still():
    """What is an integer stays in its place and has zeros."""

    def model(table):
        return (table["a"] * table["b"]).sum(1) * table["n"]

    x = {"a": X, "b": BASE, "n": np.array([1, 2, 3])}
    found = I.integrated_gradients(model, x, steps=3, forward=lambda model, x: model(x))
    assert_close(found.values["a"], X * BASE / 2 * x["n"][:, None], scale=4)
    assert_close(found.values["a"], found.values["b"])
    assert found.values["n"].tolist() == [0, 0, 0]
    np.testing.assert_allclose(found.delta, 0, atol=1e-5)


def test_a_target_is_a_class_one_for_each_row_an_index_or_a_function():
    def outputs(x):
        return jnp.stack([x**2, 3 * x], 1)  # (rows, 2, 4)

    wanted = np.zeros((3, 4), "f")
    wanted[:, 2] = 2 * X[:, 2]
    assert_close(I.saliency(outputs, X, target=(0, 2), absolute=False).values, wanted)
    assert_close(I.saliency(outputs, X, target=(0, -2), absolute=False).values, wanted)
    wanted[1] = [0, 3, 0, 0]
    found = I.saliency(outputs, X, target=np.array([[0, 2], [1, 1], [0, 2]]), absolute=False)
    assert_close(found.values, wanted)
    found = I.saliency(outputs, X, target=lambda y: y[0, 1] - y[1, 0], absolute=False)
    assert_close(found.values, np.stack([np.full(3, -3.0), 2 * X[:, 1], np.zeros(3), np.zeros(3)], 1).astype("f"))


def test_noise_has_the_mean_and_the_spread_of_a_cube():
    """Of x³ the slope is 3 (x + ε)²: mean 3 (x² + σ²), variance 9 (4 x² σ² + 2 σ⁴)."""
    sigma, samples = 0.3, 800
    found = I.smooth_grad(lambda x: (x**3).sum(1), X, noise=sigma, samples=samples, key=0)
    spread = np.sqrt(9 * (4 * X**2 * sigma**2 + 2 * sigma**4))
    np.testing.assert_allclose(found.errors, spread / np.sqrt(samples), rtol=0.25)
    assert (np.abs(found.values - 3 * (X**2 + sigma**2)) < 4.5 * spread / np.sqrt(samples)).all()
    varied = I.var_grad(lambda x: (x**3).sum(1), X, noise=sigma, samples=samples, key=0)
    np.testing.assert_allclose(varied.values, spread**2, rtol=0.5)
    again = I.smooth_grad(lambda x: (x**3).sum(1), X, noise=sigma, samples=samples, key=0, batch_size=100)
    assert_close(again.values, found.values, scale=10)


def test_expected_gradients_are_the_mean_over_baselines():
    found = I.expected_gradients(quadratic, X, baselines=DATA, samples=600, key=0)
    wanted = np.mean([along(X, base) for base in DATA[:, None]], 0)
    assert (np.abs(found.values - wanted) < 4.5 * np.asarray(found.errors) + 1e-6).all()
    assert np.abs(found.values - wanted).max() < 0.2 * np.abs(wanted).max()
    assert_close(found.baseline_scores, np.full(3, score(quadratic, DATA).mean(), "f"), scale=4)


def tanh_layers():
    hidden, out = np.random.default_rng(1).normal(size=(4, 5)), np.random.default_rng(2).normal(size=(5, 2))
    return px.Chain(px.Dense.of(jnp.asarray(hidden, "f"), None, px.tanh), px.Dense.of(jnp.asarray(out, "f"), None))


def test_a_layer_with_all_that_passes_has_the_whole_sum():
    model = tanh_layers()
    found = I.conductance(model, X, layer="layers.0", target=1, baselines=BASE, steps=16)
    np.testing.assert_allclose(found.delta, 0, atol=1e-5)
    before, after = (np.asarray(px.capture(model, x)["layers.0"]) for x in (BASE, X))
    weight = np.asarray(model[1].weight)[:, 1]
    assert_close(found.values, (after - before) * weight, scale=10)  # what follows is linear
    assert_close(I.internal_influence(model, X, layer="layers.0", target=1).values, np.tile(weight, (3, 1)), scale=4)
    inner = I.integrated_gradients(model, X, layer="layers.0", target=1, baselines=BASE, steps=2)
    assert_close(inner.values, (after - before) * weight, scale=10)
    one = I.conductance(model, X, layer="layers.0", neuron=3, target=1, baselines=BASE, steps=16)
    assert_close(one.sums, found.values[:, 3], scale=10)
    neuron = I.integrated_gradients(model, X, layer="layers.0", neuron=3, baselines=BASE, steps=16)
    assert_close(one.values, neuron.values * weight[3], scale=10)


def test_the_model_infers_and_stays_as_it_was():
    model = px.trainmode(px.Chain(px.Dense(4, 4, key=0), px.BatchNorm(4), px.Dropout(0.5), px.Dense(4, 1, key=1)))
    before = {path: np.asarray(v) for path, v in px.paths(model).items() if "key" not in path}
    found = I.saliency(model, X, absolute=False)
    kept = px.testmode(px.copy(model))
    assert_close(found.scores, kept(X)[:, 0])
    assert all(np.array_equal(before[path], v) for path, v in px.paths(model).items() if path in before)
    assert model[2].training


def numbers(layer, x):
    return np.asarray(layer(x))


def test_class_activation_maps_are_their_formulas():
    """A convolution of one number, and scores that are linear in the map's squares."""
    weight = np.random.default_rng(3).normal(size=(1, 1, 2, 3)).astype("f")
    head = np.random.default_rng(4).normal(size=(4, 4, 3)).astype("f")

    class Net(px.Module):
        def __init__(self):
            self.conv = px.Conv.of(jnp.asarray(weight), None)

        def __call__(self, x):
            return (self.conv(x) ** 2 * head).sum((1, 2, 3))

    x = np.random.default_rng(5).normal(size=(2, 4, 4, 2)).astype("f")
    maps = x @ weight[0, 0]
    slope = 2 * maps * head
    cam = (slope.mean((1, 2), keepdims=True) * maps).sum(-1, keepdims=True)
    model = Net()
    assert_close(I.grad_cam(model, x, layer="conv", relu=False).values, cam, scale=10)
    assert_close(I.grad_cam(model, x, layer="conv").values, np.maximum(cam, 0), scale=10)
    alpha = slope**2 / (2 * slope**2 + maps.sum((1, 2), keepdims=True) * slope**3)
    weights = (alpha * np.maximum(slope, 0)).sum((1, 2), keepdims=True)
    plus = np.maximum((weights * maps).sum(-1, keepdims=True), 0)
    assert_close(I.grad_cam_plus_plus(model, x, layer="conv").values, plus, scale=1000)  # quotients near 0
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    masks = (maps - low) / (high - low)
    seen = np.stack([numbers(model, x * masks[..., c : c + 1]) for c in range(3)], -1)
    share = np.exp(seen) / np.exp(seen).sum(-1, keepdims=True)
    scored = np.maximum((maps * share[:, None, None]).sum(-1, keepdims=True), 0)
    assert_close(I.score_cam(model, x, layer="conv").values, scored, scale=100)


def test_a_map_is_resized_to_the_image():
    model = px.Chain(px.Conv((2, 2), 1, 3, stride=2, key=0), px.GlobalMeanPool(), px.flatten)
    x = np.random.default_rng(6).normal(size=(1, 6, 4, 1)).astype("f")
    small = I.grad_cam(model, x, layer="layers.0", target=1, size="layer").values
    assert small.shape == (1, 3, 2, 1)
    large = np.asarray(I.grad_cam(model, x, layer="layers.0", target=1).values)
    assert large.shape == (1, 6, 4, 1)
    np.testing.assert_allclose(large[:, [0, 5]][:, :, [0, 3]], np.asarray(small)[:, [0, 2]][:, :, [0, 1]], rtol=1e-5)


CLASSES = np.zeros((3, 2), "f")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: I.saliency(m, X), "target= where a row has several numbers, got float32[3, 2]"),
        (lambda m: I.saliency(m, X, target=2), "target= inside an output of shape (rows, 2), got 2"),
        (lambda m: I.saliency(m, X, target=[0, 1]), "target= of shape (3,) or (3, axes)"),
        (lambda m: I.saliency(m, X, target=0.5), "target= of integers, got float64"),
        (lambda m: I.saliency(m, X, target=(0, 1)), "an index for each axis of a row, got 2 for rows of shape (2,)"),
        (lambda m: I.saliency(m, X, target=lambda y: y), "target to give a number for a row, got float32[2]"),
        (lambda m: I.saliency(m, X, target=0, layer="layers.9"), "layer= to be the path of a layer, got 'layers.9'"),
        (lambda m: I.saliency(m, X, target=0, neuron=1), "a layer beside a neuron"),
        (lambda m: I.saliency(m, X[0, 0], target=0), "arrays whose first axis is rows"),
        (lambda m: I.saliency(3, X, target=0), "a model, got 3"),
        (lambda m: I.integrated_gradients(m, X, target=0, steps=0), "steps of 1 or more, got 0"),
        (lambda m: I.integrated_gradients(m, X, target=0, rule="simpson"), "a rule of quadrature, got 'simpson'"),
        (lambda m: I.integrated_gradients(m, X, target=0, baselines=CLASSES), "a baseline for an input of shape (3, "),
        (lambda m: I.integrated_gradients(m, X, target=0, batch_size=0), "batch_size of 1 or more rows, got 0"),
        (lambda m: I.expected_gradients(m, X, target=0, baselines=0.0), "baselines= drawn from data, got 0.0"),
        (lambda m: I.grad_cam(m, X, target=0, layer="layers.0"), "a layer whose output is (rows, *space, channels)"),
        (lambda m: I.conductance(m, X, target=0, layer="layers.0", neuron=len), "neuron= of integers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, text):
    with pytest.raises(px.PhloxError, match=re.escape(text)):
        call(tanh_layers())


def test_tokens_have_no_slopes():
    model = px.Chain(px.Embedding(5, 3, key=0), lambda h: h.sum(1), px.Dense(3, 1, key=1))
    tokens = np.array([[1, 2], [3, 4]])
    with pytest.raises(px.DtypeError, match=r'layer="layers\.0"'):
        I.saliency(model, tokens)
    with pytest.raises(px.RangeError, match="baselines= where the input is integers"):
        I.integrated_gradients(model, tokens, layer="layers.0")
    found = I.integrated_gradients(model, tokens, layer="layers.0", baselines=np.zeros_like(tokens), steps=2)
    table, weight = np.asarray(model[0].weight), np.asarray(model[2].weight)[:, 0]
    assert_close(found.values, (table[tokens] - table[0]) * weight)
