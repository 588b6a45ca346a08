"""Faults of the target SavedModel: what TensorFlow is told, and what becomes of its failures."""

_TESTS = "tests/interchange/test_savedmodel.py::"
_TARGETS = "interchange/targets/"

MUTANTS = [
    (
        "savedmodel: a server does not find the model's own call",
        _TARGETS + "_savedmodel.py",
        "return SERVED if signature == DEFAULT else signature",
        "return signature",
        (_TESTS + "test_what_tensorflow_is_told",),
    ),
    (
        "savedmodel: a symbol is one",
        _TARGETS + "_savedmodel.py",
        "[None if is_symbol(n) else int(n) for n in x.shape]",
        "[1 if is_symbol(n) else int(n) for n in x.shape]",
        (_TESTS + "test_what_tensorflow_is_told",),
    ),
    (
        "savedmodel: one signature in the place of another",
        _TARGETS + "_savedmodel.py",
        "if len(set(keys)) < len(keys):",
        "if False:",
        (_TESTS + "test_two_signatures_of_one_name",),
    ),
    (
        "savedmodel: JAX's flags for XLA reach TensorFlow's",
        _TARGETS + "_apart.py",
        'if name != "XLA_FLAGS"}',
        'if name != "FLAGS"}',
        (_TESTS + "test_what_tensorflow_is_told",),
    ),
    (
        "savedmodel: a process that ended did nothing, and that is well",
        _TARGETS + "_apart.py",
        "raise ApartError(self._end())",
        "return {}",
        (_TESTS + "test_failures_leave_nothing_behind",),
    ),
    (
        "savedmodel: a task that failed there gave nothing, and that is well",
        _TARGETS + "_apart.py",
        'raise ApartError(said["error"])',
        "return {}",
        (_TESTS + "test_failures_leave_nothing_behind",),
    ),
    (
        "savedmodel: a program that is newer than TensorFlow is handed over",
        _TARGETS + "_tensorflow.py",
        "if mine > most:",
        "if mine < most:",
        (_TESTS + "test_failures_leave_nothing_behind",),
    ),
    (
        "savedmodel: composites stay",
        _TARGETS + "_older.py",
        'operation.name == "stablehlo.composite"',
        'operation.name == "stablehlo.compare"',
        (_TESTS + "test_a_program_for_older_readers_calls_what_they_do_not_have",),
    ),
    (
        "savedmodel: an array that is cut off is read",
        _TARGETS + "_tensorflow.py",
        "if len(data) < size:",
        "if not data:",
        (_TESTS + "test_a_message_holds_any_dtype",),
    ),
    (
        "savedmodel: what calls LAPACK is handed over",
        _TARGETS + "_lapack.py",
        "if call is None:",
        "if call is not None:",
        (_TESTS + "test_programs_that_never_reach_tensorflow",),
    ),
    (
        "savedmodel: the first operation is blamed for LAPACK",
        _TARGETS + "_lapack.py",
        "if op.name in _OPERATIONS), None)",
        "if op.name), None)",
        (_TESTS + "test_programs_that_never_reach_tensorflow",),
    ),
    (
        "savedmodel: names of inputs are compared with their capitals",
        _TARGETS + "_savedmodel.py",
        "Counter(name.lower() for name in program.inputs)",
        "Counter(program.inputs)",
        (_TESTS + "test_programs_that_never_reach_tensorflow",),
    ),
    (
        "savedmodel: numbers of four bits are handed over",
        _TARGETS + "_savedmodel.py",
        'r"u?int[24]|float4_\\w+"',
        'r"u?int[2]|float4_\\w+"',
        (_TESTS + "test_programs_that_never_reach_tensorflow",),
    ),
    (
        "export: the report knows the folder's files alone",
        "interchange/_export.py",
        'sorted(Path(folder).rglob("*"))',
        'sorted(Path(folder).glob("*"))',
        (_TESTS + "test_what_tensorflow_is_told",),
    ),
]
