"""Drift: false alarms at the stated level, planted drifts found, statistics beside SciPy's."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import spatial, stats

import phlox as px
from phlox.data.validate._comparing import chi_square, compared, kolmogorov_smirnov
from phlox.data.validate._drift import corrected

validate = px.data.validate
WORDS = np.array(["a", "bb", "ccc", "dddd", "rare", "rarer"], object)
SHARES = [0.4, 0.3, 0.2, 0.08, 0.015, 0.005]


def draw(rng, rows, shift=0.0, spread=1.0, shares=SHARES, gone=0.1):
    """A table of all kinds of columns."""
    size = rng.normal(shift, spread, rows)
    return {
        "size": size,
        "gappy": np.where(rng.random(rows) < gone, np.nan, rng.exponential(1.0, rows)),
        "word": rng.choice(WORDS, rows, p=shares),
        "digit": rng.integers(0, 5, rows),
        "count": rng.poisson(30, rows),
    }


def alarms(draws, rows, correction):
    """In how many draws without a drift something is called one, and for each column how often its p is below 5 %."""
    whole, each = 0, np.zeros(5)
    rng = np.random.default_rng(0)
    for _ in range(draws):
        found = validate.drift(draw(rng, rows), draw(rng, rows), correction=correction)
        whole += bool(found)
        each += [one.chance <= 0.05 for one in found.columns]
    return whole, each


def most(draws, level=0.05):
    """So many alarms come by chance once in a thousand times where the level is kept."""
    return stats.binom.isf(1e-3, draws, level)


@pytest.mark.soak
def test_false_alarms_over_a_thousand_draws_are_at_the_stated_level():
    whole, _ = alarms(1000, 150, "holm")
    assert whole <= most(1000)
    assert whole >= 10  # and yet it is no test that never speaks
    _, each = alarms(1000, 150, "none")
    assert (each <= most(1000)).all(), each
    assert each[0] >= stats.binom.ppf(1e-3, 1000, 0.03), each  # a continuous column nearly exhausts its level


def test_false_alarms_over_fewer_draws_are_at_the_stated_level():
    whole, _ = alarms(100, 120, "holm")
    assert whole <= most(100)


def test_false_alarms_of_each_test_over_a_thousand_draws():
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=(1000, 2, 40))
    by_ks = np.mean([kolmogorov_smirnov(*pair)[1] <= 0.05 for pair in numbers])
    counts = rng.multinomial(150, SHARES, (1000, 2))
    by_chi = np.mean([chi_square(pair)[1] <= 0.05 for pair in counts])
    assert 0.02 <= by_ks <= most(1000) / 1000
    assert 0.02 <= by_chi <= most(1000) / 1000


PLANTED = {  # what is changed, and the column in which it must be found
    "a mean by a third of its spread": ({"shift": 0.33}, "size"),
    "a spread by half": ({"spread": 1.5}, "size"),
    "a share of words": ({"shares": [0.28, 0.42, 0.2, 0.08, 0.015, 0.005]}, "word"),
    "a share of what is missing": ({"gone": 0.2}, "gappy"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_drifts_are_found_and_nothing_else(name):
    change, column = PLANTED[name]
    rng = np.random.default_rng(3)
    found = [validate.drift(draw(rng, 500), draw(rng, 500, **change)).drifted for _ in range(20)]
    assert sum(column in one for one in found) >= 17  # a power of 85 % at least
    assert sum(len(set(one) - {column}) for one in found) <= 4


def test_tests_and_measures_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=300), rng.normal(0.2, 1.2, size=250)
    one = compared(x, y)
    theirs = stats.ks_2samp(x, y, method="asymp")
    np.testing.assert_allclose([one.statistic, one.chance], [theirs.statistic, theirs.pvalue], rtol=1e-12)
    assert (one.test, one.kind, len(one.bins)) == ("Kolmogorov–Smirnov", "number", 10)
    np.testing.assert_allclose(one.shares[0], 0.1, atol=0.01)
    edges = np.quantile(x, np.linspace(0, 1, 11)[1:-1], method="inverted_cdf")
    p, q = (np.histogram(v, [-np.inf, *np.nextafter(edges, np.inf), np.inf])[0] / len(v) for v in (x, y))
    np.testing.assert_allclose(one.psi, np.sum((q - p) * np.log(q / p)), rtol=1e-12)
    np.testing.assert_allclose(one.js, spatial.distance.jensenshannon(p, q, base=2), rtol=1e-12)
    few = compared(x[:30], y[:20])
    assert few.chance == pytest.approx(stats.ks_2samp(x[:30], y[:20], method="exact").pvalue, rel=1e-12)
    u, v = rng.choice(WORDS[:3], 200), rng.choice(WORDS[:3], 300, p=[0.5, 0.2, 0.3])
    two = compared(u, v)
    table = pd.crosstab(np.r_[np.zeros(200), np.ones(300)], np.r_[u, v].astype(str)).to_numpy()
    theirs = stats.chi2_contingency(table, correction=False)
    np.testing.assert_allclose([two.statistic, two.chance], [theirs.statistic, theirs.pvalue], rtol=1e-12)
    assert (two.test, two.bins) == ("χ²", ("a", "bb", "ccc"))


def test_rare_classes_are_taken_together_and_two_small_ones_tested_exactly():
    counts = np.array([[60, 30, 4, 3, 1], [50, 40, 3, 2, 5]])
    pooled = np.array([[60, 30, 8], [50, 40, 10]])
    theirs = stats.chi2_contingency(pooled, correction=False)
    np.testing.assert_allclose(chi_square(counts), [theirs.statistic, theirs.pvalue], rtol=1e-12)
    small = np.array(
        [[60, 40, 1], [50, 50, 0]]
    )  # the rare class alone is too small: it goes to the smaller of the others
    theirs = stats.chi2_contingency(np.array([[60, 41], [50, 50]]), correction=False)
    np.testing.assert_allclose(chi_square(small), [theirs.statistic, theirs.pvalue], rtol=1e-12)
    tiny = np.array([[3, 0], [0, 4]])
    assert chi_square(tiny)[1] == pytest.approx(stats.fisher_exact(tiny).pvalue)
    assert chi_square(np.array([[5], [9]])) == (0.0, 1.0)
    assert chi_square(np.array([[5, 0], [0, 0]])) == (0.0, 1.0)


def test_mmd_is_the_mean_over_pairs_and_keeps_its_level():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)), rng.normal(0.5, 1, size=(7, 3))
    rows = np.concatenate([x, y])
    width = np.median([((a - b) ** 2).sum() for a, b in itertools.combinations(rows, 2)])

    def mean(pairs):
        return np.mean([np.exp(-((a - b) ** 2).sum() / width / 2) for a, b in pairs])

    within = mean(itertools.permutations(x, 2)) + mean(itertools.permutations(y, 2))
    expected = within - 2 * mean(itertools.product(x, y))
    statistic, chance = validate.mmd(x, y, permutations=99)
    assert statistic == pytest.approx(expected, rel=1e-9)
    assert 0.01 <= chance <= 1
    chances = [validate.mmd(rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), permutations=39)[1] for _ in range(300)]
    for level in (0.05, 0.25, 0.5):
        assert (
            stats.binom.isf(0.999, 300, level)
            <= np.sum(np.array(chances) <= level)
            <= stats.binom.isf(1e-3, 300, level)
        )
    same = np.ones((5, 2))
    assert validate.mmd(same, same) == (0.0, 1.0)


def test_corrections_are_those_of_their_authors():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.8])
    np.testing.assert_allclose(corrected(p, "holm"), [0.04, 0.09, 0.09, 0.025, 0.8])  # 5·0.005, 4·0.01, 3·0.03, …
    np.testing.assert_allclose(corrected(p, "benjamini-hochberg"), stats.false_discovery_control(p))
    np.testing.assert_array_equal(corrected(p, "none"), p)


def test_what_a_column_is_decides_its_test():
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, 200), unit="D")
    before = pd.DataFrame({
        "day": days, "flag": rng.random(200) < 0.5, "rank": rng.integers(0, 6, 200), "id": np.arange(200),
        "text": [f"text {'x' * int(n)} {i}" for i, n in enumerate(rng.integers(1, 40, 200))], "none": [None] * 200,
    })  # fmt: skip
    after = before.assign(day=days + pd.Timedelta(days=90), text=before.text + " and a good deal more of it")
    found = validate.drift(before, after)
    tests = {"day": "K", "flag": "χ", "rank": "χ", "id": "K", "text": "K", "none": "χ"}
    assert {one.column: one.test[0] for one in found.columns} == tests
    assert found.drifted == ("day", "text")
    assert found["day"].bins[0].startswith("up to 2024-")
    assert (found["none"].chance, found["none"].psi) == (1.0, 0.0)
    filled = validate.drift(before.assign(id=np.nan), before.assign(id=before.id * 1.5))
    assert filled.drifted == ("id",)
    assert (filled["id"].test, filled["id"].js) == ("χ² of missing", 1.0)
    gone = validate.drift(before, before.assign(flag=None))
    assert gone.drifted == ("flag",)
    assert (gone["flag"].test, gone["flag"].bins[-1], gone["flag"].shares[1][-1]) == ("χ² of missing", "missing", 1.0)


def test_columns_of_one_set_alone_have_drifted():
    found = validate.drift({"a": [1, 2, 3], "b": [1, 2, 3]}, {"a": [1, 2, 3], "c": [1, 2, 3]})
    assert {one.column: one.note for one in found.columns} == {"a": "", "b": "gone", "c": "new"}
    assert found.drifted == ("b", "c")
    assert str(found).splitlines()[0] == "2 of 3 columns drifted, 3 and 3 rows, p by Holm"


def test_a_small_difference_of_many_rows_can_be_let_pass():
    rng = np.random.default_rng(0)
    before, after = {"x": rng.normal(size=40_000)}, {"x": rng.normal(0.04, 1, 40_000)}
    assert validate.drift(before, after).drifted == ("x",)
    assert validate.drift(before, after, psi=0.1).drifted == ()
    assert validate.drift(before, {"x": rng.normal(0.5, 1, 40_000)}, psi=0.1).drifted == ("x",)
    assert validate.drift(before, after, most=500).rows == (500, 500)


def test_embeddings_are_compared_by_mmd_beside_the_columns():
    rng = np.random.default_rng(0)
    stripes = np.indices((8, 8))[0] % 2
    before = rng.permuted(np.tile(stripes, (60, 1, 1)).reshape(60, -1), axis=1).reshape(60, 8, 8, 1) * 1.0
    after = np.tile(stripes[..., None] * 1.0, (60, 1, 1, 1))  # means and spreads are the same, the pictures are not
    assert not validate.drift({"image": before}, {"image": after})

    def embed(data):
        return data["image"].reshape(len(data["image"]), 4, 16).mean(-1) + data["image"][:, :, 0, 0][:, :4]

    found = validate.drift({"image": before}, {"image": after}, embed=embed)
    assert found.drifted == ("embedding",)
    assert found["embedding"].test == "MMD"


def test_what_means_nothing_is_refused():
    data = {"a": [1, 2]}
    with pytest.raises(px.RangeError, match="level between 0 and 1, got 5"):
        validate.drift(data, data, level=5)
    with pytest.raises(px.RangeError, match="correction among holm, benjamini-hochberg, none, got 'bonferroni'"):
        validate.drift(data, data, correction="bonferroni")
    with pytest.raises(px.StructureError, match="a column among 'a', got 'b'"):
        validate.drift(data, data)["b"]
    with pytest.raises(px.ShapeError, match="two histograms"):
        validate.psi([1, 2], [1, 2, 3])
    with pytest.raises(px.RangeError, match="counts of 0 or more"):
        validate.jensen_shannon([0, 0], [1, 2])
    with pytest.raises(px.ShapeError, match=r"\(rows, 2\)"):
        validate.mmd(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(px.RangeError, match="finite numbers"):
        validate.mmd(np.full((3, 2), np.nan), np.zeros((3, 2)))
