"""Seeded bugs in what hides from the tree, in reads, cycles and settings: name, file, original, replaced, tests."""

_HIDDEN = "tests/core/test_hidden.py::"
_CARRIED = "tests/core/test_carried.py::"
_CYCLES = "tests/core/test_cycles.py::"
_BACK = "tests/core/test_backward_reads.py::"
_TASKS = "tests/core/test_tasks.py::"
_SURVIVORS = "tests/core/test_survivors.py::"

MUTANTS = [
    (
        "an own method stays bound to the original",
        "core/module/_spec.py",
        "    if is_own_method(value, owner):\n        return OwnMethod(value.__func__)\n",
        "    if is_own_method(value, owner):\n        return Static(value)\n",
        (_HIDDEN + "test_a_bound_method_under_transforms",),
    ),
    (
        "a partial of a Module is static",
        "core/module/_spec.py",
        "        return made if made.size or made.bound else Static(value)",
        "        return made if made.bound else Static(value)",
        (_HIDDEN + "test_a_partial_is_a_container[partial]",),
    ),
    (
        "keywords of a rebuilt partial are a copy",
        "core/module/_spec.py",
        "made.__setstate__((function, args, keywords, {}))",
        "made.__setstate__((function, args, dict(keywords), {}))",
        (_HIDDEN + "test_a_partial_with_arrays_in_both_is_written_in_both",),
    ),
    (
        "closures are not looked into",
        "core/module/_hidden.py",
        "cells = [_content(cell) for cell in v.__closure__ or ()]",
        "cells = []",
        (_HIDDEN + "test_what_no_transform_sees_is_refused[closure]",),
    ),
    (
        "a call may make a parameter",
        "core/module/_module.py",
        "    if any(running is module for running in here.calls):\n        was",
        "    if any(running is module for running in ()):\n        was",
        (_HIDDEN + "test_a_call_makes_no_new_array_eager_and_compiled",),
    ),
    (
        "class defaults are shared",
        "core/module/_module.py",
        "        for name, value in cls._defaults.items():",
        "        for name, value in ():",
        (_HIDDEN + "test_an_annotated_array_of_the_class_body_is_each_instances_own",),
    ),
    (
        "numbers in a partial are traced",
        "core/transforms/_jit.py",
        "Jit(inner, [*fixed, *shifted], [*names, *known], donate)",
        "Jit(inner, shifted, names, donate)",
        (_CARRIED + "test_numbers_in_a_partial_stay_numbers",),
    ),
    (
        "a method's Module is mapped over",
        "core/transforms/_vmap.py",
        "same = [None] * len(",
        "same = [0] * len(",
        (_CARRIED + "test_vmap_of_a_module_splits_its_keys",),
    ),
    (
        "a compiled call knows no mode",
        "core/transforms/_jit.py",
        "        where = (call.static_key(), context)\n",
        "        where = (call.static_key(), (None, context[1]))\n",
        (_CARRIED + "test_a_compiled_call_refuses_other_arguments",),
    ),
    (
        "backward reads are refused",
        "core/context/_scope.py",
        'if scope.kind == "jit" and not _born_within(home, scope):',
        'if scope.kind == "jit":',
        (_BACK + "test_a_backward_rule_reads_its_module[Hook]",),
    ),
    (
        "every read after a scope is allowed",
        "core/context/_scope.py",
        "    return home is scope\n\n\ndef check_write",
        "    return home is None or home is scope\n\n\ndef check_write",
        (_BACK + "test_what_came_from_outside_the_compiled_function_is_still_refused",),
    ),
    (
        "a cycle is looked for once",
        "core/module/_anatomy.py",
        "    if meta.sound != epoch[0]:",
        "    if meta.sound < 0:",
        (_CYCLES + "test_a_cycle_is_seen_when_it_is_closed_after_a_first_look",),
    ),
    (
        "an error is located at every level",
        "core/context/_trail.py",
        'if getattr(error, "_phlox_located", False) or getattr(error, "located", False):',
        'if getattr(error, "_phlox_located", False):',
        (_CYCLES + "test_an_error_in_deep_nesting_looks_for_its_path_once",),
    ),
    (
        "a block puts back what it found",
        "core/context/_setting.py",
        "        self.setting.keyed.set_local(rest[-1][0] if rest else self.setting.default)",
        "        self.setting.keyed.set_local(self.new)",
        (_TASKS + "test_after_a_block_plain_programs_are_found_again",),
    ),
    (
        "plain programs are keyed by another task's mode",
        "core/module/_module.py",
        "    if any_open:\n        settle()\n",
        "",
        (_TASKS + "test_a_plain_program_is_keyed_by_the_tasks_own_mode",),
    ),
    (
        "a renamed key goes unseen",
        "core/module/_binding.py",
        "        return self.keys is None or (len(self.container)",
        "        return True or (len(self.container)",
        (_SURVIVORS + "test_a_renamed_key_of_a_dict_of_modules_is_seen_by_the_next_compiled_call",),
    ),
    (
        "slices of a stack are written back at the other end",
        "core/transforms/_loops.py",
        "            _put_slice(stack, part, before[id(part)], t)",
        "            _put_slice(stack, part, before[id(part)], rounds - 1 - t if reverse else t)",
        (_SURVIVORS + "test_scan_over_a_stack_writes_each_parts_state",),
    ),
    (
        "State of a stack comes back along axis 0",
        "core/transforms/_vmap.py",
        "written.append(_moved(next(stacked), axis))",
        "written.append(next(stacked))",
        (_SURVIVORS + "test_vmap_over_axis_1_of_a_stack_writes_its_state_there",),
    ),
    (
        "remat ignores its policy",
        "core/transforms/_remat.py",
        "policy=policy, prevent_cse",
        "policy=None, prevent_cse",
        (_SURVIVORS + "test_the_policy_of_remat_says_what_is_kept",),
    ),
    (
        "the first thread to finish takes the guard away",
        "core/context/_scope.py",
        "        if (before > 0) != (_guards > 0):",
        "        if step < 0 or (before > 0) != (_guards > 0):\n            _guards = 0 if step < 0 else _guards",
        (_SURVIVORS + "test_reads_stay_watched_while_any_thread_compiles",),
    ),
    (
        "unsigned integers wrap",
        "core/context/_dtypes.py",
        'if value.dtype.kind in "iu" and',
        'if value.dtype.kind in "i" and',
        (_SURVIVORS + "test_integers_beyond_the_range_are_refused",),
    ),
]
