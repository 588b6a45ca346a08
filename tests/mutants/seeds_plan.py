"""Faults of plans: what is counted, divided, sent, timed and paid."""

_TESTS = "tests/parallel/test_planning.py::"
_CLI = "tests/cli/test_plan.py::"
_ROOM = "parallel/planning/"

MUTANTS = [
    (
        "plan: the optimiser's state is not spread",
        "loop/_planned.py",
        "placement.place(model, opt, *others.values())",
        "placement.place(model)",
        (_TESTS + "test_fsdp_holds_a_part_of_all_that_is_large",),
    ),
    (
        "plan: the optimiser's state is forgotten before compiling",
        "loop/preflight/_step.py",
        "return sum(map(nbytes, (*self.ahead.leaves, *self.ahead.bare)))",
        "return sum(map(nbytes, self.ahead.leaves)) // 3",
        (_TESTS + "test_devices_are_not_needed_and_nothing_is_made",),
    ),
    (
        "plan: operations are divided by the devices twice",
        _ROOM + "_tries.py",
        "flops=self.operations(policy) / self.topology.count)",
        "flops=self.operations(policy) / self.topology.count**2)",
        (_TESTS + "test_operations_are_those_of_products_and_of_what_stands_between",),
    ),
    (
        "plan: a price is that of all chips",
        _ROOM + "_report.py",
        "return price * topology.chips * seconds",
        "return price * seconds",
        (_TESTS + "test_a_plan_for_gpus_is_an_estimate_with_times_and_costs",),
    ),
    (
        "plan: what a loop sends counts once",
        _ROOM + "_sent.py",
        'rounds = _rounds(line, program) if line.kind == "while" else 1',
        "rounds = 1",
        (_TESTS + "test_fsdp_sends_each_weight_of_each_block_twice",),
    ),
    (
        "plan: a sum goes round the ring once",
        _ROOM + "_sent.py",
        'return (2 if self.kind == "all-reduce" else 1)',
        "return 1",
        (_TESTS + "test_data_parallel_sends_each_gradient_once",),
    ),
    (
        "plan: groups that are turned are read as they stand",
        _ROOM + "_groups.py",
        ".reshape(sizes).transpose(order)",
        ".reshape(sizes)",
        (_TESTS + "test_the_bytes_between_two_groups",),
    ),
    (
        "plan: what was started is counted where it is done too",
        _ROOM + "_sent.py",
        'if line.kind.endswith(("-done", "-update")):',
        'if line.kind.endswith("-update"):',
        (_TESTS + "test_the_bytes_between_two_groups",),
    ),
    (
        "plan: activations are hidden behind the computation",
        _ROOM + "_time.py",
        "if set(one.axes) <= set(batch):",
        "if batch:",
        (_TESTS + "test_times_worked_by_hand",),
    ),
    (
        "plan: all links of a torus serve each axis",
        _ROOM + "_time.py",
        "return chip.links * max(used, 1) / chip.torus / chip.parts",
        "return chip.links / chip.parts",
        (_TESTS + "test_rates",),
    ),
    (
        "plan: what is computed again counts as the model's own",
        _ROOM + "_tries.py",
        "mfu = self.operations(False) /",
        "mfu = self.operations(None) /",
        (_TESTS + "test_utilisation_counts_nothing_twice",),
    ),
    (
        "plan: the first policy is the last",
        _ROOM + "_tries.py",
        "if row.fits or row.reason:",
        "if row.remat is None:",
        (_TESTS + "test_activations_are_computed_again_only_where_they_do_not_fit",),
    ),
    (
        "plan: what fits stands behind what does not",
        _ROOM + "_report.py",
        "return not row.fits, bool(row.reason)",
        "return row.fits, bool(row.reason)",
        (_TESTS + "test_rows_are_ranked",),
    ),
    (
        "plan: two devices of a chip have the memory of two",
        _ROOM + "_topology.py",
        "return self.chip.memory // self.chip.parts or None",
        "return self.chip.memory or None",
        (_TESTS + "test_two_devices_of_a_chip_cost_one_chip",),
    ),
    (
        "plan: the precision is left out",
        "loop/_planned.py",
        "step = Step(Objective(loss, where=WHERE), precision=precision, placement=placement)",
        "step = Step(Objective(loss, where=WHERE), placement=placement)",
        (_TESTS + "test_precision_and_loss_scale_are_those_of_fit",),
    ),
    (
        "plan: the command forgets the memory that it is told",
        "cli/_plan.py",
        "memory=memory, told=_tell",
        "memory=None, told=_tell",
        (_CLI + "test_a_plan_is_printed_and_written",),
    ),
]
