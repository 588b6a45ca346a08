"""Faults of what happens where a process dies, hangs, is slow, brings NaN, or is told to end."""

_FAILURES = "tests/parallel/test_failures.py::"
_PULSE = "tests/parallel/test_pulse.py::"
_SIGNS = "tests/parallel/test_signs.py::"
_RESTARTS = "tests/cli/test_restarts.py::"
_REQUEUE = "tests/parallel/test_requeue.py::"
_ROOM = "parallel/processes/"

MUTANTS = [
    (
        "failures: those that wait are taken to hang",
        _ROOM + "_judging.py",
        "if place == min(training.values())]",
        "if place == max(training.values())]",
        (_PULSE + "test_those_furthest_behind_hang_and_not_those_that_wait_for_them",),
    ),
    (
        "failures: a hang is one of any, though others behind go on",
        _ROOM + "_judging.py",
        "all(told[n].idle >= seconds for n in behind)",
        "any(told[n].idle >= seconds for n in behind)",
        (_PULSE + "test_those_furthest_behind_hang_and_not_those_that_wait_for_them",),
    ),
    (
        "failures: slow is measured by the mean",
        _ROOM + "_judging.py",
        "max(median_low(own.values()), 1e-6)",
        "max(sum(own.values()) / len(own), 1e-6)",
        (_PULSE + "test_a_slow_one_is_so_many_times_the_median",),
    ),
    (
        "failures: slow is who costs the others nothing",
        _ROOM + "_judging.py",
        "seconds > TIMES * middle and seconds - middle > SHARE * whole",
        "seconds > TIMES * middle",
        (_PULSE + "test_nobody_is_slow_who_costs_the_others_little_or_of_whom_too_little_is_known",),
    ),
    (
        "failures: what a process waits for is its own",
        _ROOM + "_pulse.py",
        "self._own.append(now - self._behind - self._waited)",
        "self._own.append(now - self._behind)",
        (_PULSE + "test_what_it_waits_for_the_device_is_not_its_own",),
    ),
    (
        "failures: the compilation counts as a step",
        _ROOM + "_pulse.py",
        "and self._behind is not None and not self._compiling:",
        "and self._behind is not None:",
        (_PULSE + "test_times_are_those_of_a_whole_window_without_the_first_step",),
    ),
    (
        "failures: time runs from the beginning of the training",
        _ROOM + "_pulse.py",
        "self._doing, self._since, self._marks = doing, self.clock(), self._marks + 1",
        "self._doing, self._since, self._marks = doing, self._since, self._marks + 1",
        (_PULSE + "test_places_are_counted_and_named_and_time_runs_since_the_last",),
    ),
    (
        "failures: an old sign is as good as a new one",
        _ROOM + "_signs.py",
        "if n not in self._seen or self._seen[n][0] != count:",
        "if n not in self._seen or self._seen[n][0] <= count:",
        (_SIGNS + "test_one_that_gives_no_sign_is_named_to_all_with_where_it_stood",),
    ),
    (
        "failures: one that left is lost",
        _ROOM + "_signs.py",
        "                self._seen.pop(n, None)\n",
        "",
        (_SIGNS + "test_one_that_left_by_itself_is_not_lost",),
    ),
    (
        "failures: process 0 is never missed",
        _ROOM + "_signs.py",
        "if silent <= self.group.heartbeat or self._over.is_set():",
        "if silent <= 1e9 * self.group.heartbeat or self._over.is_set():",
        (_SIGNS + "test_process_0_is_missed_by_the_others_own_clocks",),
    ),
    (
        "failures: a slow one is told again and again",
        _ROOM + "_signs.py",
        "            if n not in group.slow\n",
        "",
        (_SIGNS + "test_a_slow_one_is_kept_once_in_words",),
    ),
    (
        "failures: who lost another one ends as by an error of its own",
        _ROOM + "_group.py",
        "os._exit(STATUS if self.lost else 1)",
        "os._exit(1)",
        (_SIGNS + "test_what_is_lost_is_the_error_of_this_process_and_its_status",),
    ),
    (
        "failures: an error that comes again is started again",
        "cli/_restarts.py",
        "if end.by_error and end == self._last:",
        "if end.by_error and end is self._last:",
        (_RESTARTS + "test_an_error_that_comes_again_at_its_step_ends_it",),
    ),
    (
        "failures: two kills at one step are the last",
        "cli/_restarts.py",
        "return self.status < _SIGNALS and self.status != _ELSEWHERE",
        "return self.status != _ELSEWHERE",
        (_RESTARTS + "test_kills_losses_and_notices_may_come_wherever_they_like",),
    ),
    (
        "failures: the pause grows though starts get further",
        "cli/_restarts.py",
        "_FIRST if got_further or self._last is None else",
        "_FIRST if self._last is None else",
        (_RESTARTS + "test_the_pause_grows_until_a_start_gets_further",),
    ),
    (
        "failures: steps of an earlier start are those of the next",
        "cli/_launch.py",
        "        left.unlink()\n",
        "        pass\n",
        (_RESTARTS + "test_a_step_of_an_earlier_start_is_not_one_of_the_next",),
    ),
    (
        "failures: what was told to end is started again",
        "cli/_launch.py",
        "if not status or not restarts or signals.came:",
        "if not status or not restarts:",
        (_RESTARTS + "test_what_was_told_to_end_is_not_started_again",),
    ),
    (
        "failures: any end is put into Slurm's queue",
        _ROOM + "_requeue.py",
        "not isinstance(error, SystemExit) or error.code not in NOTICES or not job",
        "not isinstance(error, SystemExit) or not job",
        (_REQUEUE + "test_other_ends_are_ends",),
    ),
    (
        "failures: SIGUSR1 is ended with SIGTERM's status",
        "loop/_interruption.py",
        "            return SystemExit(128 + self.number)\n",
        "            return SystemExit(128 + signal.SIGTERM)\n",
        (_REQUEUE + "test_a_training_saves_is_queued_again_and_ends_with_the_notice_s_status",),
    ),
    (
        "failures: NaN is that of process 0",
        "loop/_whose.py",
        'who = f"process {together.group.process} (',
        'who = f"process {0} (',
        (_FAILURES + "test_the_process_is_named_whose_rows_are_not_finite",),
    ),
    (
        "failures: of those with NaN the last is named",
        "loop/_whose.py",
        "_error(where, found[min(found)])",
        "_error(where, found[max(found)])",
        (_FAILURES + "test_of_several_the_first_is_named_and_all_are_told",),
    ),
    (
        "failures: each process queues the job",
        "loop/_together.py",
        "if ended and self.first:",
        "if ended:",
        (_FAILURES + "test_a_notice_to_one_has_all_save_and_end_and_slurm_queue_the_job",),
    ),
    (
        "failures: gradients of weights are not looked at",
        "loop/_train.py",
        "                _check_gradients(grads)\n",
        "",
        ("tests/loop/test_callbacks_fit.py::test_a_gradient_that_is_not_finite_by_an_infinite_input_is_named",),
    ),
    (
        "failures: a small step leaves digits of a large one behind it",
        _ROOM + "_reached.py",
        'f"{step:{_WIDTH}d}".encode()',
        'f"{step}".encode()',
        (_RESTARTS + "test_the_furthest_step_outlives_its_process",),
    ),
]
