"""Faults of tracking and search: fingerprints, records, services that are gone, pages, trials."""

_DATA = "tests/data/test_fingerprint.py::"
_RECORD = "tests/loop/test_tracking_record.py::"
_DELIVERY = "tests/loop/test_tracking_delivery.py::"
_PAGES = "tests/loop/test_tracking_pages.py::"
_SEARCH = "tests/search/test_search.py::"
_HERE = "loop/tracking/"

MUTANTS = [
    (
        "fingerprint: each block begins anew",
        "data/_fingerprint.py",
        "found.setdefault(name, hashlib.sha256()).update(",
        "found.__setitem__(name, hashlib.sha256()) or found[name].update(",
        (_DATA + "test_blocks_do_not_show",),
    ),
    (
        "fingerprint: the dtype does not count",
        "data/_fingerprint.py",
        "whole = hashlib.sha256(content.encode())",
        "whole = hashlib.sha256()",
        (_DATA + "test_the_digest_is_sha256_of_names_and_numbers",),
    ),
    (
        "fingerprint: the last row is not among those that are taken",
        "data/_fingerprint.py",
        "np.linspace(0, count - 1, taken)",
        "np.linspace(0, count - 1, taken, endpoint=False)",
        (_DATA + "test_large_data_is_sampled_and_says_so",),
    ),
    (
        "run record: a resumed run begins anew",
        _HERE + "_record.py",
        'if before is not None and before.get("id") == self.id:',
        "if False:",
        (_RECORD + "test_a_resumed_run_goes_on_in_its_record_and_a_new_one_sets_it_aside",),
    ),
    (
        "run record: Ctrl-C is a failure",
        _HERE + "_record.py",
        "if self._begun and not isinstance(error, KeyboardInterrupt):",
        "if self._begun:",
        (_RECORD + "test_how_a_run_ended",),
    ),
    (
        "log.jsonl: half a line stays where the disk is full",
        "loop/logs/_files.py",
        "                os.truncate(self._file, length)\n",
        "",
        (_RECORD + "test_a_full_disk_stops_no_training_and_what_is_missing_is_written_later",),
    ),
    (
        "log.jsonl: what could not be written is forgotten",
        "loop/logs/_files.py",
        "        self._patience.tries(self._write)\n",
        "        self._patience.tries(self._write) or self._waiting.clear()\n",
        (_RECORD + "test_a_full_disk_stops_no_training_and_what_is_missing_is_written_later",),
    ),
    (
        "history.csv: rows of a full disk are not written again",
        "loop/logs/_files.py",
        "columns if self._patience.tries(lambda: self._replace(rows, columns)) else None",
        "columns if self._patience.tries(lambda: self._replace(rows, columns)) else columns",
        (_RECORD + "test_a_full_disk_stops_no_training_and_what_is_missing_is_written_later",),
    ),
    (
        "delivery: what failed once is dropped",
        _HERE + "_delivery.py",
        "                self._failed(error)\n",
        "                self._failed(error)\n                self._waiting.clear()\n",
        (_DELIVERY + "test_a_service_that_is_gone_for_a_while_is_told_of_once_and_gets_all",),
    ),
    (
        "delivery: every failure is told",
        _HERE + "_delivery.py",
        "                self.told = True\n                short",
        "                short",
        (_DELIVERY + "test_a_service_that_is_gone_for_a_while_is_told_of_once_and_gets_all",),
    ),
    (
        "delivery: a refused entry takes its neighbours with it",
        _HERE + "_delivery.py",
        "            if len(batch) > 1:",
        "            if len(batch) > 99:",
        (_DELIVERY + "test_what_is_refused_is_left_out_and_told_and_the_rest_goes_on",),
    ),
    (
        "services: what was not sent stays behind when the run is resumed",
        _HERE + "_service.py",
        "            for entry in self._taken_up(run):\n                self._delivery.add(entry)\n",
        "",
        (_DELIVERY + "test_a_resumed_run_sends_what_is_left_of_its_first_part",),
    ),
    (
        "catching up: the file goes before its entries have",
        _HERE + "_catching_up.py",
        "        head, entries = kept(file)\n",
        "        head, entries = kept(file)\n        file.unlink()\n",
        (_DELIVERY + "test_what_a_service_does_not_get_is_kept_and_sent_afterwards",),
    ),
    (
        "worst examples: the best ones are kept",
        _HERE + "_worst.py",
        "elif entry > worst[0]:",
        "elif entry < worst[0]:",
        (_PAGES + "test_the_worst_examples_are_those_with_the_largest_losses",),
    ),
    (
        "worst examples: padding is looked at",
        _HERE + "_worst.py",
        "np.ones(len(losses), bool) if read.mask is None else np.asarray(read.mask)",
        "np.ones(len(losses), bool)",
        (_PAGES + "test_a_loss_that_is_no_number_is_the_worst_and_padding_is_not_looked_at",),
    ),
    (
        "chart: gaps are drawn over",
        _HERE + "pages/_chart.py",
        "        pen_down = place is not None\n",
        "        pen_down = pen_down or place is not None\n",
        (_PAGES + "test_a_curve_goes_through_its_numbers_and_breaks_where_there_are_none",),
    ),
    (
        "matrix: shares are those of columns",
        _HERE + "pages/_parts.py",
        "np.abs(counts).sum(1, keepdims=True)",
        "np.abs(counts).sum(0, keepdims=True).T",
        (_PAGES + "test_a_matrix_is_coloured_by_the_share_of_its_row",),
    ),
    (
        "compare: what is the same counts as a difference",
        _HERE + "pages/_compare.py",
        "any(value != row[0] for value in row[1:])",
        "any(value is not None for value in row[1:])",
        (_PAGES + "test_two_runs_beside_each_other",),
    ),
    (
        "search: a pruned trial trains on",
        "search/_trial.py",
        "            run.stop(f",
        "            str(f",
        (_SEARCH + "test_a_trial_reports_every_validation_and_ends_where_it_is_told_to",),
    ),
    (
        "search: a history counts by its worst number",
        "search/_trial.py",
        '(min if mode == "min" else max)(column)',
        '(max if mode == "min" else min)(column)',
        (_SEARCH + "test_what_an_objective_returns",),
    ),
    (
        "search: True is the number 1",
        "search/_space.py",
        "return self.options[kept.index((type(told), told))]",
        "return self.options[self.labels.index(told)]",
        (_SEARCH + "test_options_are_kept_by_name_and_come_back_as_they_are",),
    ),
    (
        "study: the best is the largest, whichever way is better",
        "search/_study.py",
        '(1 if self.mode == "min" else -1)',
        "(-1)",
        (_SEARCH + "test_a_study_knows_its_best_and_prints_as_a_table",),
    ),
    (
        "tune: a trial that is done again counts twice",
        "search/_storage.py",
        "found[trial.user_attrs.get(AGAIN, plain)] = trial",
        "found[trial.number] = trial",
        ("tests/areas/tracking/test_tune.py::test_a_killed_search_goes_on_as_if_it_had_not_been_killed",),
    ),
    (
        "tune: trials after a kill draw by other seeds",
        "search/_tune.py",
        "number = asked.user_attrs.get(AGAIN, ordinal(self.study, asked.number))",
        "number = asked.number",
        ("tests/areas/tracking/test_tune.py::test_a_killed_search_goes_on_as_if_it_had_not_been_killed",),
    ),
]
