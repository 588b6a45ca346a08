"""Measures of attributions, beside their formulas, and pictures of them."""

import re
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interpret_games import X, along, quadratic, score
from kit import assert_close, oracle

I = px.interpret  # noqa: E741
ZERO = np.zeros_like(X)


def test_infidelity_is_the_mean_square_of_what_was_not_foretold():
    values = along(X, ZERO)
    moved = [np.random.default_rng(i).normal(size=X.shape).astype("f") for i in range(3)]
    rest = iter(moved)

    def perturb(_, x):
        step = jnp.asarray(next(rest))
        return step, x - step

    found = I.infidelity(quadratic, X, values, perturb=perturb, samples=3)
    said = np.stack([(m * values).sum(1) for m in moved])
    came = np.stack([score(quadratic, X) - score(quadratic, X - m) for m in moved])
    assert_close(found, ((said - came) ** 2).mean(0), scale=100)
    rest = iter(moved)
    scaled = I.infidelity(quadratic, X, values, perturb=perturb, samples=3, normalize=True)
    best = (said * came).mean(0) / (said**2).mean(0)
    assert_close(scaled, ((best * said - came) ** 2).mean(0), scale=100)
    assert (np.asarray(scaled) <= np.asarray(found) + 1e-4).all()
    slope = I.saliency(quadratic, X, absolute=False)
    near, far = (I.infidelity(quadratic, X, v, noise=1e-2, samples=50, key=0) for v in (slope, -slope.values))
    assert (np.asarray(near) < 1e-3 * np.asarray(far)).all()


def test_sensitivity_is_the_worst_of_the_draws():
    """Of x² the slope is 2 x: with every δ in the box the worst is found within it, and it grows with the radius."""
    explain = lambda x: I.saliency(lambda x: (x**2).sum(1), x, absolute=False)  # noqa: E731
    found = np.asarray(I.sensitivity(explain, X, radius=0.1, samples=60, key=0))
    most = np.sqrt(4) * 0.1 / np.linalg.norm(X, axis=1)  # a corner of the box
    assert (found < most).all()
    assert (found > 0.7 * most).all()


def test_curves_follow_what_is_ranked_first():
    weight = np.array([4.0, 1.0, 3.0, 2.0], "f")
    x = np.ones((2, 4), "f")
    found = I.curves(lambda x: x @ weight, x, np.stack([weight, -weight]), points=5)
    np.testing.assert_allclose(found.insertion[:, 0], [0, 4, 7, 9, 10])
    np.testing.assert_allclose(found.deletion[:, 0], [10, 6, 3, 1, 0])
    np.testing.assert_allclose(found.insertion[:, 1], [0, 1, 3, 6, 10])
    np.testing.assert_allclose(found.insertion_area, [6.25, 3.75])
    np.testing.assert_allclose(found.deletion_area, [3.75, 6.25])
    maps = np.random.default_rng(0).random((1, 4, 4, 1)).astype("f")
    images = np.ones((1, 4, 4, 3), "f")
    one = I.curves(lambda x: (x * maps).sum((1, 2, 3)), images, maps, points=3)
    np.testing.assert_allclose(one.insertion[1, 0], 3 * np.sort(maps.ravel())[8:].sum(), rtol=1e-5)


def test_weights_drawn_anew_take_an_attribution_away():
    model = px.Chain(px.Dense(30, 20, px.tanh, key=0), px.Dense(20, 1, key=1))
    x = np.random.default_rng(1).normal(size=(6, 30)).astype("f")
    before = {path: np.asarray(v) for path, v in px.paths(model).items()}
    found = I.sanity_check(lambda model: I.saliency(model, x), model, key=0)
    assert list(found.correlations) == ["layers.1", "layers.0"]
    assert np.abs(found.correlations["layers.0"].mean()) < 0.3
    assert all(np.array_equal(v, px.paths(model)[path]) for path, v in before.items())
    still = I.sanity_check(lambda model: np.abs(x), model, key=0)
    np.testing.assert_allclose(still.correlations["layers.0"], 1)
    stats = oracle("scipy.stats")
    heard = []

    def explain(model):
        heard.append(np.asarray(I.saliency(model, x).values))
        return heard[-1]

    alone = I.sanity_check(explain, model, cascade=False, key=0)
    for after, path in zip(heard[1:], alone.correlations, strict=True):
        wanted = [stats.spearmanr(a, b).statistic for a, b in zip(heard[0], after, strict=True)]
        np.testing.assert_allclose(alone.correlations[path], wanted, rtol=1e-6)


@pytest.fixture(scope="module")
def table():
    return I.integrated_gradients(quadratic, X, steps=3)


def test_a_table_has_the_most_first(table):
    oracle("pandas")
    shown = table.table(["a", "b", "c", "d"], row=1)
    order = np.argsort(-np.abs(np.asarray(table.values[1])))
    assert shown.names == tuple("abcd"[i] for i in order)
    np.testing.assert_allclose(shown.values, np.asarray(table.values[1])[order])
    np.testing.assert_allclose(shown.inputs, X[1][order])
    mean = table.table()
    np.testing.assert_allclose(sorted(mean.values), sorted(np.abs(np.asarray(table.values)).mean(0)), rtol=1e-6)
    frame = table.to_frame(["a", "b", "c", "d"])
    assert_close(frame["c"].to_numpy("float32"), np.asarray(table.values[:, 2]))
    assert list(shown.to_frame().columns) == ["input", "value"]
    assert "&lt;a&gt;" in table.table(["<a>", "b", "c", "d"])._repr_html_()
    assert len(table.table(most=2).names) == 2
    assert "<table" in table._repr_html_()


def test_text_has_the_colour_of_each_token(table, tmp_path):
    both = replace(table, values=np.array([[[0.5, 0.5], [-2.0, 0.0], [0.0, 0.0]]], "f"))
    text = both.text(["good", "<bad>", "so"])
    assert text.values == (1.0, -2.0, 0.0)
    html = text._repr_html_()
    assert "rgba(59, 125, 216, 0.500)" in html
    assert "rgba(201, 115, 22, 1.000)" in html
    assert "&lt;bad&gt;" in html
    text.save(tmp_path / "text.html")
    assert (tmp_path / "text.html").read_text("utf-8").startswith("<!doctype html>")


def test_a_picture_shows_the_image_and_both_signs(table, tmp_path):
    oracle("matplotlib")
    values = np.zeros((1, 6, 4, 3), "f")
    values[0, 1, 2], values[0, 4, 1] = 1.0, -0.5
    found = replace(table, values=values, x=np.random.default_rng(0).random((1, 6, 4, 3)).astype("f"))
    figure = found.plot(path=tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000
    (drawn,) = [image for axes in figure.axes for image in axes.images if image.get_cmap().name == "RdBu"]
    np.testing.assert_allclose(np.asarray(drawn.get_array()), values[0].sum(-1))
    limits = drawn.get_clim()
    assert limits[0] == -limits[1] < 0
    assert drawn.get_alpha()[0, 0] == 0
    (one,) = [i for a in found.plot(sign="negative").axes for i in a.images if i.get_cmap().name == "magma"]
    assert one.get_array()[4, 1] == 1.5
    assert one.get_array()[1, 2] == 0
    bars = table.plot(row=2).axes[0].patches
    np.testing.assert_allclose([bar.get_width() for bar in bars], np.asarray(table.values[2]), rtol=1e-6)
    assert "<img src" in found._repr_html_()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda t: t.plot(row=3), "a row below 3, got 3"),
        (lambda t: t.plot(sign="both"), "sign of all, positive, negative, absolute"),
        (lambda t: t.text("four"), "4 tokens, got one text"),
        (lambda t: t.table(["a"]), "4 names, got 1"),
        (lambda t: I.infidelity(quadratic, X, X[:, :2]), "a tree like the input, (3, 4), got (3, 2)"),
        (lambda t: I.sensitivity(lambda x: x, X, radius=0), "a radius above 0, got samples=10, radius=0"),
        (lambda t: I.curves(quadratic, X, t, points=1), "points of 2 or more, got 1"),
        (lambda t: I.sanity_check(lambda m: m, px.Dropout(0.5)), "a model with weights, got Dropout(0.5)"),
    ],
)
def test_what_does_not_fit_is_named(table, call, text):
    with pytest.raises(px.PhloxError, match=re.escape(text)):
        call(table)
