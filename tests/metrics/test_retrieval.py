"""Rankings against their definitions, rank by rank, and scikit-learn; queries from lists; perplexity of losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import metrics as M

sk = oracle("sklearn.metrics")
RNG = np.random.default_rng(0)
QUERIES, DOCUMENTS = 9, 7
SCORES = RNG.permutation(QUERIES * DOCUMENTS).reshape(QUERIES, DOCUMENTS) / 10  # no ties
TIED = np.round(SCORES)
GRADES = RNG.integers(0, 4, (QUERIES, DOCUMENTS)) * (RNG.uniform(size=(QUERIES, DOCUMENTS)) < 0.6)
GRADES[2] = 0  # a query without relevant documents
THERE = RNG.uniform(size=(QUERIES, DOCUMENTS)) < 0.8
THERE[4] = False  # a query that is padding
THERE[5] = np.arange(DOCUMENTS) < 2


def dcg(grades, k, gain):
    return sum((2.0**g - 1 if gain == "exponential" else g) / np.log2(i + 2) for i, g in enumerate(grades[:k]))


def by_definition(name, scores, grades, k, gain="linear"):
    """The number of one query, by hand; of equal scores the less relevant stands first."""
    ranked = [g for _, g in sorted(zip(-scores, grades, strict=True))]
    top, total = [g > 0 for g in ranked[:k]], sum(g > 0 for g in ranked)
    if name == "NDCG":
        best = dcg(sorted(ranked, reverse=True), k, gain)
        return dcg(ranked, k, gain) / best if best else 0
    if name == "Precision":
        return sum(top) / (k or len(ranked))
    if name == "Recall":
        return sum(top) / max(total, 1)
    if name == "HitRate":
        return float(any(top))
    if name == "MRR":
        return next((1 / (i + 1) for i, right in enumerate(top) if right), 0)
    precisions = [sum(top[: i + 1]) / (i + 1) for i, right in enumerate(top) if right]
    return sum(precisions) / max(min(total, k or total), 1)


def expected(name, scores, there, k, empty, **options):
    """The mean over queries that are there, and have something relevant where others are skipped."""
    kept = [(s[t], g[t]) for s, g, t in zip(scores, GRADES, there, strict=True) if t.any()]
    kept = [(s, g) for s, g in kept if empty == "zero" or (g > 0).any()]
    return np.mean([by_definition(name, s, g, k, **options) for s, g in kept])


@pytest.mark.parametrize("name", ["Precision", "Recall", "HitRate", "MRR", "MAP", "NDCG"])
def test_rankings_are_their_definitions(name):
    with jax.enable_x64(True):
        cases = [(None, "zero", SCORES, THERE), (3, "skip", TIED, THERE), (1, "zero", TIED, THERE | True)]
        cases += [(20, "zero", SCORES, THERE)] if name == "Precision" else []
        for k, empty, scores, there in cases:
            metric = getattr(M, f"Retrieval{name}")(k, empty=empty)
            for rows in (slice(0, 6), slice(3, 9)):  # some queries twice, once of no weight
                weight = there[rows] & (np.arange(9)[rows] >= (0 if rows.start == 0 else 6))[:, None]
                metric.update(np.where(weight, scores[rows], np.nan), np.where(weight, GRADES[rows], -1), weight)
            np.testing.assert_allclose(metric.compute(), expected(name, scores, there, k, empty), rtol=1e-9)


def test_exponential_gains():
    metric = M.RetrievalNDCG(4, gain="exponential")
    metric.update(TIED, GRADES, THERE)
    assert_close(metric.compute(), expected("NDCG", TIED, THERE, 4, "zero", gain="exponential"))


def test_rankings_are_scikit_learns():
    weight = RNG.uniform(0.5, 2, QUERIES)
    relevant = GRADES > 0
    for k in (None, 3):
        metric = M.RetrievalNDCG(k)
        metric.update(SCORES, GRADES, weight)
        assert_close(metric.compute(), sk.ndcg_score(GRADES, SCORES, k=k, sample_weight=weight))
    metric = M.RetrievalMAP(empty="skip")
    metric.update(SCORES, relevant, weight)
    some = relevant.any(-1)
    each = [sk.average_precision_score(t, s) for t, s in zip(relevant[some], SCORES[some], strict=True)]
    assert_close(metric.compute(), np.average(each, weights=weight[some]))
    metric = M.RetrievalMRR()
    single = np.eye(DOCUMENTS, dtype=int)[RNG.integers(0, DOCUMENTS, QUERIES)]
    metric.update(SCORES, single)
    assert_close(metric.compute(), sk.label_ranking_average_precision_score(single, SCORES))


def test_scores_that_tell_nothing_gain_nothing():
    metric = M.RetrievalHitRate(1)
    metric.update(np.full((2, 3), -np.inf), np.array([[1, 0, 0], [0, 0, 1]]))
    assert float(metric.compute()) == 0.0


def test_a_list_becomes_rows():
    query = RNG.integers(0, 4, 30) * 10
    score, grade = RNG.permutation(30) / 3, RNG.integers(0, 3, 30)
    rows = M.by_query(score, grade, query)
    assert [x.dtype for x in rows] == [score.dtype, grade.dtype, np.dtype(bool)]
    metric = M.RetrievalMAP()
    metric.update(*rows)
    each = [by_definition("MAP", score[query == q], grade[query == q], None) for q in np.unique(query)]
    assert_close(metric.compute(), np.mean(each))


def test_perplexity_of_losses():
    metric, losses = M.Perplexity(losses=True), RNG.uniform(0, 3, (4, 5)).astype("float32")
    mask = RNG.uniform(size=(4, 5)) < 0.7
    metric.update(np.where(mask, losses, np.nan), weight=mask)
    metric.update(jnp.array(2.0), weight=jnp.array(10))  # the mean of ten words
    assert_close(metric.compute(), np.exp((losses[mask].sum() + 20) / (mask.sum() + 10)))
    both = M.Metrics(perplexity=M.Perplexity(losses=True), accuracy=M.Accuracy())
    both.update(jnp.zeros(2, int), jnp.zeros(2, int), perplexity=(jnp.array([1.0, 3.0]), None))
    assert_close(both.compute()["perplexity"], np.exp(2.0))


REFUSED = {
    "a target beside losses": (
        lambda: M.Perplexity(losses=True).update(jnp.zeros(3), jnp.zeros(3, int)),
        px.ShapeError,
        r"Perplexity.update expects losses alone, got a second argument\n  fix: pass weights by name",
    ),
    "no target": (
        lambda: M.Perplexity().update(jnp.zeros(3)),
        px.ShapeError,
        r"a prediction and a target, got no target\n  fix: .* losses=True",
    ),
    "logits and losses": (lambda: M.Perplexity(logits=True, losses=True), px.RangeError, r"logits or losses, got both"),
    "one number": (
        lambda: M.RetrievalMAP().update(jnp.array(1.0), jnp.array(1)),
        px.ShapeError,
        r"RetrievalMAP.update expects scores of \(..., documents\), one or more, got float32\[\]",
    ),
    "NaN": (
        lambda: M.RetrievalMRR().update(jnp.array([[jnp.nan, 1.0]]), jnp.array([[1, 0]])),
        px.RangeError,
        r"scores that are numbers, got float32\[1, 2\] with nan",
    ),
    "negative grades": (
        lambda: M.RetrievalNDCG().update(jnp.zeros((1, 2)), jnp.array([[1, -1]])),
        px.RangeError,
        r"relevances of at least 0, got int32\[1, 2\] with -1\n  fix: give 0 for what is not relevant",
    ),
    "k": (lambda: M.RetrievalRecall(0), px.RangeError, r"RetrievalRecall expects k to be a whole number of at least 1"),
    "what is empty": (lambda: M.RetrievalMAP(empty="error"), px.RangeError, r"empty to be one of 'zero', 'skip'"),
    "lists of other lengths": (
        lambda: M.by_query([1.0], [1, 0], [0, 0]),
        px.ShapeError,
        r"by_query expects three lists of one length, not empty, got float64\[1\], int64\[2\] and int64\[2\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    run, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        run()


def test_traced_nonsense_makes_nan():
    metric = M.RetrievalNDCG()
    px.jit(lambda metric, p, t: metric.update(p, t))(metric, jnp.zeros((1, 2)), jnp.array([[1, -1]]))
    assert np.isnan(metric.compute())
