"""Calibration against scikit-learn and SciPy, and the equations that a greatest likelihood fulfils."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import probability as P

oracle("sklearn")
calibration, isotonic, frozen = oracle("sklearn.calibration"), oracle("sklearn.isotonic"), oracle("sklearn.frozen")
base, special, optimize = oracle("sklearn.base"), oracle("scipy.special"), oracle("scipy.optimize")

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 3, 200)
LOGITS = 3 * (np.eye(3)[CLASSES] + RNG.normal(size=(200, 3)))
SCORES = np.round(RNG.normal(size=150), 1)  # with ties
YES = (RNG.uniform(size=150) < special.expit(2 * SCORES + 1)).astype(int)


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


class Known(base.ClassifierMixin, base.BaseEstimator):
    """A classifier of scikit-learn's whose decisions are its inputs."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x[:, 0] if x.shape[1] == 1 else x

    def predict(self, x):
        return self.classes_[x.argmax(1) if x.shape[1] > 1 else (x[:, 0] > 0).astype(int)]


def calibrated(method, x, y):
    """What scikit-learn gives for its own inputs."""
    known = frozen.FrozenEstimator(Known().fit(x, y))
    return calibration.CalibratedClassifierCV(known, method=method, ensemble=False).fit(x, y).predict_proba(x)


def test_a_temperature_is_that_of_scikit_learn_and_of_the_greatest_likelihood():
    scaling = P.TemperatureScaling().fit(LOGITS, CLASSES)

    def loss(log_t):
        return -special.log_softmax(LOGITS / np.exp(log_t), -1)[np.arange(200), CLASSES].mean()

    wanted = np.exp(optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x)
    np.testing.assert_allclose(scaling.temperature, wanted, rtol=1e-6)
    np.testing.assert_allclose(scaling(LOGITS), calibrated("temperature", LOGITS, CLASSES), rtol=1e-5)
    p = np.asarray(scaling(LOGITS))
    np.testing.assert_allclose((p * LOGITS).sum(-1).mean(), LOGITS[np.arange(200), CLASSES].mean(), rtol=1e-12)


def test_a_line_is_that_of_scikit_learn_and_solves_its_equations():
    platt = P.PlattScaling().fit(SCORES, YES)
    np.testing.assert_allclose(platt(SCORES), calibrated("sigmoid", SCORES[:, None], YES)[:, 1], rtol=1e-4)
    many, few = YES.sum(), 150 - YES.sum()
    off = np.asarray(platt(SCORES)) - np.where(YES == 1, (many + 1) / (many + 2), 1 / (few + 2))
    np.testing.assert_allclose([off.sum(), (off * SCORES).sum()], 0, atol=1e-9)
    far = P.PlattScaling().fit(1e6 + 1e3 * SCORES, YES)
    np.testing.assert_allclose(far(1e6 + 1e3 * SCORES), platt(SCORES), rtol=1e-6)


def test_a_rising_function_is_that_of_scikit_learn_between_its_corners_and_outside():
    at = np.linspace(-4, 4, 301)
    wanted = isotonic.IsotonicRegression(out_of_bounds="clip").fit(SCORES, YES)
    found = P.IsotonicCalibration().fit(SCORES, YES)
    np.testing.assert_allclose(found(at), wanted.predict(at), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.scores, wanted.X_thresholds_, rtol=1e-12)
    assert found.probabilities.shape[0] < len(np.unique(SCORES)), "there are steps"


def test_what_was_found_is_no_parameter_is_saved_and_runs_compiled(tmp_path):
    x = jnp.asarray(LOGITS[:4])
    for layer, given in (
        (P.TemperatureScaling().fit(LOGITS, CLASSES), x),
        (P.PlattScaling().fit(SCORES, YES), x),
        (P.IsotonicCalibration().fit(SCORES, YES), x),
        (P.ConformalDetector().calibrate(SCORES), x),
    ):
        params, state = px.split(layer)
        assert not params
        assert state
        px.save(layer, tmp_path / "layer.phlox")
        again = px.load(tmp_path / "layer.phlox")
        compiled = px.jit(lambda layer, x: layer(x))(again, given)
        np.testing.assert_allclose(*(np.asarray(v, float) for v in (compiled, layer(given))), rtol=1e-12)


def test_a_reliability_diagram_shows_what_scikit_learn_counts(tmp_path):
    said = special.expit(SCORES)
    found = P.reliability(said, YES, bins=10)
    came, mean = calibration.calibration_curve(YES, said, n_bins=10)
    some = found.count > 0
    np.testing.assert_allclose(found.frequency[some], came, rtol=1e-6)
    np.testing.assert_allclose(found.confidence[some], mean, rtol=1e-6)
    np.testing.assert_allclose(found.error, (found.count[some] / 150 * np.abs(came - mean)).sum(), rtol=1e-6)
    figure = found.plot(path=tmp_path / "diagram.png")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, found.frequency[some])
    assert (tmp_path / "diagram.png").stat().st_size > 1000
    of_classes = P.reliability(LOGITS, CLASSES, classes=True, logits=True)
    right = LOGITS.argmax(-1) == CLASSES
    np.testing.assert_allclose(np.nansum(of_classes.frequency * of_classes.count), right.sum())


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: P.TemperatureScaling()(LOGITS), px.StateError, r"a temperature, which fit\(logits, target\) finds"),
        (lambda: P.TemperatureScaling().fit(9 * np.eye(3)[CLASSES], CLASSES), px.RangeError, "got none that is wrong"),
        (lambda: P.TemperatureScaling().fit(-LOGITS, CLASSES), px.RangeError, "logits that are larger for the right"),
        (lambda: P.PlattScaling().fit(SCORES, np.ones(150)), px.RangeError, "targets of both kinds.*got 150 of yes"),
        (lambda: P.PlattScaling().fit(np.ones(150), YES), px.RangeError, "1 different scores"),
        (lambda: P.PlattScaling().fit(SCORES, YES + 1), px.RangeError, "targets of 0 and 1, got .* with 2"),
        (lambda: P.IsotonicCalibration().fit(SCORES[:0], YES[:0]), px.RangeError, "expects examples, got none"),
        (lambda: P.IsotonicCalibration().fit(SCORES, YES[:, None]), px.ShapeError, "of one shape"),
        (lambda: jax.jit(lambda s: P.PlattScaling().fit(s, YES).slope)(SCORES), px.StateError, "values that are known"),
    ],
)
def test_what_cannot_be_found_is_told(call, error, told):
    with pytest.raises(error, match=told):
        call()
