"""Faults of what happens where a process dies, hangs, is slow, brings NaN, or is told to end."""

_FAILURES = "tests/parallel/test_failures.py::"
_PULSE = "tests/parallel/test_pulse.py"
_SIGNS = "tests/parallel/test_signs.py"
_RESTARTS = "tests/cli/test_restarts.py"
_REQUEUE = "tests/parallel/test_requeue.py"
_ROOM = "parallel/processes/"

MUTANTS = [
    (
        "failures: those that wait are taken to hang",
        _ROOM + "_judging.py",
        "if place == min(training.values())]",
        "if place == max(training.values())]",
        (_PULSE,),
    ),
    (
        "failures: a hang is one of any, though others behind go on",
        _ROOM + "_judging.py",
        "all(told[n].idle >= seconds for n in behind)",
        "any(told[n].idle >= seconds for n in behind)",
        (_PULSE,),
    ),
    (
        "failures: slow is measured by the mean",
        _ROOM + "_judging.py",
        "max(median_low(own.values()), 1e-6)",
        "max(sum(own.values()) / len(own), 1e-6)",
        (_PULSE,),
    ),
    (
        "failures: slow is who costs the others nothing",
        _ROOM + "_judging.py",
        "seconds > TIMES * middle and seconds - middle > SHARE * whole",
        "seconds > TIMES * middle",
        (_PULSE,),
    ),
    (
        "failures: what a process waits for is its own",
        _ROOM + "_pulse.py",
        "self._own.append(now - self._behind - self._waited)",
        "self._own.append(now - self._behind)",
        (_PULSE,),
    ),
    (
        "failures: the compilation counts as a step",
        _ROOM + "_pulse.py",
        "and self._behind is not None and not self._compiling:",
        "and self._behind is not None:",
        (_PULSE,),
    ),
    (
        "failures: time runs from the beginning of the training",
        _ROOM + "_pulse.py",
        "self._doing, self._since, self._marks = doing, self.clock(), self._marks + 1",
        "self._doing, self._since, self._marks = doing, self._since, self._marks + 1",
        (_PULSE,),
    ),
    (
        "failures: an old sign is as good as a new one",
        _ROOM + "_signs.py",
        "if n not in self._seen or self._seen[n][0] != count:",
        "if n not in self._seen or self._seen[n][0] <= count:",
        (_SIGNS,),
    ),
    (
        "failures: one that left is lost",
        _ROOM + "_signs.py",
        "                self._seen.pop(n, None)\n",
        "",
        (_SIGNS,),
    ),
    (
        "failures: process 0 is never missed",
        _ROOM + "_signs.py",
        "if silent <= self.group.heartbeat or self._over.is_set():",
        "if silent <= 1e9 * self.group.heartbeat or self._over.is_set():",
        (_SIGNS,),
    ),
    (
        "failures: a slow one is told again and again",
        _ROOM + "_signs.py",
        "            if n not in group.slow\n",
        "",
        (_SIGNS,),
    ),
    (
        "failures: who lost another one ends as by an error of its own",
        _ROOM + "_group.py",
        "os._exit(STATUS if self.lost else 1)",
        "os._exit(1)",
        (_SIGNS,),
    ),
    (
        "failures: an error that comes again is started again",
        "cli/_restarts.py",
        "if end.by_error and end == self._last:",
        "if end.by_error and end is self._last:",
        (_RESTARTS,),
    ),
    (
        "failures: two kills at one step are the last",
        "cli/_restarts.py",
        "return self.status < _SIGNALS and self.status != _ELSEWHERE",
        "return self.status != _ELSEWHERE",
        (_RESTARTS,),
    ),
    (
        "failures: the pause grows though starts get further",
        "cli/_restarts.py",
        "_FIRST if got_further or self._last is None else",
        "_FIRST if self._last is None else",
        (_RESTARTS,),
    ),
    (
        "failures: steps of an earlier start are those of the next",
        "cli/_launch.py",
        "        left.unlink()\n",
        "        pass\n",
        (_RESTARTS,),
    ),
    (
        "failures: what was told to end is started again",
        "cli/_launch.py",
        "if not status or not restarts or signals.came:",
        "if not status or not restarts:",
        (_RESTARTS,),
    ),
    (
        "failures: any end is put into Slurm's queue",
        _ROOM + "_requeue.py",
        "not isinstance(error, SystemExit) or error.code not in NOTICES or not job",
        "not isinstance(error, SystemExit) or not job",
        (_REQUEUE,),
    ),
    (
        "failures: SIGUSR1 is ended with SIGTERM's status",
        "loop/_interruption.py",
        "            return SystemExit(128 + self.number)\n",
        "            return SystemExit(128 + signal.SIGTERM)\n",
        (_REQUEUE,),
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
        (_RESTARTS,),
    ),
]
