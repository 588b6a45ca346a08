"""The nearest row that is answered otherwise, beside SciPy's distances."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import phlox as px
from phlox.interpret import nearest_counterfactual

rng = np.random.default_rng(1)
X = rng.normal(size=(60, 5)) * [1, 10, 0.1, 3, 7]
CLASSES = rng.integers(0, 3, 60)


@pytest.mark.parametrize(("norm", "metric"), [(1, "cityblock"), (2, "euclidean")])
def test_it_is_the_nearest_of_another_class_in_standard_deviations(norm, metric):
    apart = cdist(X / X.std(0), X / X.std(0), metric)
    for row in range(0, 60, 7):
        found = nearest_counterfactual(X, CLASSES, row, norm=norm)
        others = np.where(CLASSES[row] != CLASSES, apart[row], np.inf)
        assert found.nearest == others.argmin()
        np.testing.assert_allclose(found.distance, others.min(), rtol=1e-12)
        assert found.changes == {j: (X[row, j], X[found.nearest, j]) for j in range(5)}


def test_texts_are_apart_by_how_often_two_rows_are_alike():
    columns = {"kind": np.array(["a", "a", "b", "a"]), "size": np.array([0.0, 1.0, 0.0, 4.0])}
    size = np.std(columns["size"])
    found = nearest_counterfactual(columns, [0, 0, 1, 1], 0)
    assert found.nearest == 2  # (3/4)² + (1/4)² = 0.625, less than 4 / size
    np.testing.assert_allclose(found.distance, 0.625)
    assert found.changes == {"kind": ("a", "b")}
    near = nearest_counterfactual(columns, [0, 1, 0, 0], 0)
    np.testing.assert_allclose(near.distance, 1 / size)


def test_a_missing_number_is_a_deviation_away_and_a_constant_says_nothing():
    x = np.array([[0.0, 5.0], [np.nan, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    found = nearest_counterfactual(x, [0, 1, 1, 0], 0)
    assert (found.nearest, found.distance) == (1, 1.0)
    assert nearest_counterfactual(x, [0, 1, 1, 0], 3).distance == 0.0


def test_numbers_are_other_answers_where_they_are_far_enough():
    x, answers = np.arange(6.0)[:, None], np.array([0.0, 0.1, 0.4, 0.5, 2.0, 9.0])
    assert [nearest_counterfactual(x, answers, 0, at_least=a).nearest for a in (0.3, 0.5, 1)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, CLASSES[:9], 0), "expects predictions (60,), got int64[9]"),
        ((X, CLASSES, 60), "expects a row from 0 to 59, got 60"),
        ((X, np.zeros(60), 0), "expects a row that is answered otherwise, got none"),
    ],
)
def test_mistakes_are_told(arguments, message):
    with pytest.raises(px.PhloxError) as caught:
        nearest_counterfactual(*arguments)
    assert message in str(caught.value)
    with pytest.raises(px.PhloxError, match="expects norm 1 or 2, got 3"):
        nearest_counterfactual(X, CLASSES, 0, norm=3)
