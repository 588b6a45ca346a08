"""Seeded bugs in what is said of traces: name, file, original, replaced, the tests that must catch it."""

_ERRORS = "tests/core/test_traced_errors.py::"
_RETRACES = "tests/core/test_retraces.py::"
_LOSS = "tests/core/test_no_silent_loss.py::"
_MISTAKES = "tests/core/test_mistakes.py::test_a_mistake_gives_its_whole_text_and_harms_nothing"

MUTANTS = [
    (
        "names of the arguments in the wrong order",
        "core/transforms/_names.py",
        "return [roots[root] + displayed(path) for root, path in routes], bare",
        "return [roots[root] + displayed(path) for root, path in routes][::-1], bare",
        (_ERRORS + "test_a_large_models_arguments_are_not_all_told",),
    ),
    (
        "a gradient inside a compiled function takes the blame",
        "core/transforms/_refused.py",
        "if not leaked and not eager and call.kind in DIFFERENTIATING:",
        "if not leaked and eager and call.kind in DIFFERENTIATING:",
        (_ERRORS + "test_a_refusal_names_function_line_argument_and_cure[grad in jit]",),
    ),
    (
        "the outermost line of the user's in place of the innermost",
        "core/transforms/_refused.py",
        "        if not internal(at.tb_frame):\n",
        "        if not internal(at.tb_frame) and found is None:\n",
        (
            _ERRORS + "test_errors_pass_through_the_second_time_as_the_first",
            _ERRORS + "test_the_innermost_line_is_told",
        ),
    ),
    (
        "tracers in slots are overlooked",
        "core/transforms/_refused.py",
        'getattr(type(at), "__slots__", ())',
        "()",
        (_ERRORS + "test_results_hide_no_traced_arrays",),
    ),
    (
        "a trace is compared with the last one only",
        "core/transforms/_retrace.py",
        "nearest = min(range(n), key=lambda i: (len(changes[i]), -i))",
        "nearest = n - 1",
        (_RETRACES + "test_the_trace_most_like_it_is_compared_with",),
    ),
    (
        "functions are compared by their text",
        "core/transforms/_retrace.py",
        "before[k].key != after[k].key]\n    gone",
        "before[k].text != after[k].text]\n    gone",
        (_RETRACES + "test_functions_that_look_alike_are_told_apart",),
    ),
    (
        "a number that changes is told a trace too late",
        "core/transforms/_retrace.py",
        "if self.costs[path] == _PATIENCE:",
        "if self.costs[path] == _PATIENCE + 1:",
        (_RETRACES + "test_a_number_that_changes_each_step_is_told_once",),
    ),
    (
        "what a function counts itself goes stale",
        "core/transforms/_surroundings.py",
        "for n in sorted(read - written) if",
        "for n in sorted(read) if",
        (_RETRACES + "test_a_global_and_an_array_that_changed_are_told",),
    ),
    (
        "helpers are not followed",
        "core/transforms/_surroundings.py",
        "                queue.append(inner)\n",
        "                pass\n",
        (_RETRACES + "test_a_global_and_an_array_that_changed_are_told",),
    ),
    (
        "NumPy arrays are compared by shape alone",
        "core/transforms/_surroundings.py",
        "return value.shape, value.dtype.str, checksum",
        "return value.shape, value.dtype.str",
        (_RETRACES + "test_a_global_and_an_array_that_changed_are_told",),
    ),
    (
        "a loop that uses one function again is not seen",
        "core/context/_outlives.py",
        "if any(start <= maker.f_lasti <= end and not start <= made <= end for start, end in loops):",
        "if any(start <= maker.f_lasti <= end and start <= made <= end for start, end in loops):",
        (_LOSS + "test_what_cannot_go_stale_warns_of_nothing_and_sees_every_change",),
    ),
    (
        "functions made for one call warn",
        "core/context/_outlives.py",
        "            return _used_again(frame, traced.f_code)",
        "            return True",
        (_LOSS + "test_what_cannot_go_stale_warns_of_nothing_and_sees_every_change",),
    ),
    (
        "a capture under a gradient inside jit is overlooked",
        "core/_compat.py",
        "        if is_staging(trace):\n            return True\n",
        "        return is_staging(trace)\n",
        (_LOSS + "test_what_goes_stale_does_warn",),
    ),
    (
        "warnings point into the package",
        "core/context/_warning.py",
        "stacklevel=level())",
        "stacklevel=4)",
        (_LOSS + "test_capture_by_a_plain_transform_that_caches_warns_once_at_the_users_line[jit]",),
    ),
    (
        "a loop line by line takes any carry",
        "core/transforms/_loops.py",
        "        form.check(given, carry)\n        parts =",
        "        parts =",
        (_MISTAKES + "[scan-carry-path line by line]",),
    ),
    (
        "a while loop line by line takes any carry",
        "core/transforms/_loops.py",
        "            carry = fn(carry)\n            form.check(given, carry)\n",
        "            carry = fn(carry)\n",
        (_MISTAKES + "[while-carry-dtype line by line]",),
    ),
    (
        "the carry may change its dtype",
        "core/transforms/_carried.py",
        "before.shape != after.shape or before.dtype != after.dtype:",
        "before.shape != after.shape:",
        (_MISTAKES + "[scan-carry-dtype compiled]",),
    ),
    (
        "a pair is any two things",
        "core/transforms/_carried.py",
        "isinstance(value, (tuple, list)) and len(value) == 2:",
        "hasattr(value, '__len__') and len(value) == 2:",
        (_ERRORS + "test_a_pair_is_a_tuple",),
    ),
]
