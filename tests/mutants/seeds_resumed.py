"""Seeded bugs around resumes and rounded weights: name, file, original, replaced, the tests that must catch it."""

MUTANTS = [
    (
        "the step of a NaN is counted from the resume",
        "loop/_training.py",
        "at = run.step - len(losses) + bad + 1",
        "at = bad + 1",
        ("tests/loop/test_mistakes.py::test_the_step_of_a_loss_that_is_not_finite_counts_what_came_before_a_resume",),
    ),
    (
        "a rule around rounded weights reads these",
        "optim/rules/_combined.py",
        "inner.update(grads, state.inner, state.weights, **extra)",
        "inner.update(grads, state.inner, params, **extra)",
        ("tests/optim/test_combined.py::test_mixed_precision_around_a_rule_that_reads_weights_reads_the_wide_ones",),
    ),
]
