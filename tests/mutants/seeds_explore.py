"""Faults of probing: partial dependence, counterfactuals, rates by slice, thresholds, curves, what a page stands on."""

_DEPENDENCE = "tests/interpret/test_dependence.py::"
_COUNTERFACTUAL = "tests/interpret/test_counterfactual.py::"
_FAIRNESS = "tests/interpret/test_fairness.py::"
_EXPLORING = "tests/interpret/test_exploring.py::"
_BOARD = "tests/loop/test_loggers_tensorboard_curves.py::"
_HERE = "interpret/probing/"
_PAGE = "interpret/exploring/"

MUTANTS = [
    (
        "probing: curves belong to other rows",
        _HERE + "_dependence.py",
        "scores.reshape(len(values), rows).T",
        "scores.reshape(rows, len(values))",
        (_DEPENDENCE + "test_curves_and_their_mean_are_those_of_scikit_learn",),
    ),
    (
        "probing: the answers of the last batch are those of its padding",
        _HERE + "_answers.py",
        "np.minimum(np.arange(size), rows - 1)",
        "np.arange(size) % 2",
        (_DEPENDENCE + "test_curves_and_their_mean_are_those_of_scikit_learn",),
    ),
    (
        "probing: a model trains while it is asked",
        _HERE + "_answers.py",
        "    with training(False):\n",
        "    with training(True):\n",
        (_DEPENDENCE + "test_curves_and_their_mean_are_those_of_scikit_learn",),
    ),
    (
        "probing: the grid goes from end to end",
        _HERE + "_dependence.py",
        "[5, 95])",
        "[0, 100])",
        (_DEPENDENCE + "test_the_grid_is_the_values_where_they_are_few_and_else_between_two_percentiles",),
    ),
    (
        "counterfactual: features are not scaled",
        _HERE + "_counterfactual.py",
        "/ (deviation if deviation > 0 else 1)",
        "/ 1",
        (_COUNTERFACTUAL + "test_it_is_the_nearest_of_another_class_in_standard_deviations",),
    ),
    (
        "counterfactual: distances are not raised to the norm",
        _HERE + "_counterfactual.py",
        "total += _apart(column, row) ** norm",
        "total += _apart(column, row)",
        (_COUNTERFACTUAL + "test_it_is_the_nearest_of_another_class_in_standard_deviations",),
    ),
    (
        "counterfactual: other texts are one apart",
        _HERE + "_counterfactual.py",
        "str(column[row]), 0.0, same)",
        "str(column[row]), 0.0, 1.0)",
        (_COUNTERFACTUAL + "test_texts_are_apart_by_how_often_two_rows_are_alike",),
    ),
    (
        "fairness: a score at the threshold does not count",
        _HERE + "_rates.py",
        "read.scores >= limits",
        "read.scores > limits",
        (_FAIRNESS + "test_a_score_at_the_threshold_counts_and_what_is_not_there_has_no_rate",),
    ),
    (
        "fairness: false positives by all rows",
        _HERE + "_rates.py",
        "_share(self.false_positive, self.false_positive + self.true_negative)",
        "_share(self.false_positive, self.count)",
        (_FAIRNESS + "test_counts_and_rates_are_those_of_scikit_learn",),
    ),
    (
        "fairness: equalized odds look at true positives alone",
        _HERE + "_rates.py",
        "np.max([_difference(self.true_positive_rate), _difference(self.false_positive_rate)])",
        "np.max([_difference(self.true_positive_rate)])",
        (_FAIRNESS + "test_measures_by_hand",),
    ),
    (
        "fairness: weights are left out",
        _HERE + "_rates.py",
        "np.bincount(read.codes, read.weight * which, len(read.names))",
        "np.bincount(read.codes, which, len(read.names))",
        (_FAIRNESS + "test_counts_and_rates_are_those_of_scikit_learn",),
    ),
    (
        "thresholds: costs are exchanged",
        _HERE + "_thresholds.py",
        "costs[0] * no + costs[1] * (yes[-1] - yes)",
        "costs[1] * no + costs[0] * (yes[-1] - yes)",
        (_FAIRNESS + "test_single_and_by_slice_are_the_cheapest_of_all_thresholds",),
    ),
    (
        "thresholds: equal scores are parted",
        _HERE + "_thresholds.py",
        "ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)",
        "ends = np.arange(len(scores))",
        (_FAIRNESS + "test_equal_rates_are_as_near_as_any_thresholds_bring_them_and_no_dearer",),
    ),
    (
        "thresholds: equal rates at the greatest cost",
        _HERE + "_thresholds.py",
        "np.where(spread <= spread.min() + 1e-3, cost, np.inf).argmin()",
        "np.where(spread <= spread.min() + 1e-3, cost, -np.inf).argmax()",
        (_FAIRNESS + "test_equal_rates_are_as_near_as_any_thresholds_bring_them_and_no_dearer",),
    ),
    (
        "curves: scores lose their last digits",
        _HERE + "_curves.py",
        "np.pad(_ranks(scores), (0, fill))",
        "np.pad(scores, (0, fill))",
        (_FAIRNESS + "test_curves_are_those_of_scikit_learn",),
    ),
    (
        "exploring: one logit is of the first class",
        _PAGE + "_subject.py",
        "        return np.stack([1 - yes, yes], 1)\n",
        "        return np.stack([yes, 1 - yes], 1)\n",
        (_EXPLORING + "test_answers_are_read_as_what_they_are",),
    ),
    (
        "exploring: classes are in the order of the data",
        _PAGE + "_probe.py",
        "given = np.unique(target).tolist()",
        "given = list(dict.fromkeys(target.tolist()))",
        (_EXPLORING + "test_classes_have_names_by_the_target_or_as_given",),
    ),
    (
        "exploring: the first of many wishes is done, not the last",
        _PAGE + "_worker.py",
        "before = self._waiting.pop(key, None)",
        "before = self._waiting.pop((key, 0), None)",
        (_EXPLORING + "test_of_jobs_that_wait_the_last_of_each_kind_is_done_and_an_error_is_told",),
    ),
    (
        "exploring: a word that speaks against counts for",
        _PAGE + "_attributing.py",
        "return Parts(tuple(words), scores[0] - scores[1:], ",
        "return Parts(tuple(words), scores[1:] - scores[0], ",
        (_EXPLORING + "test_attributions_of_words_and_pictures",),
    ),
    (
        "exploring: points are painted upside down",
        _PAGE + "_painting.py",
        "(y - bottom) / (top - bottom) * height",
        "(top - y) / (top - bottom) * height",
        (_EXPLORING + "test_points_are_painted_where_they_are",),
    ),
    (
        "TensorBoard: curves take targets for scores",
        "loop/logs/_tensorboard.py",
        "self.writer.add_pr_curve(name, t, p,",
        "self.writer.add_pr_curve(name, p, t,",
        (_BOARD + "test_the_curve_is_scikit_learns_at_each_threshold",),
    ),
]
