"""Faults of a strided convolution's input gradient by phases."""

_PHASES = "nn/functional/kernels/_phases.py"
_VALUE = "tests/native/test_conv_kernels.py::test_value_and_gradients_are_those_of_the_plain_form"
_ANY = "tests/native/test_conv_kernels.py::test_any_shape"

MUTANTS = [
    (
        "phases: steps go forward",
        _PHASES,
        "jnp.flip(apart.transpose(order), range(rank))",
        "apart.transpose(order)",
        (_VALUE,),
    ),
    (
        "phases: padding is forgotten",
        _PHASES,
        "slice_in_dim(whole, lo, lo + n,",
        "slice_in_dim(whole, 0, n,",
        (_VALUE,),
    ),
    ("phases: the last step is missing", _PHASES, "(m - 1, q - n) for", "(m - 1, q - n - 1) for", (_VALUE,)),
    ("phases: dilated windows too", _PHASES, " and {*window.dilation} == {1}", "", (_ANY,)),
]
