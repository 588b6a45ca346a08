"""Faults of data validation: statistics over chunks, rules of schemas, drift, wrong labels, leakage, requests."""

_STATISTICS = "tests/data/test_validate_statistics.py::"
_SCHEMA = "tests/data/test_validate_schema.py::"
_DRIFT = "tests/data/test_validate_drift.py::"
_LABELS = "tests/data/test_validate_labels.py::"
_SERVED = "tests/serving/test_schema.py::"
_FIT = "tests/loop/test_fit_schema.py::"
_HERE = "data/validate/"

MUTANTS = [
    (
        "validate: chunks' means are not brought together in the variance",
        _HERE + "_running.py",
        " + off**2 * self.count * len(numbers) / whole",
        "",
        (_STATISTICS + "test_a_pass_in_parts_is_one_over_the_whole",),
    ),
    (
        "validate: a standard deviation over n",
        _HERE + "_running.py",
        "self._squares / (self.count - 1)",
        "self._squares / self.count",
        (_STATISTICS + "test_statistics_are_those_of_pandas",),
    ),
    (
        "validate: the sample keeps the rows that came first",
        _HERE + "_running.py",
        "np.sort(np.argpartition(self._drawn, self._most)[: self._most])",
        "np.arange(self._most)",
        (_STATISTICS + "test_each_row_is_as_likely_in_the_sample_as_any",),
    ),
    (
        "validate: an estimate of distinct values forgets how many halves were given up",
        _HERE + "_running.py",
        "return len(self.hashes) << self._level",
        "return len(self.hashes)",
        (_STATISTICS + "test_distinct_values_beyond_the_limit_are_estimated_in_bounded_memory",),
    ),
    (
        "validate: rows are told apart by the summaries of their images alone",
        _HERE + "_statistics.py",
        "chunk.contents):",
        "[]):",
        (_STATISTICS + "test_arrays_have_columns_of_features_and_images_of_summaries",),
    ),
    (
        "validate: times of a zone are taken as they are written",
        _HERE + "_arrays.py",
        'series.dt.tz_convert("UTC").dt',
        "series.dt",
        (_STATISTICS + "test_values_that_are_alike_count_as_one_and_others_do_not",),
    ),
    (
        "validate: rows of a later chunk are counted from its beginning",
        _HERE + "_checking.py",
        "before + first, rule",
        "first, rule",
        (_SCHEMA + "test_rows_are_counted_over_chunks",),
    ),
    (
        "validate: a range forgets its upper end",
        _HERE + "_rules.py",
        "((told < least) | (told > most))",
        "(told < least)",
        (_SCHEMA + "test_each_rule_that_is_broken_is_told_with_column_and_row[range]",),
    ),
    (
        "validate: a share is broken by as many rows as it allows",
        _HERE + "_checking.py",
        "bdtrc(count - 1, rows, share)",
        "bdtrc(count, rows, share)",
        (_SCHEMA + "test_a_share_is_against_the_schema_only_where_chance_does_not_explain_it",),
    ),
    (
        "validate: halves are whole numbers",
        _HERE + "_rules.py",
        "numbers == np.round(numbers)",
        "2 * numbers == np.round(2 * numbers)",
        (_SCHEMA + "test_whole_numbers_may_come_as_floats_and_truths_as_numbers",),
    ),
    (
        "validate: a range is wider on one side only",
        _HERE + "_inferring.py",
        "found.low - wider, found.high + wider",
        "found.low, found.high + wider",
        (_SCHEMA + "test_ranges_do_not_go_beyond_zero_where_nothing_did",),
    ),
    (
        "validate: p is not corrected for the number of columns",
        _HERE + "_drift.py",
        "np.arange(len(chances), 0, -1)",
        "np.ones(len(chances))",
        (_DRIFT + "test_corrections_are_those_of_their_authors",),
    ),
    (
        "validate: Holm's steps may go down again",
        _HERE + "_drift.py",
        "np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))",
        "chances[order] * np.arange(len(chances), 0, -1)",
        (_DRIFT + "test_corrections_are_those_of_their_authors",),
    ),
    (
        "validate: PSI is a relative entropy",
        _HERE + "_measures.py",
        "((q - p) * np.log(q / p))",
        "(q * np.log(q / p))",
        (_DRIFT + "test_tests_and_measures_are_those_of_scipy",),
    ),
    (
        "validate: MMD counts a row with itself",
        _HERE + "_measures.py",
        "np.fill_diagonal(kernel, 0.0)",
        "np.fill_diagonal(kernel, 1.0)",
        (_DRIFT + "test_mmd_is_the_mean_over_pairs_and_keeps_its_level",),
    ),
    (
        "validate: missing values do not drift",
        _HERE + "_comparing.py",
        "if gone_by_chance < chance:",
        "if gone_by_chance < 0:",
        (_DRIFT + "test_planted_drifts_are_found_and_nothing_else[a share of what is missing]",),
    ),
    (
        "validate: rare classes are not taken together",
        _HERE + "_comparing.py",
        "counts.sum(0).min() * share < _LEAST_EXPECTED",
        "counts.sum(0).min() * share < 0",
        (_DRIFT + "test_rare_classes_are_taken_together_and_two_small_ones_tested_exactly",),
    ),
    (
        "validate: a class counts from the mean probability over all examples",
        _HERE + "_labels.py",
        "p[y == j, j].mean() if",
        "p[:, j].mean() if",
        (_LABELS + "test_it_is_the_papers_rule_by_hand",),
    ),
    (
        "validate: near rows are not centred",
        _HERE + "_leakage.py",
        "mean = x.mean(0)",
        "mean = 0 * x.mean(0)",
        (_LABELS + "test_images_are_compared_by_their_content_and_near_ones_by_their_angle",),
    ),
    (
        "validate: a page shows names as HTML",
        _HERE + "_html.py",
        "self.text if self.markup else html.escape(self.text)",
        "self.text",
        (_LABELS + "test_a_page_holds_what_was_found_and_nothing_from_outside",),
    ),
    (
        "validate: a request's columns have each other's ranges",
        _HERE + "_guard.py",
        "order = [places.index(i) for i in range(len(columns))]",
        "order = [places.index(i) for i in reversed(range(len(columns)))]",
        (_SERVED + "test_the_quick_look_and_the_close_one_agree",),
    ),
    (
        "validate: infinite numbers of requests pass where the range is open",
        _HERE + "_guard.py",
        " and bool(np.isfinite(x).all())",
        "",
        (_SERVED + "test_the_quick_look_and_the_close_one_agree",),
    ),
    (
        "validate: fit looks at the training data alone",
        "loop/_validating.py",
        "if given is not None:",
        'if name == "train_data":',
        (_FIT + "test_data_in_any_form_is_refused_with_column_and_row[arrays]",),
    ),
]
