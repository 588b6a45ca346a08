"""Seeded bugs in the training loop: name, file, original, replaced, the tests that must catch it."""

_FIT = "tests/loop/test_fit.py::"
_PRECISION = "tests/loop/test_precision.py::"
_HOOKS = "tests/loop/test_hooks.py::"
_TRAIN = "tests/loop/test_train.py::"
_CHUNKS = "tests/loop/test_chunks.py::"

MUTANTS = [
    (
        "accumulated batches count alike whatever their size",
        "loop/steps/_step.py",
        "(weight * g).astype(g.dtype)",
        "g * 6",
        (_FIT + "test_accumulated_batches_are_one_large_batch[1]",),
    ),
    (
        "the last batches of an epoch make no step",
        "loop/_training.py",
        "% accumulate == 0 or fed.last for",
        "% accumulate == 0 for",
        (_FIT + "test_accumulated_batches_are_one_large_batch[1]",),
    ),
    (
        "the mask of padding is dropped where there are sample weights",
        "loop/batches/_batch.py",
        "return self.mask if weight is None else weight",
        "return weight",
        (_FIT + "test_metrics_and_validation_count_each_example_once",),
    ),
    (
        "an epoch's mean counts every batch alike",
        "loop/steps/_ledger.py",
        "(values * weight[counted]).sum() / total",
        "values.mean()",
        (_FIT + "test_arrays_are_shuffled_by_the_seed_and_a_filled_up_batch_changes_nothing",),
    ),
    (
        "a norm below the bound is scaled up to it",
        "optim/rules/_gradients.py",
        "jnp.where(norm <= most, 1, ",
        "jnp.where(norm <= 0, 1, ",
        (_FIT + "test_clipping_never_scales_up",),
    ),
    (
        "class weights take the place of sample weights",
        "loop/steps/_objective.py",
        "weight = factor if weight is None else factor * spread(weight, factor)",
        "weight = factor",
        (_FIT + "test_class_and_sample_weights_are_those_of_torch",),
    ),
    (
        "gradients stay scaled",
        "loop/steps/_precision.py",
        "{path: g / self.value.astype(g.dtype) for path, g in grads.items()}",
        "grads",
        (_PRECISION + "test_fp16_gives_the_gradients_of_float32_to_rounding",),
    ),
    (
        "the loss scale grows a step late",
        "loop/steps/_precision.py",
        "grows = good >= self.interval",
        "grows = good > self.interval",
        (_PRECISION + "test_the_loss_scale_moves_as_that_of_torch",),
    ),
    (
        "State that a bad batch moved is kept",
        "loop/steps/_precision.py",
        "return finite & ~self.refused",
        "return finite",
        (_TRAIN + "test_a_batch_that_is_not_finite_is_refused_and_named",),
    ),
    (
        "what fills the buffer up is trained on too",
        "loop/steps/_chunk.py",
        "lambda carry: carry[0] < stop",
        "lambda carry: carry[0] < slots",
        (_CHUNKS + "test_chunks_end_where_a_callback_asks_and_nothing_is_traced_again",),
    ),
    (
        "evaluation trains where somebody left training on",
        "loop/_evaluate.py",
        "    with training(False):\n        for fed in opened(feed.epoch()):\n            batch =",
        "    with training(True):\n        for fed in opened(feed.epoch()):\n            batch =",
        (_FIT + "test_evaluation_infers_and_changes_nothing",),
    ),
    (
        "a resumed epoch starts at its beginning",
        "loop/_training.py",
        "self.plan.feed.restore(run.position, over=run.epoch_over)",
        "pass",
        (_HOOKS + "test_a_resumed_run_is_the_run_that_never_stopped",),
    ),
]
