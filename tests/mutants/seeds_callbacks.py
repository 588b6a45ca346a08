"""Seeded bugs in callbacks and loggers: name, file, original, replaced, the tests that must catch it."""

_FIT = "tests/loop/test_callbacks_fit.py::"
_STOP = "tests/loop/test_callbacks_stopping.py::"
_MEAN = "tests/loop/test_callbacks_averaging.py::"
_BOARD = "tests/loop/test_loggers_tensorboard.py::"
_FILES = "tests/loop/test_loggers_files.py::"
_FINDER = "tests/loop/test_finder.py::"

MUTANTS = [
    (
        "early stopping waits one epoch longer",
        "loop/callbacks/_early_stopping.py",
        "        self.bad += 1\n        if self.bad >= self.patience:",
        "        self.bad += 1\n        if self.bad > self.patience:",
        (_STOP + "test_early_stopping_by_hand",),
    ),
    (
        "a gain of exactly min_delta counts",
        "loop/callbacks/_monitor.py",
        "return gain > self.min_delta",
        "return gain >= self.min_delta",
        (_STOP + "test_early_stopping_by_hand",),
    ),
    (
        "the average keeps the share of the new weights",
        "loop/callbacks/_averaged_model.py",
        "jnp.where(self.count == 0, 1.0, 1.0 - decay)",
        "jnp.where(self.count == 0, 1.0, decay)",
        (_MEAN + "test_averages_are_those_of_pytorch",),
    ),
    (
        "the average starts at zero in place of the first weights",
        "loop/callbacks/_averaged_model.py",
        "jnp.where(self.count == 0, 1.0, 1.0 - decay)",
        "1.0 - decay",
        (_MEAN + "test_averages_are_those_of_pytorch",),
    ),
    (
        "averages of short weights are kept short",
        "loop/callbacks/_averaged_model.py",
        "jnp.promote_types(v.dtype, jnp.float32)",
        "v.dtype",
        (_MEAN + "test_small_moves_of_short_weights_are_not_lost",),
    ),
    (
        "training goes on from the average after validation",
        "loop/callbacks/_ema.py",
        "            write_arrays(run.model, self._own)\n",
        "",
        (_FIT + "test_validation_looks_at_the_average_and_training_goes_on_from_the_weights",),
    ),
    (
        "statistics for averaged weights are those of the last batch",
        "loop/callbacks/_batch_norm.py",
        "else [(m + a, v + b) for (m, v), (a, b) in zip(sums, new, strict=True)]",
        "else [(count * a + a, count * b + b) for a, b in new]",
        (_MEAN + "test_statistics_of_batch_norm_are_those_of_pytorch",),
    ),
    (
        "what is thawed goes on with the count of the others",
        "loop/callbacks/_unfreezing.py",
        "                run.opt.sync(run.model)  # forgets what is frozen, which so starts afresh\n",
        "",
        (_FIT + "test_parts_are_thawed_at_their_epochs",),
    ),
    (
        "a resumed run writes its lines twice",
        "loop/logs/_files.py",
        "            os.truncate(file, self._resumed_at)\n",
        "            pass\n",
        (_FILES + "test_a_resumed_run_writes_what_the_whole_run_writes",),
    ),
    (
        "TensorBoard shows what was trained again twice",
        "loop/logs/_tensorboard.py",
        'self._from = state["step"] + 1',
        'self._from = state["step"] + 1000',
        (_BOARD + "test_a_resumed_run_has_each_step_once",),
    ),
    (
        "operations of a called program lose their inputs in the graph",
        "loop/logs/_graph.py",
        "            self.alias(body.invars, ins)\n",
        "",
        (_BOARD + "test_the_graph_is_the_program",),
    ),
    (
        "the suggested rate is that of the lowest loss",
        "loop/_learning_rate.py",
        "return float(rates[int(np.argmin(slopes))])",
        "return float(rates[int(np.argmin(smoothed))])",
        (_FINDER + "test_a_logistic_curve_is_steepest_in_its_middle",),
    ),
]
