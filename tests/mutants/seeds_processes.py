"""Faults of several processes: rows, what is compared, ends, files, signals, cores, and who is missing."""

_TOGETHER = "tests/parallel/test_together.py::"
_ROLL = "tests/parallel/test_roll_call.py::"
_SEAT = "tests/parallel/test_seat.py::"
_LAUNCH = "tests/cli/test_launch.py::"
_ROOM = "parallel/processes/"

MUTANTS = [
    (
        "processes: every process gives the rows of the first",
        "data/loading/_order.py",
        "np.arange(edges[part], edges[part + 1]) for part in share.parts",
        "np.arange(edges[part], edges[part + 1]) for part in range(len(share.parts))",
        (_TOGETHER + "test_numbers_are_those_of_one_device",),
    ),
    (
        "processes: the last batch counts what fills it up",
        "data/loading/_order.py",
        "return index[own], mask if share.whole_masks else mask[own]",
        "return index[own], np.ones_like(mask) if share.whole_masks else mask[own]",
        (_TOGETHER + "test_numbers_are_those_of_one_device",),
    ),
    (
        "processes: weights are not compared",
        _ROOM + "_agreement.py",
        "return {path: checksum(v) for path, v in paths(model).items() if",
        "return {path: checksum(v) for path, v in () if",
        (_TOGETHER + "test_what_differs_is_told_to_all_before_the_first_step",),
    ),
    (
        "processes: the compiled step is not compared",
        "loop/_together.py",
        'text = {"program": checksum(_without_addresses(program()))}',
        'text = {"program": checksum(_without_addresses(program())[:100])}',
        (_TOGETHER + "test_what_differs_is_told_to_all_before_the_first_step",),
    ),
    (
        "processes: a stop is where this process stands",
        _ROOM + "_ending.py",
        "self.last = max(int(b) for b in bounds if b is not None) + 1",
        "self.last = bound + 1 + group.process",
        (_TOGETHER + "test_ctrl_c_in_one_ends_all_behind_one_step",),
    ),
    (
        "processes: all write the files",
        "loop/_together.py",
        "return [c for c in callbacks if self.first or c.order < LOOKING_ON or",
        "return [c for c in callbacks if self.first or c.order <= 50 or",
        (_TOGETHER + "test_files_are_written_once_and_a_run_goes_on_from_them",),
    ),
    (
        "processes: a failure is told to nobody",
        _ROOM + "_ending.py",
        'self.group.tell_all(f"{self.name}/failed", json.dumps([self.group.process, told]))',
        'self.group.tell(f"{self.name}/failed/{self.group.process}", json.dumps([self.group.process, told]))',
        (_TOGETHER + "test_where_one_fails_the_others_say_why",),
    ),
    (
        "processes: a number that comes twice is counted once",
        _ROOM + "_roll_call.py",
        "if number in there or number == 0:",
        "if number == 0:",
        (_ROLL + "test_two_of_one_number_end_all",),
    ),
    (
        "processes: who is missing is counted from 0",
        _ROOM + "_roll_call.py",
        "absent = [n for n in range(1, seat.processes) if n not in there]",
        "absent = [n for n in range(seat.processes - 1) if n not in there]",
        (_ROLL + "test_who_is_missing_is_known_to_all",),
    ),
    (
        "processes: the cluster counts before the environment",
        _ROOM + "_seat.py",
        "coordinator = coordinator or ask(timeout_secs=seconds, override_coordinator_port=port)",
        "coordinator = ask(timeout_secs=seconds, override_coordinator_port=port)",
        (_SEAT + "test_slurm_as_srun_sets_it",),
    ),
    (
        "processes: Ctrl-C goes to the first alone",
        "cli/_launch.py",
        "        for worker in self.workers:\n            worker.send(number)\n",
        "        for worker in self.workers[:1]:\n            worker.send(number)\n",
        (_LAUNCH + "test_signals_are_handed_on",),
    ),
    (
        "processes: the launcher ends well where a process did not",
        "cli/_launch.py",
        "return self.failed.status or 1",
        "return 0",
        (_LAUNCH + "test_where_one_ends_badly_all_end_with_its_status_and_its_last_lines",),
    ),
]
