"""Faults of the report on a smaller model: sizes, times in turns, errors of layers, worst examples."""

_REPORT = "tests/compress/test_report.py::"
_HERE = "compress/reporting/"
_CHANGES = "test_errors_of_layers_and_changes_of_examples_are_those_of_numpy"
_WORST = "test_examples_whose_class_changed_come_first_then_those_that_moved_most"
_SIZES = "test_sizes_are_those_of_the_file_the_arrays_and_the_formula"
_TIMES = "test_calls_are_timed_in_turns_and_noise_is_told"
_WORDS = "test_perplexity_and_places_of_language_models_those_to_ignore_left_out"

MUTANTS = [
    (
        "report: a change is relative to the smaller model",
        _HERE + "_changes.py",
        "_squares(_less(theirs[path], ours[path])), _squares(ours[path]))",
        "_squares(_less(theirs[path], ours[path])), _squares(theirs[path]))",
        (_REPORT + _CHANGES,),
    ),
    (
        "report: the error of a layer is its square",
        _HERE + "_changes.py",
        "return math.sqrt(change / whole) if whole",
        "return (change / whole) if whole",
        (_REPORT + _CHANGES,),
    ),
    (
        "report: places to be ignored count",
        _HERE + "_changes.py",
        "return (before != after) & (target >= 0), target >= 0",
        "return (before != after), target >= -1000",
        (_REPORT + _WORDS,),
    ),
    (
        "report: answers are compared with what is right, not with each other",
        _HERE + "_changes.py",
        "return (before != after) & (target >= 0)",
        "return (target != after) & (target >= 0)",
        (_REPORT + _WORST,),
    ),
    (
        "report: the examples that moved least come first",
        _HERE + "_reporting.py",
        "order = np.lexsort((-moved, -flipped))",
        "order = np.lexsort((moved, -flipped))",
        (_REPORT + _WORST,),
    ),
    (
        "report: examples come by their change alone",
        _HERE + "_reporting.py",
        "order = np.lexsort((-moved, -flipped))",
        "order = np.lexsort((-flipped, -moved))",
        (_REPORT + _WORST,),
    ),
    (
        "report: frozen parameters are none",
        _HERE + "_sizes.py",
        "trainable_arrays(thaw(copy(model)))",
        "trainable_arrays(copy(model))",
        (_REPORT + _SIZES,),
    ),
    (
        "report: what integers stand for is no number",
        _HERE + "_sizes.py",
        "    arrays += [layer.weight for layer in modules(model).values() if isinstance(layer, Quantized)]\n",
        "",
        (_REPORT + _SIZES,),
    ),
    (
        "report: a round always begins with the same model",
        _HERE + "_latency.py",
        "for which in (0, 1) if n % 2 == 0 else (1, 0):",
        "for which in (0, 1):",
        (_REPORT + _TIMES,),
    ),
    (
        "report: how many times as fast is how many times as slow",
        _HERE + "_latency.py",
        "Timing.of([a / b for a, b in zip(*times, strict=True)])",
        "Timing.of([b / a for a, b in zip(*times, strict=True)])",
        (_REPORT + _TIMES,),
    ),
    (
        "report: a call is timed with as many examples as a batch has",
        _HERE + "_reporting.py",
        "_raced(model, smaller, forward, of_size(batches[0], n), seconds)",
        "_raced(model, smaller, forward, batches[0], seconds)",
        (_REPORT + "test_latency_is_of_as_many_examples_as_asked_for",),
    ),
    (
        "report: what is not finite goes into JSON",
        _HERE + "_report.py",
        "return None if isinstance(value, float) and not math.isfinite(value) else value",
        "return value",
        (_REPORT + "test_json_has_every_number_and_no_nan",),
    ),
    (
        "report: models train while they are compared",
        _HERE + "_reporting.py",
        "    with training(False):\n        changes",
        "    with training(True):\n        changes",
        (_REPORT + "test_models_stay_as_they_are_and_infer",),
    ),
]
