"""Seeded bugs in what parameters are, in ties and in long schedules: name, file, original, replaced, the tests."""

_LONG = "tests/optim/test_schedules_long.py::"
_KINDS = "tests/optim/test_kinds.py::"
_TIE = "tests/core/test_tie.py::"

MUTANTS = [
    (
        "a step becomes a float32 before it is compared",
        "optim/schedules/_steps.py",
        "return step.astype(jax.dtypes.canonicalize_dtype(float if fractional else int))",
        "return step.astype(jax.dtypes.canonicalize_dtype(float))",
        (_LONG + "test_no_step_early_and_none_late[multi_step]",),
    ),
    (
        "a restart is a step late",
        "optim/schedules/_steps.py",
        't, side="right", method',
        't, side="left", method',
        (_LONG + "test_restarts_are_where_the_recurrence_has_them[10000-2]",),
    ),
    (
        "a power of a factor near 1 keeps what rounding took",
        "optim/schedules/_steps.py",
        "return found * jnp.exp(t * rest) if rest else found",
        "return found",
        (_LONG + "test_no_step_early_and_none_late[exponential]",),
    ),
    (
        "epochs by division in float32",
        "optim/schedules/_steps.py",
        "if top * bottom > _LAST or",
        "if True or",
        (_LONG + "test_no_step_early_and_none_late[stretched]",),
    ),
    (
        "an optimiser forgets what its arrays are",
        "optim/_optimizer.py",
        "        with self.knowing():\n            return",
        "        if True:\n            return",
        (_KINDS + "test_muons_recipe_takes_a_model_with_every_kind",),
    ),
    (
        "stacked parameters are stepped as one",
        "optim/rules/_rule.py",
        "                formula = jax.vmap(formula)",
        "                pass",
        (_KINDS + "test_apollo_scales_stacked_matrices_one_by_one",),
    ),
    (
        "a predicate is asked about the whole stack",
        "optim/rules/_choice.py",
        "jax.ShapeDtypeStruct(array.shape[kind.stacked :], array.dtype) if kind.stacked else array",
        "array",
        (_KINDS + "test_a_stack_of_layers_learns_as_its_layers_do",),
    ),
    (
        "a stack that shares its block counts as stacked",
        "nn/_kinds.py",
        'if cls in _STACKED and not getattr(module, "share", False)',
        "if cls in _STACKED",
        (_KINDS + "test_a_class_of_ones_own",),
    ),
    (
        "kernels are matrices of (first, all others)",
        "optim/rules/_matrix.py",
        "return x.reshape(-1, x.shape[-1])",
        "return x.reshape(x.shape[0], -1)",
        (_KINDS + "test_muon_moves_kernels_as_the_matrices_they_are",),
    ),
    (
        "a tied array is written as it is read",
        "core/module/_tie.py",
        "held.value = _turned(value, flipped)",
        "held.value = value",
        (_TIE + "test_compiled_writes_reach_both_and_nothing_is_traced_twice",),
    ),
    (
        "a second tie forgets that the first is turned",
        "core/module/_tie.py",
        "_attach(mine, cell, source.flipped != transpose)",
        "_attach(mine, cell, transpose)",
        (_TIE + "test_an_owner_above_its_reader_and_three_of_one",),
    ),
    (
        "untying leaves one array at two paths",
        "core/module/_tie.py",
        "jnp.array(value, copy=True)",
        "value",
        (_TIE + "test_one_array_at_two_paths_is_warned_of",),
    ),
    (
        "a frozen array is thawed by a tie",
        "core/module/_tie.py",
        "        cell._px.frozen = source.frozen\n",
        "",
        (_TIE + "test_freezing_takes_hold_of_both",),
    ),
    (
        "a file turns a tied array",
        "weights/_describing.py",
        '{"tied": [path, flipped, held._px.frozen is True]}',
        '{"tied": [path, False, held._px.frozen is True]}',
        (_TIE + "test_it_stays_one_everywhere",),
    ),
]
