"""Metrics of one's own: plain functions, sums, an update of one's own, and one output among several."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import metrics as M

sk = oracle("sklearn.metrics")
RNG = np.random.default_rng(0)
P, T = (RNG.normal(size=10).astype("float32") for _ in range(2))
W = RNG.uniform(0.5, 2, 10).astype("float32")


def squared(prediction, target):
    return (prediction - target) ** 2


class Relative(M.Sums):
    """The sum of errors over that of sizes."""

    names = ("error", "size")

    def measure(self, prediction, target):
        return {"error": abs(prediction - target), "size": abs(target)}

    def value(self, sums):
        return sums["error"] / sums["size"]


class Strict(M.BinaryAccuracy):
    """Yes from 0.9 on, by an update of its own."""

    def update(self, prediction, target, weight=None, **others):
        super().update((prediction > 0.9).astype("float32"), target, weight, **others)


CASES = {
    "a function": (lambda: M.from_function(squared), lambda w: np.average((P - T) ** 2, weights=w)),
    "sums": (Relative, lambda w: np.average(abs(P - T), weights=w) / np.average(abs(T), weights=w)),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_padding_batches_and_merging(name):
    make, want = CASES[name]
    one, two, step = make(), make(), px.jit(lambda m, *batch: m.update(*batch))
    step(one, P[:6], T[:6], W[:6])
    two.update(np.append(P[6:], [np.nan] * 2), np.append(T[6:], [0, 0]).astype("f"), np.append(W[6:], [0, 0]))
    np.testing.assert_allclose(M.merge(one, two).compute(), want(W), rtol=1e-5)
    one.reset()
    assert np.isnan(one.compute())
    many = make()
    px.vmap(lambda m, p, t: m.update(p, t, axis_name="i"), in_axes=(None, 0, 0), axis_name="i")(
        many, P.reshape(5, 2), T.reshape(5, 2)
    )
    np.testing.assert_allclose(many.compute(), want(None), rtol=1e-5)
    one.update(P * np.nan, T)
    assert np.isnan(one.compute())


def test_an_update_of_ones_own_is_what_a_collection_and_evaluate_call():
    x = RNG.uniform(size=(40, 1)).astype("float32")
    y = (x > 0.6).astype("int32")
    want = sk.accuracy_score(y, x > 0.9)
    alone, model = Strict(), px.Dense.of(jnp.ones((1, 1)), None)
    alone.update(x, y)
    together = M.Metrics(strict=Strict(), plain=M.BinaryAccuracy())
    together.update(x, y)
    found = px.evaluate(model, (x, y), batch_size=16, metrics={"strict": Strict(), "plain": M.BinaryAccuracy()})
    for got in (alone.compute(), together.compute()["strict"], found["strict"]):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(found["plain"], sk.accuracy_score(y, x > 0.5), rtol=1e-6)
    assert not M.Mean._own_update
    assert not M.Accuracy._own_update
    assert not M.Select(M.Accuracy(), 0)._own_update
    assert M.Select(Strict(), 0)._own_update


def test_a_functions_name_is_the_metrics():
    def within(prediction, target):
        return abs(prediction - target) < 1

    x = P[:, None]
    found = px.evaluate(px.Dense.of(jnp.ones((1, 1)), None), (x, T[:, None]), metrics=[M.from_function(within)])
    np.testing.assert_allclose(found["within"], np.mean(abs(P - T) < 1), rtol=1e-6)


class Two(px.Module):
    """A model with two outputs."""

    def __init__(self):
        self.w = jnp.ones(())

    def __call__(self, x):
        return {"label": x * self.w, "size": x.sum(-1)}


def test_one_output_among_several():
    x, y = RNG.normal(size=(20, 3)).astype("float32"), RNG.integers(0, 3, 20)
    want = sk.accuracy_score(y, x.argmax(-1))
    metrics = {"by key": M.Select(M.Accuracy(), "label"), "by rule": M.Select(M.Accuracy(), lambda out: out["label"])}
    found = px.evaluate(Two(), (x, y), batch_size=8, metrics=metrics)
    np.testing.assert_allclose([found["by key"], found["by rule"]], want, rtol=1e-6)
    pair = M.Select(M.Accuracy(), 1, target=0)
    pair.update((x[:, 0], x), (y, x))
    np.testing.assert_allclose(M.merge(pair, pair).compute(), want, rtol=1e-6)
    pair.reset()
    assert np.isnan(pair.compute())


ERRORS = {
    r"^Accuracy.update expects one array as prediction, got a dict of 'label', 'size'\n"
    r"  fix: choose one: px.metrics.Select\(px.metrics.Accuracy\(...\), 'label'\)$": lambda: M.Accuracy().update(
        Two()(jnp.ones((2, 3))), jnp.zeros(2, int)
    ),
    r"^Accuracy.update expects one array as target, got a tuple of 0, 1\n.*Accuracy\(...\), target=0\)$": lambda: (
        M.Accuracy().update(jnp.ones((2, 3)), (jnp.zeros(2, int), jnp.ones(2)))
    ),
    r"^Select.update expects a prediction with 'lable', got 'label', 'size'\n  fix: choose one": lambda: M.Select(
        M.Accuracy(), "lable"
    ).update(Two()(jnp.ones((2, 3))), jnp.zeros(2, int)),
    r"^f.update expects the function's values of shape \(batch, ...\), got float32\[\]\n  fix: leave out": lambda: (
        M.from_function(lambda p, t: jnp.mean(p - t), name="f").update(P, T)
    ),
    r"^from_function expects a function of \(prediction, target\), got": lambda: M.from_function(3),
    r"^Sums expects names of sums, a tuple, got \(\)\n  fix: write names =": lambda: M.Sums(),
    r"^Half.update expects sums error, size, got error\n  fix: let measure return": lambda: type(
        "Half", (Relative,), {"measure": lambda self, p, t: {"error": p - t}}
    )().update(P, T),
    r"^Select expects a metric, got 'label'\n  fix: give the metric first": lambda: M.Select("label", M.Accuracy()),
}


@pytest.mark.parametrize("text", ERRORS)
def test_mistakes_are_told(text):
    with pytest.raises(px.PhloxError, match=text):
        ERRORS[text]()


@pytest.mark.parametrize("kept", [{"capacity": 16}, {"bins": 8}])
def test_average_precision_of_labels_of_which_one_has_no_positives(kept):
    p = ((RNG.integers(0, 8, (12, 3)) + 0.5) / 8).astype("float32")
    t = RNG.integers(0, 2, (12, 3))
    t[:, 1] = 0
    area = M.AveragePrecision(labels=3, average="weighted", **kept)
    area.update(p, t)
    share = t.sum(0) / t.sum()
    each = [sk.average_precision_score(t[:, c], p[:, c]) for c in (0, 2)]
    np.testing.assert_allclose(area.compute(), np.dot(share[[0, 2]], each), rtol=1e-5)
    roc = M.ROCAUC(labels=3, average="weighted", **kept)
    roc.update(p, t)
    each = [sk.roc_auc_score(t[:, c], p[:, c]) for c in (0, 2)]
    np.testing.assert_allclose(roc.compute(), np.dot(share[[0, 2]], each), rtol=1e-5)


def test_ten_million_examples_are_counted_exactly():
    count, step = M.Accuracy(), px.jit(lambda m, p, t: m.update(p, t))
    told, true = jnp.ones(2_500_001, "int8"), jnp.zeros(2_500_001, "int8").at[0].set(1)
    for _ in range(8):
        step(count, told, true)
    assert int(count.count[0]) + int(count.count[1]) == 8 * 2_500_001  # above 2^24, and odd times eight
    assert float(count.correct.sum()) == 8
