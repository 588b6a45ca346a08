"""Seeded bugs in metrics of tiny and huge numbers: name, file, original, replaced, the tests that must catch it."""

_SCALE = ("tests/metrics/test_scale.py::test_units_that_differ_between_batches",)

MUTANTS = [
    (
        "a sum of products keeps its old units",
        "metrics/_correlation.py",
        "return _sums.plus(old, new)",
        "return _sums.plus(a[name], b[name])",
        _SCALE,
    ),
    (
        "squares in no unit",
        "metrics/_correlation.py",
        "return jnp.where((largest > 0) & jnp.isfinite(largest), power, 0)",
        "return jnp.where((largest > 0) & jnp.isfinite(largest), 1.0, 0)",
        ("tests/metrics/test_scale.py::test_a_unit_changes_neither",),
    ),
    (
        "an error in the target's unit",
        "metrics/_correlation.py",
        " * ratio**2",
        " * ratio",
        ("tests/metrics/test_scale.py::test_errors_of_another_size_than_the_target",),
    ),
]
