"""Faults of px.export and of bundles: what is compared, what is refused, what a reader lets pass."""

_EXPORT = "tests/interchange/test_export.py::"
_BUNDLE = "tests/interchange/test_bundle.py::"
_LOADED = "tests/interchange/test_stablehlo.py::"
_ROOM = "interchange/"
_FOLDER = "weights/bundle/"

MUTANTS = [
    (
        "export: an output takes the name of an input",
        _ROOM + "_forms.py",
        'name = f"{name}_out" if name in self._inputs else name',
        "self._inputs = frozenset()",
        (_EXPORT + "test_what_comes_back_under_an_input_s_name_is_called_out",),
    ),
    (
        "export: the smallest difference counts",
        _ROOM + "_comparing.py",
        "np.abs(a - b).max(initial=0.0)",
        "np.abs(a - b).min(initial=0.0)",
        (_EXPORT + "test_a_file_that_computes_something_else_is_not_written",),
    ),
    (
        "export: a difference begins at the layer before",
        _ROOM + "_layers.py",
        "for name, x in zip(seen.output_names, wanted, strict=True):",
        "for name, x in reversed(list(zip(seen.output_names, wanted, strict=True))):",
        (_EXPORT + "test_a_file_that_computes_something_else_is_not_written",),
    ),
    (
        "export: a forward that draws is written",
        _ROOM + "_program.py",
        "    if keys:\n        raise",
        "    if False:\n        raise",
        (_EXPORT + "test_refusals_leave_nothing_behind",),
    ),
    (
        "export: layers draw from the key of the one before",
        _ROOM + "_program.py",
        "jax.random.fold_in(key, i)",
        "jax.random.fold_in(key, i + 1)",
        (_EXPORT + "test_a_key_that_is_an_input",),
    ),
    (
        "export: one size of a symbol is tried",
        _ROOM + "_sizes.py",
        "for row in (_TRIED, _TRIED_NEXT)]",
        "for row in (_TRIED, _TRIED)]",
        (_EXPORT + "test_pre_and_postprocessing_are_in_the_file",),
    ),
    (
        "export: a program for this platform alone",
        _ROOM + "targets/_stablehlo.py",
        'PLATFORMS = ("cpu", "cuda", "tpu")',
        'PLATFORMS = ("cpu",)',
        (_LOADED + "test_no_kernel_of_this_machine_is_in_the_file",),
    ),
    (
        "export: a file has no way back",
        _ROOM + "targets/_stablehlo.py",
        "made.serialize(vjp_order=1), True",
        "made.serialize(), True",
        (_LOADED + "test_gradients_by_inputs_and_by_weights",),
    ),
    (
        "load_exported: one symbol may be two sizes",
        _ROOM + "_checking.py",
        "sizes.setdefault(n, (size, entry.name))[0] != size",
        "sizes.setdefault(n, (size, entry.name))[0] < 0",
        (_LOADED + "test_what_a_loaded_function_refuses",),
    ),
    (
        "load_exported: bounds of a symbol do not count",
        _ROOM + "_checking.py",
        "not low <= sizes[symbol][0] <= high",
        "not low <= sizes[symbol][0]",
        (_LOADED + "test_what_a_loaded_function_refuses",),
    ),
    (
        "bundle: lengths alone are verified",
        _FOLDER + "_reading.py",
        "if sha256_of(folder / name) != checksum:",
        "if not checksum:",
        (_BUNDLE + "test_a_bundle_that_is_not_as_it_was_written",),
    ),
    (
        "bundle: files that it does not know pass",
        _FOLDER + "_reading.py",
        "if name not in files:",
        "if not name:",
        (_BUNDLE + "test_a_bundle_that_is_not_as_it_was_written",),
    ),
    (
        "bundle: an unknown word is the first one",
        _FOLDER + "_encoders.py",
        "self._places.get(word, self.unknown)",
        "self._places.get(word, 0)",
        (_BUNDLE + "test_version_1_is_read", _EXPORT + "test_an_encoder_turns_words_into_numbers"),
    ),
    (
        "bundle: a half-written one stays",
        _FOLDER + "_writing.py",
        "            shutil.rmtree(temporary, ignore_errors=True)\n            raise",
        "            raise",
        (_EXPORT + "test_an_interrupt_leaves_the_older_bundle",),
    ),
]
