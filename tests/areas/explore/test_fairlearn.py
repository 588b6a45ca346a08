"""Measures of fairness, beside fairlearn's."""

import fairlearn.metrics as theirs
import numpy as np
import pytest

from phlox.interpret import fairness

rng = np.random.default_rng(0)
SCORES, TARGET = rng.uniform(size=400), rng.integers(0, 2, 400)
SLICES, WEIGHT = np.array(["f", "m", "x"])[rng.integers(0, 3, 400)], rng.uniform(size=400)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["rows", "weighted"])
@pytest.mark.parametrize("limit", [0.2, 0.5, 0.9])
def test_measures_are_those_of_fairlearn(limit, weight):
    found = fairness(SCORES, TARGET, SLICES, thresholds=limit, weight=weight)
    given = {"sensitive_features": SLICES, "sample_weight": weight}
    for name in (
        "demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference",
        "equalized_odds_ratio", "equal_opportunity_difference", "equal_opportunity_ratio",
    ):  # fmt: skip
        wanted = getattr(theirs, name)(TARGET, limit <= SCORES, **given)
        np.testing.assert_allclose(found.measures()[name], wanted, rtol=1e-12, err_msg=name)
