"""Correlation and explained variance do not depend on the unit that data is in, against NumPy in float64."""

import numpy as np
import pytest

import phlox as px
from kit import oracle

RNG = np.random.default_rng(0)
X = RNG.normal(size=64)
Y = X + RNG.normal(size=64)


@pytest.mark.parametrize("batches", [1, 5, 64])
@pytest.mark.parametrize("scale", [1e-20, 1e-30, 1.0, 1e20, 1e30])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_a_unit_changes_neither(scale, offset, batches):
    x, y = (((v + offset) * scale).astype("float32") for v in (X, Y))
    metrics = px.metrics.PearsonCorrelation(), px.metrics.R2Score()
    for a, b in zip(np.array_split(x, batches), np.array_split(y, batches), strict=True):
        for metric in metrics:
            metric.update(a, b)
    wide_x, wide_y = x.astype("float64") / scale, y.astype("float64") / scale
    score = oracle("sklearn.metrics").r2_score(wide_y, wide_x)
    np.testing.assert_allclose(float(metrics[0].compute()), np.corrcoef(wide_x, wide_y)[0, 1], rtol=2e-6)
    np.testing.assert_allclose(float(metrics[1].compute()), score, rtol=2e-6)


def test_units_that_differ_between_batches():
    x = np.concatenate([X * 1e-20, X]).astype("float32")
    y = np.concatenate([Y * 1e-10, Y]).astype("float32")
    for order in (slice(None), slice(None, None, -1)):
        metrics = px.metrics.PearsonCorrelation(), px.metrics.R2Score()
        for a, b in zip(np.split(x[order], 2), np.split(y[order], 2), strict=True):
            for metric in metrics:
                metric.update(a, b)
        wide_x, wide_y = x.astype("float64"), y.astype("float64")
        score = oracle("sklearn.metrics").r2_score(wide_y, wide_x)
        np.testing.assert_allclose(float(metrics[0].compute()), np.corrcoef(wide_x, wide_y)[0, 1], rtol=2e-6)
        np.testing.assert_allclose(float(metrics[1].compute()), score, rtol=2e-6)


@pytest.mark.parametrize("noise", [1e-3, 1.0, 1e3])
def test_errors_of_another_size_than_the_target(noise):
    x, y = ((Y + noise * X) * 1e-20).astype("float32"), (Y * 1e-20).astype("float32")
    metric = px.metrics.R2Score()
    for a, b in zip(np.array_split(x, 5), np.array_split(y, 5), strict=True):
        metric.update(a, b)
    wide_x, wide_y = x.astype("float64") * 1e20, y.astype("float64") * 1e20
    np.testing.assert_allclose(float(metric.compute()), oracle("sklearn.metrics").r2_score(wide_y, wide_x), rtol=2e-6)
