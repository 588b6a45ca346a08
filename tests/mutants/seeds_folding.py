"""Seeded bugs in the folding of batch normalisation: name, file, original, replaced, the tests that must catch it."""

_FILE = "nn/normalisation/_folding.py"
_TESTS = ("tests/nn/test_folding.py::test_a_folded_layer_gives_what_layer_and_norm_gave",)
_REFUSED = ("tests/nn/test_folding.py::test_what_would_change_the_numbers_stays_and_is_refused_by_name",)
_ROUNDED = ("tests/nn/test_folding.py::test_sixteen_bits_stay_and_are_rounded_once",)

MUTANTS = [
    ("folding without epsilon", _FILE, "(var.astype(wide) + wide.type(norm.eps))", "var.astype(wide)", _TESTS),
    ("a folded layer forgets its bias", _FILE, "given.astype(wide) - mean.astype(wide)", "-mean.astype(wide)", _TESTS),
    ("a folded layer forgets the norm's activation", _FILE, "    layer.act = norm.act\n", "", _TESTS),
    ("a layer's activation stays between", _FILE, "if layer.act is not F.identity:", "if False:", _REFUSED),
    ("shared layers are folded", _FILE, "if tied or uses[id(layer)] > 1 or uses[id(norm)] > 1:", "if tied:", _REFUSED),
    ("tied weights are folded", _FILE, "if tied or ", "if ", _REFUSED),
    ("folded in 16 bits", _FILE, "jnp.promote_types(weight.dtype, jnp.float32)", "weight.dtype", _ROUNDED),
    ("groups of a transposed convolution are mixed", _FILE, ".repeat(blocks, ", ".repeat(blocks[::-1], ", _TESTS),
    ("folding changes the model itself", _FILE, "    model = copy(model)\n", "", _TESTS),
]
