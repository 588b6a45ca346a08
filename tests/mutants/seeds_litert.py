"""Faults of px.export to LiteRT: operations written otherwise, loops, and what the converter's process says."""

_FILES = "tests/areas/litert/test_files.py::"
_REFUSED = "tests/interchange/test_litert.py::"
_ROOM = "interchange/litert/"
_OTHERWISE = (_FILES + "test_operations_that_are_written_otherwise",)
_GIVES = (_FILES + "test_gives_what_the_model_gives",)

MUTANTS = [
    (
        "litert: a reversed loop runs forwards",
        _ROOM + "_loops.py",
        'for i in reversed(places) if params["reverse"] else places:',
        "for i in places:",
        _GIVES,
    ),
    (
        "litert: long loops are written out",
        _ROOM + "_loops.py",
        "return _operations(equation) <= LIMIT",
        "return True",
        (_FILES + "test_long_loops_stay_loops",),
    ),
    (
        "litert: a remainder has the sign of the divisor",
        _ROOM + "_operations.py",
        '    "rem": Rule(_rem),\n',
        "",
        _OTHERWISE,
    ),
    (
        "litert: the highest bit is lost where both have it",
        _ROOM + "_operations.py",
        "return jnp.where((a < 0) & (b < 0), jnp.bitwise_xor(lower, _sign_bit(kind)), lower)",
        "return lower",
        _OTHERWISE,
    ),
    (
        "litert: the sign comes in where zeros should",
        _ROOM + "_operations.py",
        "+ jnp.where(x < 0, sign, 0)",
        "- jnp.where(x < 0, sign, 0)",
        _OTHERWISE,
    ),
    (
        "litert: a quotient of numbers without sign is even",
        _ROOM + "_unsigned.py",
        "exact = double + _not_below(a - double * b, b)",
        "exact = double",
        _OTHERWISE,
    ),
    (
        "litert: the highest bit is a sign",
        _ROOM + "_unsigned.py",
        "return jnp.bitwise_xor(x, jnp.int32(_KIND.min))",
        "return x",
        _OTHERWISE,
    ),
    (
        "litert: a NaN comes before all numbers",
        _ROOM + "_operations.py",
        "| ((b != b) & (a == a))",
        "",
        _OTHERWISE,
    ),
    (
        "litert: halves go to the even number",
        _ROOM + "_operations.py",
        "(size - whole >= 0.5)",
        "(size - whole > 0.5)",
        _OTHERWISE,
    ),
    (
        "litert: negative numbers have no cube root",
        _ROOM + "_operations.py",
        '    "cbrt": Rule(_cbrt),\n',
        "",
        _OTHERWISE,
    ),
    (
        "litert: the first key counts least",
        _ROOM + "_operations.py",
        "for k in reversed(range(keys)):",
        "for k in range(keys):",
        _OTHERWISE,
    ),
    (
        "litert: zeros between are one too many",
        _ROOM + "_operations.py",
        "spread[axis] = (before, after, n - 1)",
        "spread[axis] = (before, after, n)",
        _GIVES,
    ),
    (
        "litert: infinities are the lowest number",
        _ROOM + "_converter.py",
        "config.canonicalizing_inf_as_min_max_float = False",
        "config.canonicalizing_inf_as_min_max_float = True",
        _OTHERWISE,
    ),
    (
        "litert: scatters lose their way of combining",
        _ROOM + "_converter.py",
        '    "tfl.add": "stablehlo.add",\n',
        "",
        _GIVES,
    ),
    (
        "litert: loops stay inside of programs",
        _ROOM + "_converter.py",
        "        if not inline:\n            return",
        "        if inline or not inline:\n            return",
        _GIVES,
    ),
    (
        "litert: a product of imaginary parts is added",
        _ROOM + "_complex.py",
        "Pair(x.re * y.re - x.im * y.im,",
        "Pair(x.re * y.re + x.im * y.im,",
        _OTHERWISE,
    ),
    (
        "litert: a symbol is 1",
        "interchange/targets/_litert.py",
        "        if low != high:",
        "        if False:",
        (_REFUSED + "test_sizes_that_are_not_known_are_refused",),
    ),
    (
        "litert: a process that was killed is said to have left",
        _ROOM + "_convert.py",
        'if code < 0 else f"exit {code}"',
        'if code < -99 else f"exit {code}"',
        (_REFUSED + "test_a_converter_that_breaks_off_leaves_nothing_behind",),
    ),
    (
        "litert: a file of exactly the limit is tried",
        _ROOM + "_convert.py",
        "if size >= LIMIT:",
        "if size > LIMIT:",
        (_REFUSED + "test_weights_that_one_file_cannot_hold_are_refused_before_the_converter_is_asked",),
    ),
    (
        "litert: what has no form goes to the converter",
        _ROOM + "_module.py",
        "    refuse(closed.jaxpr, program.where)\n",
        "",
        (_REFUSED + "test_what_litert_has_no_form_for_names_the_layer_and_the_operation",),
    ),
]
