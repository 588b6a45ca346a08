"""Partial dependence and ICE, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence as theirs

import phlox as px
from phlox.interpret import partial_dependence

rng = np.random.default_rng(0)
X = rng.normal(size=(37, 4)).astype(np.float32)
MODEL = px.Chain(px.Dense(4, 8, px.tanh, key=0), px.Dropout(0.5, key=2), px.Dense(8, 3, key=1))


class Twin(RegressorMixin, BaseEstimator):
    """One class of the network, as scikit-learn asks a model; Dropout does nothing in inference."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, x, y):
        self.fitted_ = True
        return self

    def predict(self, x):
        (w0, b0), (w1, b1) = ((np.asarray(MODEL[i].weight), np.asarray(MODEL[i].bias)) for i in (0, 2))
        return (np.tanh(x @ w0 + b0) @ w1 + b1)[:, self.column]


def test_curves_and_their_mean_are_those_of_scikit_learn():
    grid = np.linspace(-1, 2, 7)
    found = partial_dependence(MODEL, X, 2, grid=grid, target=1, batch_size=64)  # the last batch is a short one
    wanted = theirs(
        Twin(1).fit(X, X[:, 0]), X.astype(np.float64), [2], kind="both", custom_values={2: grid}, method="brute"
    )
    np.testing.assert_allclose(found.curves, wanted["individual"][0], atol=2e-6)
    np.testing.assert_allclose(found.mean, wanted["average"][0], atol=2e-6)
    np.testing.assert_allclose(found.centred, wanted["individual"][0] - wanted["individual"][0][:, :1], atol=4e-6)


def test_the_grid_is_the_values_where_they_are_few_and_else_between_two_percentiles():
    x = np.stack([np.array([3, 1, 1, 2] * 5), np.arange(20)], 1).astype(np.float32)
    double = lambda x: 2 * x[:, 1]  # noqa: E731
    assert partial_dependence(double, x, 0).grid.tolist() == [1, 2, 3]
    wide = partial_dependence(double, x, 1, points=4).grid
    np.testing.assert_allclose(wide, np.linspace(0.95, 18.05, 4), rtol=1e-6)  # 5% and 95% of 0 … 19


def test_dicts_and_frames_are_moved_by_name_and_stay_as_they_are():
    pandas = pytest.importorskip("pandas")
    columns = {"age": np.array([20, 30, 40]), "city": np.array(["Rome", "Oslo", "Rome"])}
    model = lambda c: np.asarray(c["age"]) * np.where(np.asarray(c["city"]) == "Oslo", 10.0, 1.0)  # noqa: E731
    for data in (columns, pandas.DataFrame(columns)):
        found = partial_dependence(model, data, "city")
        assert found.grid.tolist() == ["Oslo", "Rome"]
        assert found.curves.tolist() == [[200, 20], [300, 30], [400, 40]]
        assert list(data["city"]) == ["Rome", "Oslo", "Rome"]
        assert partial_dependence(model, data, "age", grid=[0.5]).curves.tolist() == [[0.5], [5.0], [0.5]]


def test_a_target_is_a_class_or_a_function_of_one_rows_answer():
    grid = [0.0, 1.0]
    by_class = partial_dependence(MODEL, X, 0, grid=grid, target=2).curves
    by_function = partial_dependence(MODEL, X, 0, grid=grid, target=lambda answer: answer[2] - answer[0]).curves
    np.testing.assert_allclose(
        by_function, by_class - partial_dependence(MODEL, X, 0, grid=grid, target=0).curves, atol=1e-6
    )


@pytest.mark.parametrize(
    ("feature", "options", "message"),
    [
        (4, {"target": 0}, "expects a feature below 4, got 4"),
        ("age", {"target": 0}, "expects a feature below 4, got 'age'"),
        (0, {"target": 3}, "expects a class of float32[74, 3], got 3"),
        (0, {}, "expects one number for each row, got float32[74, 3]"),
        (0, {"target": 0, "grid": None, "points": 1}, "expects at least 2 points, got 1"),
        (0, {"target": 0, "grid": [[1]]}, "expects a grid (points,), got shape (1, 1)"),
    ],
)
def test_mistakes_are_told(feature, options, message):
    with pytest.raises(px.PhloxError, match=r"px\.interpret\.partial_dependence") as caught:
        partial_dependence(MODEL, X, feature, **{"grid": [0.0, 1.0], **options})
    assert message in str(caught.value)
