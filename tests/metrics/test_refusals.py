"""What does not match is refused with the cure, or is NaN where it is traced; and numbers that are hard to keep."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import metrics as M

sk, curves = oracle("sklearn.metrics"), oracle("sklearn.calibration")
ZEROS, ONES = jnp.zeros(3, int), jnp.ones(3, int)
HALF = jnp.full(3, 0.5)

REFUSED = {
    "scores of other classes": (
        M.F1(classes=4),
        (jnp.zeros((3, 5)), ZEROS),
        px.ShapeError,
        r"\[3, 4\] or integer classes \[3\] beside int32\[3\] targets, got float32\[3, 5\]",
    ),
    "a column beside a row": (
        M.MeanSquaredError(),
        (jnp.zeros((3, 1)), HALF),
        px.ShapeError,
        r"one shape, got float32\[3, 1\] and float32\[3\]\n  fix: make them one shape; prediction.reshape\(\(3,\)\)",
    ),
    "one probability for classes": (M.Accuracy(), (HALF, ZEROS), px.ShapeError, r"fix: use the binary form"),
    "one-hot targets": (
        M.Accuracy(),
        (jnp.zeros((3, 4)), jnp.zeros((3, 4))),
        px.DtypeError,
        r"integer targets, got float32\[3, 4\]\n  fix: .*argmax",
    ),
    "no such class": (
        M.ConfusionMatrix(3),
        (ZEROS, jnp.array([0, 3, 0])),
        px.RangeError,
        r"targets in 0 … 2, got int32\[3\] with 3\n  fix: count classes from 0; give padding the weight 0",
    ),
    "told no such class": (
        M.ConfusionMatrix(3),
        (jnp.array([0, -1, 0]), ZEROS),
        px.RangeError,
        r"predicted classes in 0 … 2, got int32\[3\] with -1",
    ),
    "logits for probabilities": (
        M.BinaryAccuracy(),
        (jnp.array([0.5, 2.0, 0.1]), ZEROS),
        px.RangeError,
        r"probabilities within \[0, 1\], got float32\[3\] with 2.0\n  fix: say logits=True",
    ),
    "logits for perplexity": (
        M.Perplexity(),
        (jnp.full((3, 4), -1.0), ZEROS),
        px.RangeError,
        r"Perplexity.update expects probabilities within \[0, 1\]",
    ),
    "NaN": (
        M.ROCAUC(bins=4, logits=True),
        (HALF.at[1].set(jnp.nan), ZEROS),
        px.RangeError,
        r"logits that are numbers, got float32\[3\] with nan",
    ),
    "targets of -1 and 1": (
        M.Precision(),
        (HALF, jnp.array([-1, 1, 1])),
        px.RangeError,
        r"targets of 0 and 1, got int32\[3\] with -1",
    ),
    "weights of others": (
        M.Accuracy(),
        (ZEROS, ZEROS, jnp.ones(4)),
        px.ShapeError,
        r"weight of the leading axes of \[3\], got float32\[4\]",
    ),
    "negative weights": (
        M.Accuracy(),
        (ZEROS, ZEROS, jnp.array([1.0, -1.0, 1.0])),
        px.RangeError,
        r"weights of at least 0, got float32\[3\] with -1.0",
    ),
    "labels": (
        M.F1(labels=4),
        (jnp.zeros((2, 3)), jnp.zeros((2, 3))),
        px.ShapeError,
        r"a prediction of \(..., 4\), got float32\[2, 3\]",
    ),
    "outputs": (
        M.R2Score(outputs=4),
        (jnp.zeros((2, 3)), jnp.zeros((2, 3))),
        px.ShapeError,
        r"a target of \(..., 4\), got float32\[2, 3\]",
    ),
    "complex": (M.MeanAbsoluteError(), (HALF * 1j, HALF), px.DtypeError, r"a real prediction, got complex64\[3\]"),
    "decisions as numbers": (
        M.MeanAbsoluteError(),
        (HALF > 1, HALF > 1),
        px.DtypeError,
        r"numbers, got bool\[3\] and bool\[3\]",
    ),
    "more guesses than classes": (
        M.TopKAccuracy(4),
        (jnp.zeros((3, 3)), ZEROS),
        px.ShapeError,
        r"at least k=4 classes, got float32\[3, 3\]",
    ),
    "weighted ranks": (
        M.SpearmanCorrelation(capacity=4),
        (HALF, HALF, HALF),
        px.DtypeError,
        r"a mask of booleans as weight, got float32\[3\]",
    ),
    "a target without a loss": (
        M.Mean(),
        (HALF, HALF),
        px.ShapeError,
        r"values alone, got a second argument\n  fix: pass weights by name",
    ),
    "a loss without a target": (
        M.Mean(px.losses.mse),
        (HALF,),
        px.ShapeError,
        r"a prediction and a target, got no target",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    metric, arguments, kind, message = REFUSED[name]
    before = px.state_dict(metric)
    with pytest.raises(kind, match=message) as caught:
        metric.update(*arguments)
    error = caught.value
    assert error.where == f"{type(metric).__name__}.update"
    assert error.expected
    assert error.got
    assert error.fix
    assert all((before[path] == x).all() for path, x in px.state_dict(metric).items())


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: M.F1(classes=3, labels=3), r"F1 expects classes or labels, got classes=3, labels=3"),
        (lambda: M.F1(classes=1), r"classes to be a whole number of at least 2, got 1"),
        (lambda: M.FBeta(0.0), r"FBeta expects beta above 0, got 0.0"),
        (lambda: M.Recall(average="mean"), r"average to be one of 'micro', 'macro', 'weighted', None, got 'mean'"),
        (lambda: M.BinaryAccuracy(threshold=1.0), r"threshold between 0 and 1, got 1.0"),
        (lambda: M.TopKAccuracy(True), r"k to be a whole number of at least 1, got True"),
        (lambda: M.CalibrationError(norm="l3"), r"norm to be one of 'l1', 'l2', 'max', got 'l3'"),
    ],
)
def test_construction_refuses(construct, message):
    with pytest.raises(px.RangeError, match=message):
        construct()


def test_merging_others_is_refused():
    with pytest.raises(px.StructureError, match=r"F1.merge expects another F1 of the same arguments"):
        M.F1(classes=3).merge(M.F1(classes=4))
    with pytest.raises(px.StructureError, match=r"Metrics.merge expects members a, got b"):
        M.Metrics(a=M.Accuracy()).merge(M.Metrics(b=M.Accuracy()))


BAD = {
    "target": (M.ConfusionMatrix(3), ZEROS, jnp.array([0, 3, 0])),
    "scores": (M.Accuracy(), jnp.zeros((3, 4)).at[1, 1].set(jnp.nan), ZEROS),
    "probability": (M.Precision(), jnp.array([0.5, 2.0, 0.1]), ZEROS),
    "binned": (M.ROCAUC(bins=4), jnp.array([0.5, 2.0, 0.1]), jnp.array([0, 1, 1])),
    "kept": (M.ROCAUC(capacity=4), jnp.array([0.5, 2.0, 0.1]), jnp.array([0, 1, 1])),
    "perplexity": (M.Perplexity(), jnp.full((3, 4), 0.25).at[1].set(-1.0), ZEROS),
    "calibration": (M.CalibrationError(4), jnp.array([0.5, 2.0, 0.1]), ZEROS),
    "ranks": (M.SpearmanCorrelation(capacity=4), HALF.at[1].set(jnp.nan), HALF + jnp.arange(3)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_refused_in_a_trace_is_nan_unless_its_weight_is_0(name):
    metric, p, t = BAD[name]
    bad, good = px.copy(metric), px.copy(metric)

    @px.jit
    def step(metric, p, t, w):
        metric.update(p, t, w)
        return metric.compute()

    assert np.isnan(step(bad, p, t, jnp.array([True, True, True]))).all()
    step(good, p, t, jnp.array([True, False, True]))
    used = [px.state_dict(good)[path] for path in px.state_dict(good)]
    assert all(np.isfinite(np.asarray(x, "float32")).all() for x in used)


def test_matthews_and_kappa_of_one_class_that_is_nearly_all():
    """99.9999 % of a class: differences of sums would cancel; integers say what it is."""
    tp, fp, fn, tn = 10_000_000, 6, 3, 4
    counts = jnp.array([[tn, fp], [fn, tp]], jnp.int32)
    matthews, kappa = M.MatthewsCorrelation(2), M.CohenKappa(2)
    for metric in (matthews, kappa):
        metric.counts = jnp.stack([counts.astype("float32"), jnp.zeros((2, 2))])
    exact = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert_close(matthews.compute(), exact)
    n = tp + fp + fn + tn
    expected = ((tn + fp) * (fp + tp) + (fn + tp) * (tn + fn)) / n
    assert_close(kappa.compute(), 1 - (fp + fn) / expected, scale=10)  # 1 − a ratio loses a digit


def test_variance_far_from_zero_does_not_cancel():
    """Batches of numbers near 1e4 with a deviation of 1: sums of squares around zero would keep nothing of it."""
    rng = np.random.default_rng(5)
    y = (1e4 + rng.normal(size=(40, 16))).astype("float32")
    p = (y + rng.normal(scale=0.5, size=y.shape)).astype("float32")
    r2, pearson = M.R2Score(), M.PearsonCorrelation()
    for a, b in zip(p, y, strict=True):
        r2.update(jnp.asarray(a), jnp.asarray(b))
        pearson.update(jnp.asarray(a), jnp.asarray(b))
    flat_y, flat_p = y.astype("float64").ravel(), p.astype("float64").ravel()
    assert_close(r2.compute(), sk.r2_score(flat_y, flat_p), scale=3)  # 1e4 in float32 is coarse itself
    assert_close(pearson.compute(), np.corrcoef(flat_p, flat_y)[0, 1], scale=3)


def test_calibration_is_read_from_scikit_learns_curve():
    rng = np.random.default_rng(6)
    p, t = (rng.integers(0, 17, 200) / 16).astype("float32"), rng.integers(0, 2, 200)  # every other on an edge
    right, told = curves.calibration_curve(t, p, n_bins=8)
    count = np.bincount(np.searchsorted(np.arange(1, 8) / 8, p))
    metric = M.CalibrationError(8)
    metric.update(jnp.asarray(p), jnp.asarray(t))
    assert_close(metric.compute(), np.average(np.abs(right - told), weights=count))


def test_of_equal_scores_the_first_class_is_the_larger():
    top = M.TopKAccuracy(2)
    top.update(jnp.zeros((3, 3)), jnp.arange(3))
    assert_close(top.compute(), 2 / 3)


def test_a_metric_in_a_model_is_saved_with_it_and_keeps_float32():
    class Model(px.Module):
        def __init__(self):
            self.dense, self.right = px.Dense(2, 3), M.Accuracy()

    model = Model()
    model.right.update(ZEROS, jnp.array([0, 0, 1]))
    half = px.bf16(model)
    assert half.right.count.dtype == jnp.float32
    assert "right.correct" in px.state_dict(model)
    assert_close(half.right.compute(), 2 / 3)
    assert set(px.split(model)[0]) == {"dense.weight", "dense.bias"}
    assert repr(M.F1(classes=3)).startswith("F1(classes=3)")
