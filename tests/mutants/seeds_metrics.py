"""Seeded bugs in metrics and data: name, file, original, replaced, the tests that must catch it."""

_METRIC = "tests/metrics/test_contract.py::test_metric"
_WHOLE = "tests/metrics/test_contract.py::test_merging_and_places_of_an_axis_give_the_whole"
_RANKING = "tests/metrics/test_ranking.py::"
_REFUSALS = "tests/metrics/test_refusals.py::"
_SPLITS = "tests/data/test_splits.py::"
_DATA = "tests/data/test_observations.py::"

MUTANTS = [
    (
        "precision divides by what is, not by what was told",
        "metrics/_precision.py",
        "return tp, predicted",
        "return tp, actual",
        (_METRIC + "[precision, macro]",),
    ),
    (
        "F-beta weighs precision by beta squared",
        "metrics/_precision.py",
        "square * actual + predicted",
        "actual + square * predicted",
        (_METRIC + "[f2 per class]",),
    ),
    (
        "macro averages count classes that never occur",
        "metrics/_precision.py",
        "(predicted + actual > 0).astype(score.dtype)",
        "jnp.ones_like(score)",
        (_METRIC + "[f1, macro]",),
    ),
    (
        "a threshold of logits is that of probabilities",
        "metrics/_reading.py",
        "(float(np.log(threshold) - np.log1p(-threshold)) if logits else threshold)",
        "threshold",
        (_METRIC + "[yes or no by logits]",),
    ),
    (
        "a pair drops what the sum rounds away",
        "metrics/_sums.py",
        "jnp.where(finite, rest, 0)",
        "0 * rest",
        ("tests/metrics/test_contract.py::test_counts_go_on_beyond_what_float32_counts_to",),
    ),
    (
        "the confusion matrix is transposed",
        "metrics/_confusion.py",
        "t.astype(jnp.int32) * self.classes + told",
        "told * self.classes + t.astype(jnp.int32)",
        (_METRIC + "[confusion]",),
    ),
    (
        "the union counts the intersection twice",
        "metrics/_confusion.py",
        "union = jnp.sum(counts, axis=0) + _without(counts).diagonal()",
        "union = jnp.sum(counts, axis=0) + jnp.sum(counts, axis=1)",
        (_METRIC + "[mean IoU]",),
    ),
    (
        "tied scores are points of their own",
        "metrics/_ranking.py",
        "differs = (scores[1:] != scores[:-1]) | ~used[1:]",
        "differs = jnp.ones_like(used[1:])",
        (_METRIC + "[ROC area]",),
    ),
    (
        "the area by the lower sum",
        "metrics/_ranking.py",
        "(tpr[1:] + tpr[:-1]) / 2",
        "tpr[:-1]",
        (_METRIC + "[ROC area in bins]",),
    ),
    (
        "rows of no weight are kept",
        "metrics/_store.py",
        'keep = b["weight"] != 0',
        'keep = b["weight"] >= 0',
        (_RANKING + "test_an_overfull_metric_refuses_line_by_line_and_is_nan_compiled",),
    ),
    (
        "pooled variances forget that means differ",
        "metrics/_correlation.py",
        "pooled[name] = _sums.plus(_added(a, b, name, pooled, left, right), between)",
        "pooled[name] = _sums.plus(_added(a, b, name, pooled, left, right), 0 * between)",
        (_METRIC + "[R2]",),
    ),
    (
        "tied ranks share the lowest",
        "metrics/_correlation.py",
        "(below + to + 1) / 2",
        "(below + below + 2) / 2",
        (_METRIC + "[Spearman]",),
    ),
    (
        "places of an axis count the first one only",
        "metrics/_metric.py",
        "jax.tree.map(lambda x: x[i], every)",
        "jax.tree.map(lambda x: x[0], every)",
        (_WHOLE + "[accuracy]",),
    ),
    (
        "padding counts in a mean",
        "metrics/_mean.py",
        '_sums.exact(jnp.sum(counted * weight)), "count": _sums.exact(jnp.sum(weight))',
        '_sums.exact(jnp.sum(counted * weight)), "count": _sums.exact(jnp.sum(weight >= 0))',
        (_METRIC + "[MSE]",),
    ),
    (
        "bins of confidence are closed on the left",
        "metrics/_calibration.py",
        'jnp.searchsorted(edges, p, side="left")',
        'jnp.searchsorted(edges, p, side="right")',
        (_REFUSALS + "test_calibration_is_read_from_scikit_learns_curve",),
    ),
    (
        "an overfull metric goes on",
        "metrics/_ranking.py",
        'jnp.where(statistics["seen"] > self.capacity, jnp.nan, 0)',
        'jnp.where(statistics["seen"] > self.capacity, 0.0, 0)',
        (_RANKING + "test_an_overfull_metric_refuses_line_by_line_and_is_nan_compiled",),
    ),
    (
        "groups are cut where their observations are",
        "data/_splits.py",
        'parts = _grouped(one_label_each(groups, count, "groups", "splitobs"), cuts, seed)',
        'parts = np.split(order(count, seed, "splitobs"), cuts)',
        (_SPLITS + "test_no_group_is_on_both_sides",),
    ),
    (
        "strata by the smallest remainders",
        "data/_splits.py",
        'np.argsort(-(share - take), kind="stable")',
        'np.argsort(share - take, kind="stable")',
        (_SPLITS + "test_stratified_parts_have_the_shares_of_the_whole",),
    ),
    (
        "the gap of a time series is not left out",
        "data/_folds.py",
        "slice(max(0, s - gap - longest), s - gap)",
        "slice(max(0, s - gap - longest), s)",
        (_SPLITS + "test_folds_in_order_are_scikit_learns",),
    ),
    (
        "a constant feature is divided by nothing",
        "data/_scaling.py",
        "np.where(deviation <= 10 * eps * np.abs(middle), 1.0, deviation)",
        "np.where(deviation <= 10 * eps * np.abs(middle), deviation, deviation)",
        (_DATA + "test_axes_parts_and_dtypes_of_scaling",),
    ),
    (
        "sequences are padded in front",
        "data/_batches.py",
        "row[: len(array)] = array",
        "row[len(row) - len(array) :] = array",
        (_DATA + "test_padding_is_pytorchs",),
    ),
]
