"""Seeded bugs that a page would then tell wrongly: name, file, original, replaced, the tests that must catch it."""

_SIDE = "tests/test_coming_from.py::test_a_side_with_the_same_weights_gives_the_same_numbers"
_DEFAULTS = "tests/test_coming_from_defaults.py::test_defaults_are_what_the_table_says[Phlox]"

MUTANTS = [
    (
        "the running variance is biased, as in Keras",
        "nn/functional/_norm.py",
        "return y, mean, var * (count / (count - 1))",
        "return y, mean, var",
        (_SIDE + "[PyTorch]",),
    ),
    (
        "LSTM forgets from the start",
        "nn/recurrence/_cells.py",
        "forget_bias: float = 1.0,",
        "forget_bias: float = 0.0,",
        (_DEFAULTS,),
    ),
    (
        "embeddings start small",
        "nn/features/_embedding.py",
        "= inits.normal,",
        "= inits.glorot_normal,",
        (_DEFAULTS,),
    ),
]
